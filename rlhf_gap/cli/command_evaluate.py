"""Measures checkpoints: win rates, KL, classification, utility; with intervals.

  rlhf-gap evaluate RUN/checkpoint_400 --golden=CKPT --reference=CKPT ...
  rlhf-gap evaluate RUN [RUN ...] --all ...    every checkpoint of the runs
  rlhf-gap evaluate RUN --follow ...           checkpoints as they are saved

Responses are sampled once and kept in OUTPUT/samples. Records go to
OUTPUT/records.jsonl. Checkpoints with a record are not measured again.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rlhf_gap.cli import applying, flag_types, hidden_utility, shared_flags

if TYPE_CHECKING:
  from rlhf_gap import records, stores
  from rlhf_gap.evaluation import yardstick

_SHOWN = (
  ("win rate", "win_rate", 3, ""),
  ("KL", "kl_nats", 2, " nats"),
  ("vs reference", "win_rate_vs_reference", 3, ""),
  ("proxy", "proxy_win_rate", 3, ""),
  ("utility", "utility", 2, ""),
)


_POLL_SECONDS = 5.0
_NUM_PAIRS = 256
_REQUIRED = (
  ("--golden", "CKPT", "the golden preference model"),
  ("--reference", "CKPT", "the reference policy (SFT)"),
  ("--prompts", "STORE", "the prompts"),
)
_OPTIONAL = (
  ("--golden_policy", "CKPT", "policy whose samples are the opponents"),
  ("--golden_samples", "STORE", "samples of it, instead of --golden_policy"),
  ("--proxy", "CKPT", "the proxy preference model, for its win rates"),
  ("--pairs", "STORE", "pairs labelled by the golden model, to classify"),
  (
    "--samples",
    "DIR",
    "folder of samples to share with other evaluations (default:"
    " OUTPUT/samples)",
  ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap evaluate`."""
  add = parser.add_argument
  add(
    "paths",
    nargs="+",
    type=flag_types.storage,
    metavar="CHECKPOINT_OR_RUN",
    help="checkpoints; runs with --all or --follow",
  )
  which = parser.add_mutually_exclusive_group()
  which.add_argument(
    "--all", action="store_true", help="measure every checkpoint of the runs"
  )
  which.add_argument(
    "--follow",
    action="store_true",
    help="also wait for new checkpoints until the run is complete",
  )
  shared_flags.add_storage(parser, _REQUIRED)
  add(
    "--output",
    required=True,
    type=flag_types.local,
    metavar="DIR",
    help="folder for records and samples",
  )
  shared_flags.add_storage(parser, _OPTIONAL, required=False)
  add(
    "--utility",
    metavar="NAME",
    help="miniature whose hidden utility to measure, or none (default: by the"
    " prompts' task)",
  )
  _add_numbers(add)
  shared_flags.add_keep(parser)
  shared_flags.add_dtype(parser, "the parameters")
  name = flag_types.name
  add("--run_name", type=name, help="the run's name (default: its folder's)")
  add("--arm", type=name, help="the run's arm (default: from run.json)")
  add(
    "--poll_seconds",
    type=flag_types.positive,
    help=f"polling period of --follow (default: {_POLL_SECONDS:g})",
  )
  add("--json", action="store_true", help="print the records")


def _add_numbers(add: Callable[..., Any]) -> None:
  at_least_two = flag_types.whole(2)  # for an interval
  add(
    "--num_prompts",
    type=at_least_two,
    default=2048,
    help="prompts for win rates (default: 2048)",
  )
  add(
    "--kl_prompts",
    type=at_least_two,
    help="the first of them, for KL (default: 256, or all)",
  )
  add(
    "--own_pairs",
    type=flag_types.whole(0),
    help="the first of them, to classify pairs of the policy's own samples"
    " (default: 256, or all)",
  )
  add(
    "--num_pairs",
    type=at_least_two,
    help=f"pairs of --pairs to classify (default: {_NUM_PAIRS}, or all)",
  )
  add(
    "--or_all",
    action="store_true",
    help="if there are fewer prompts or pairs than these numbers, take all",
  )
  tokens = flag_types.tokens
  add(
    "--max_length",
    type=tokens,
    help="response window in tokens (default: the pairs', or 128)",
  )
  add(
    "--judge_length",
    type=tokens,
    help="the judges' window in tokens (default: the prompts' window)",
  )
  add(
    "--batch_size", type=flag_types.count, default=64, help="rows (default: 64)"
  )
  add("--seed", type=flag_types.seed, default=0, help="(default: 0)")


def run(arguments: argparse.Namespace) -> None:
  """Evaluates the checkpoints and prints one line for each."""
  from rlhf_gap import errors, records
  from rlhf_gap.evaluation import run as evaluation

  _check_applicable(arguments)
  yardstick = _yardstick(arguments)
  path = os.path.join(arguments.output, "records.jsonl")
  known = records.read(path)
  failures = []
  for checkpoint, described in _checkpoints(arguments):
    try:
      recorded = evaluation.find(yardstick, checkpoint, described, known)
      record = recorded or evaluation.evaluate(yardstick, checkpoint, described)
    except errors.UserError as error:
      # One bad checkpoint among several must not cost the others.
      if len(arguments.paths) == 1 and not (arguments.all or arguments.follow):
        raise
      failures.append(str(error))
      continue
    if not recorded:
      os.makedirs(arguments.output, exist_ok=True)
      records.put(path, record)
    print(_line(record, recorded is not None, arguments.json), flush=True)
  if failures:
    raise errors.UserError(
      f"{len(failures)} not evaluated, all others are recorded:"
      f" {'; '.join(failures)}"
    )


def _check_applicable(arguments: argparse.Namespace) -> None:
  has_pairs, is_single = arguments.pairs is not None, _has_one_run(arguments)
  applying.only_if(arguments.follow, arguments, "with --follow", "poll_seconds")
  applying.only_if(has_pairs, arguments, "with --pairs", "num_pairs")
  applying.only_if(is_single, arguments, "with a single run", "run_name")


def _has_one_run(arguments: argparse.Namespace) -> bool:
  """Returns whether all checkpoints belong to one run."""
  if arguments.all or arguments.follow:
    return len(arguments.paths) == 1
  folders = {os.path.dirname(os.path.abspath(p)) for p in arguments.paths}
  return len(folders) == 1


def _checkpoints(
  arguments: argparse.Namespace,
) -> "Iterator[tuple[str, records.TrainingRun]]":
  """Yields every checkpoint with the training run that it belongs to."""
  from rlhf_gap.evaluation import runs

  seconds = arguments.poll_seconds or _POLL_SECONDS
  for path in arguments.paths:
    if arguments.all:
      paths = runs.all_of(path)
    elif arguments.follow:
      paths = runs.follow(path, poll_seconds=seconds)
    else:
      paths = iter([path])
    for checkpoint in paths:
      yield checkpoint, _describe(arguments, checkpoint)


def _describe(
  arguments: argparse.Namespace, checkpoint: str
) -> "records.TrainingRun":
  import dataclasses

  from rlhf_gap.evaluation import runs

  given = {"name": arguments.run_name, "arm": arguments.arm}
  return dataclasses.replace(
    runs.run_of(checkpoint), **{k: v for k, v in given.items() if v is not None}
  )


def _yardstick(arguments: argparse.Namespace) -> "yardstick.Yardstick":
  from rlhf_gap import checkpoints, stores
  from rlhf_gap.evaluation import runs, yardstick

  for path in arguments.paths:
    if arguments.all or arguments.follow:
      runs.checkpoints_of(path)
    else:
      checkpoints.open(path)
  prompts = stores.open(arguments.prompts).manifest
  if arguments.or_all:
    _take_all(arguments)
  max_length, judge_length = arguments.max_length, arguments.judge_length
  num_pairs = arguments.num_pairs
  if arguments.pairs:
    pairs = stores.open(arguments.pairs)
    if max_length is None:
      max_length = pairs.manifest.feature_lengths.get("response")
    if num_pairs is None and pairs.manifest.schema == "pairs":
      num_pairs = _pairs_to_classify(pairs)
  copied = ("num_prompts", "keep", "batch_size", "seed")
  default_part = min(256, arguments.num_prompts)
  kl_prompts, own_pairs = arguments.kl_prompts, arguments.own_pairs
  settings = yardstick.YardstickSettings(
    max_length=128 if max_length is None else max_length,
    num_pairs=_NUM_PAIRS if num_pairs is None else num_pairs,
    kl_prompts=default_part if kl_prompts is None else kl_prompts,
    own_pairs=default_part if own_pairs is None else own_pairs,
    judge_length=judge_length or prompts.feature_lengths["prompt"],
    **{name: getattr(arguments, name) for name in copied},
  )
  names = (
    *("golden", "reference", "prompts", "proxy", "golden_policy"),
    *("golden_samples", "pairs", "dtype"),
  )
  return yardstick.load(
    yardstick.Sources(**{name: getattr(arguments, name) for name in names}),
    settings,
    arguments.samples or os.path.join(arguments.output, "samples"),
    hidden_utility.by_name(arguments.utility, prompts.task),
  )


def _take_all(arguments: argparse.Namespace) -> None:
  """Lowers the numbers of prompts and pairs to what the stores hold."""
  from rlhf_gap import stores

  held = {"num_prompts": stores.open(arguments.prompts).num_rows}
  held |= dict.fromkeys(("kl_prompts", "own_pairs"), held["num_prompts"])
  if arguments.pairs:
    pairs = stores.open(arguments.pairs)
    if pairs.manifest.schema == "pairs":
      held["num_pairs"] = _decided(pairs)
  for name, most in held.items():
    asked = getattr(arguments, name)
    setattr(arguments, name, None if asked is None else min(asked, most))


def _decided(store: "stores.Store") -> int:
  """Returns how many pairs of a store are not ties."""
  weight = store.read(range(store.num_rows), ["weight"])["weight"]
  return int((weight > 0).sum())


def _pairs_to_classify(store: "stores.Store") -> int:
  """Returns the default of --num_pairs."""
  from rlhf_gap import errors

  decided = _decided(store)
  if decided < 2:
    raise errors.UserError(
      f"--pairs={store.path}: all but {decided} of {store.num_rows} pairs are"
      " ties; expected at least 2 that are not, for an interval"
    )
  return min(_NUM_PAIRS, decided)


def _line(record: "records.RunRecord", known: bool, as_json: bool) -> str:
  from rlhf_gap import records

  if as_json:
    return records.dumps(record)
  shown = [
    f"{label} {m.value:.{digits}f}"
    f" [{m.ci95_low:.{digits}f}, {m.ci95_high:.{digits}f}]{unit}"
    for label, name, digits, unit in _SHOWN
    if (m := record.metrics.get(name)) is not None
  ]
  seconds = record.environment.wall_seconds
  end = "recorded before" if known else f"{seconds:.1f} s"
  name, step = record.run.name, record.checkpoint.step
  return f"{name} step {step}: {', '.join(shown)} ({end})"
