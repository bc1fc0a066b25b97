"""Labels a store of pairs with a preference model, into a new store.

The judge reads every pair in both orders; its winner becomes chosen, both of
its probabilities are kept, and an exact tie gets weight 0. The same command
again goes on where it was interrupted.
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from rlhf_gap.cli import flag_types

if TYPE_CHECKING:
  from rlhf_gap.inference import label


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap label`."""
  add = parser.add_argument
  storage = flag_types.storage
  add(
    "checkpoint",
    type=storage,
    metavar="CHECKPOINT",
    help="the preference model",
  )
  add(
    "--pairs",
    required=True,
    type=storage,
    metavar="STORE",
    help="what to label",
  )
  add(
    "--output", required=True, type=storage, metavar="DIR", help="the new store"
  )
  add(
    "--input_length",
    type=flag_types.tokens,
    metavar="N",
    help="the judge's window in tokens (default: the store's prompt window)",
  )
  add(
    "--keep",
    choices=("end", "start"),
    default="end",
    help="of a prompt too long: end for dialogues (default), start for posts",
  )
  add("--dtype", choices=("float32", "bfloat16"), help="of the parameters")
  add(
    "--above_chance",
    action="store_true",
    help="fail unless the judge agrees with the labels better than chance",
  )
  add("--json", action="store_true", help="print one object")


def _check_above_chance(report: "label.Report", path: str, pairs: str) -> None:
  from rlhf_gap import errors

  # Two standard errors of a fair coin.
  bound = 0.5 + report.rows**-0.5
  if not report.kept_order > bound:
    raise errors.UserError(
      f"{path} agrees with the labels of {pairs} on {report.kept_order:.1%} of"
      f" {report.rows:,} pairs, which a coin would reach (expected more than"
      f" {bound:.1%}): it has learnt nothing; train it longer, on more pairs or"
      " from a better start"
    )


def run(arguments: argparse.Namespace) -> None:
  """Labels the store and prints what became of its rows."""
  from rlhf_gap import checkpoints, stores
  from rlhf_gap.inference import label

  source = stores.open(arguments.pairs)
  path = arguments.checkpoint
  loaded = checkpoints.load(path, dtype=arguments.dtype, optimizer_state=False)
  fingerprint = checkpoints.fingerprint(path)
  report = label.label_store(
    loaded.config,
    loaded.params,
    stores.CheckpointIdentity(path, fingerprint, loaded.step),
    source,
    arguments.output,
    input_length=arguments.input_length
    or source.manifest.feature_lengths["prompt"],
    keep=arguments.keep,
  )
  if arguments.above_chance:
    _check_above_chance(report, path, arguments.pairs)
  if arguments.json:
    print(json.dumps(dataclasses.asdict(report)))
    return
  print(
    f"{arguments.output}: {report.rows:,} pairs, {report.kept_order:.1%} in"
    f" the order they had, {report.ties:,} ties, position bias"
    f" {report.mean_position_bias:+.3f}"
  )
