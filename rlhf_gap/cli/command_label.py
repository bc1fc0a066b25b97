"""Labels a store of pairs with a preference model and writes a new store.

The judge reads every pair in both orders. The response that it prefers becomes
chosen, both probabilities are stored, and an exact tie gets weight 0. If every
pair is a tie the exit code is 2, because nothing can be learned from the store.
Rerun the same command to resume after an interruption.

  rlhf-gap label utility --pairs=STORE --output=DIR

labels the pairs of a miniature by its hidden utility, without error.
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from rlhf_gap.cli import applying, flag_types, hidden_utility, shared_flags

if TYPE_CHECKING:
  from rlhf_gap import stores
  from rlhf_gap.inference import label

_UTILITY = "utility"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap label`."""
  add = parser.add_argument
  add(
    "checkpoint",
    type=flag_types.storage,
    metavar="CHECKPOINT",
    help="the preference model, or `utility`",
  )
  shared_flags.add_storage(
    parser,
    (
      ("--pairs", "STORE", "the pairs to label"),
      ("--output", "DIR", "the new store"),
    ),
  )
  add(
    "--input_length",
    type=flag_types.tokens,
    metavar="N",
    help="the judge's window in tokens (default: the store's prompt window)",
  )
  shared_flags.add_keep(parser)
  shared_flags.add_dtype(parser, "the parameters")
  add(
    "--above_chance",
    action="store_true",
    help="fail unless the judge agrees with the labels above chance",
  )
  add("--json", action="store_true", help="print one object")


def _check_above_chance(report: "label.Report", path: str, pairs: str) -> None:
  from rlhf_gap import errors

  # Two standard errors of a fair coin.
  bound = 0.5 + report.rows**-0.5
  if not report.kept_order > bound:
    raise errors.UserError(
      f"{path} agrees with the labels of {pairs} on {report.kept_order:.1%} of"
      f" {report.rows:,} pairs, which is chance; expected more than"
      f" {bound:.1%}: train it longer, on more pairs or from a better"
      " checkpoint"
    )


def _check_not_all_ties(report: "label.Report", pairs: str) -> None:
  from rlhf_gap import errors

  if report.rows and report.ties == report.rows:
    raise errors.UserError(
      f"all {report.rows:,} pairs of {pairs} are ties (weight 0), so there is"
      " nothing to learn from; check the judge, and that the responses differ"
    )


def _label(arguments: argparse.Namespace) -> "label.Report":
  from rlhf_gap import stores
  from rlhf_gap.evaluation import models
  from rlhf_gap.inference import label

  source = stores.open(arguments.pairs)
  if arguments.checkpoint == _UTILITY:
    return _label_by_utility(arguments, source)
  stores.check_own_vocabulary(
    arguments.checkpoint, source.manifest.vocabulary, arguments.pairs
  )
  judge = models.load(arguments.checkpoint, arguments.dtype)
  return label.label_store(
    judge.config,
    judge.params,
    judge.checkpoint,
    source,
    arguments.output,
    input_length=arguments.input_length
    or source.manifest.feature_lengths["prompt"],
    keep=arguments.keep,
  )


def _label_by_utility(
  arguments: argparse.Namespace, source: "stores.Store"
) -> "label.Report":
  from rlhf_gap import errors
  from rlhf_gap.inference import label_exactly

  applying.only_if(
    False,
    arguments,
    "with a preference model",
    *("input_length", "dtype", "above_chance"),
    keep="end",
  )
  utilities = hidden_utility.by_name(None, source.manifest.task)
  if utilities is None:
    raise errors.UserError(
      f"{source.path}: the hidden utility of {source.manifest.task} is unknown;"
      " expected pairs of a miniature, or a preference model's checkpoint (a"
      f" folder of this name is ./{_UTILITY})"
    )
  return label_exactly.label_store(utilities, source, arguments.output)


def run(arguments: argparse.Namespace) -> None:
  """Labels the store and prints a summary."""
  report = _label(arguments)
  _check_not_all_ties(report, arguments.pairs)
  if arguments.above_chance:
    _check_above_chance(report, arguments.checkpoint, arguments.pairs)
  if arguments.json:
    print(json.dumps(dataclasses.asdict(report)))
    return
  print(
    f"{arguments.output}: {report.rows:,} pairs, {report.kept_order:.1%} in"
    f" their original order, {report.ties:,} ties, position bias"
    f" {report.mean_position_bias:+.3f}"
  )
