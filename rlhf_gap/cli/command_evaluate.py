"""Measures checkpoints: win rates, KL, classification, utility; with intervals.

  rlhf-gap evaluate RUN/checkpoint_400 --golden=CKPT --reference=CKPT ...
  rlhf-gap evaluate RUN [RUN ...] --all ...    every checkpoint they have
  rlhf-gap evaluate RUN --follow ...           as they appear, to the end

Samples are drawn once and kept in OUTPUT/samples; records go to
OUTPUT/records.jsonl. What is recorded already is not measured again.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rlhf_gap.cli import applying, flag_types

if TYPE_CHECKING:
  from rlhf_gap import records, stores
  from rlhf_gap.evaluation import utility, yardstick

_SHOWN = (
  ("win rate", "win_rate", 3, ""),
  ("KL", "kl_nats", 2, " nats"),
  ("vs reference", "win_rate_vs_reference", 3, ""),
  ("proxy", "proxy_win_rate", 3, ""),
  ("utility", "utility", 2, ""),
)


_POLL_SECONDS = 5.0
_NUM_PAIRS = 256
# Flags that take a store's or a checkpoint's place: name, whether required.
_STORAGE = (
  ("--golden", True, "CKPT", "preference model"),
  ("--proxy", False, "CKPT", "preference model, asked too"),
  ("--reference", True, "CKPT", "the SFT policy"),
  ("--golden_policy", False, "CKPT", "whose samples are opponents"),
  ("--golden_samples", False, "STORE", "or samples it drew before"),
  ("--prompts", True, "STORE", None),
  ("--pairs", False, "STORE", "labelled by the golden model"),
  ("--samples", False, "DIR", "shared by runs (OUTPUT/samples)"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap evaluate`."""
  add = parser.add_argument
  add(
    "paths",
    nargs="+",
    type=flag_types.storage,
    metavar="CHECKPOINT_OR_RUN",
    help="one or more; with --all or --follow runs",
  )
  which = parser.add_mutually_exclusive_group()
  which.add_argument(
    "--all", action="store_true", help="every checkpoint that a run has"
  )
  which.add_argument(
    "--follow", action="store_true", help="wait for more until it is complete"
  )
  for flag, required, metavar, text in _STORAGE:
    add(
      flag,
      required=required,
      type=flag_types.storage,
      metavar=metavar,
      help=text,
    )
  add(
    "--output",
    required=True,
    type=flag_types.local,
    metavar="DIR",
    help="records and samples",
  )
  add("--utility", metavar="NAME", help="a miniature, or none (by task)")
  _add_numbers(add)
  add("--keep", choices=("end", "start"), default="end", help="of a prompt")
  add("--dtype", choices=("float32", "bfloat16"), help="of the parameters")
  name = flag_types.name
  add("--run_name", type=name, help="default: the run's folder's name")
  add("--arm", type=name, help="default: from run.json")
  add(
    "--poll_seconds",
    type=flag_types.positive,
    help=f"of --follow (default: {_POLL_SECONDS:g})",
  )
  add("--json", action="store_true", help="print records")


def _add_numbers(add: Callable[..., Any]) -> None:
  several = flag_types.whole(2)  # an interval needs two
  add("--num_prompts", type=several, default=2048, help="(default: 2048)")
  add("--kl_prompts", type=several, help="of them (default: 256, or all)")
  add(
    "--own_pairs",
    type=flag_types.whole(0),
    help="of them (default: 256, or all)",
  )
  add(
    "--num_pairs",
    type=several,
    help=f"of --pairs, classified (default: {_NUM_PAIRS}, or all)",
  )
  tokens = flag_types.tokens
  add("--max_length", type=tokens, help="tokens (default: the pairs', or 128)")
  add(
    "--judge_length", type=tokens, help="tokens (default: the prompts' window)"
  )
  add(
    "--batch_size", type=flag_types.count, default=64, help="rows (default: 64)"
  )
  add("--seed", type=flag_types.seed, default=0)


def run(arguments: argparse.Namespace) -> None:
  """Evaluates and prints a line a checkpoint."""
  from rlhf_gap import errors, records
  from rlhf_gap.evaluation import run as evaluation

  _check_applicable(arguments)
  yardstick = _yardstick(arguments)
  path = os.path.join(arguments.output, "records.jsonl")
  known = records.read(path)
  failures = []
  for checkpoint, described in _checkpoints(arguments):
    try:
      found = evaluation.find(yardstick, checkpoint, described, known)
      record = found or evaluation.evaluate(yardstick, checkpoint, described)
    except errors.UserError as error:
      # Of many, the others are worth having.
      if len(arguments.paths) == 1 and not (arguments.all or arguments.follow):
        raise
      failures.append(str(error))
      continue
    if not found:
      os.makedirs(arguments.output, exist_ok=True)
      records.put(path, record)
    print(_line(record, found is not None, arguments.json), flush=True)
  if failures:
    raise errors.UserError(
      f"{len(failures)} not evaluated, all others are recorded:"
      f" {'; '.join(failures)}"
    )


def _check_applicable(arguments: argparse.Namespace) -> None:
  only_if = applying.only_if
  only_if(arguments.follow, arguments, "with --follow", "poll_seconds")
  only_if(arguments.pairs is not None, arguments, "with --pairs", "num_pairs")
  only_one = len(arguments.paths) == 1
  only_if(only_one, arguments, "with a single run", "run_name")


def _checkpoints(
  arguments: argparse.Namespace,
) -> "Iterator[tuple[str, records.Run]]":
  """Yields every checkpoint with the run that it belongs to."""
  from rlhf_gap.evaluation import runs

  seconds = arguments.poll_seconds or _POLL_SECONDS
  for path in arguments.paths:
    if arguments.all:
      found = runs.all_of(path)
    elif arguments.follow:
      found = runs.follow(path, poll_seconds=seconds)
    else:
      found = iter([path])
    for checkpoint in found:
      yield checkpoint, _describe(arguments, checkpoint)


def _describe(arguments: argparse.Namespace, checkpoint: str) -> "records.Run":
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
  max_length, judge_length = arguments.max_length, arguments.judge_length
  num_pairs = arguments.num_pairs
  if arguments.pairs:
    pairs = stores.open(arguments.pairs)
    if max_length is None:
      max_length = pairs.manifest.feature_lengths.get("response")
    if num_pairs is None and pairs.manifest.schema == "pairs":
      num_pairs = _pairs_to_classify(pairs)
  given = ("num_prompts", "keep", "batch_size", "seed")
  some = min(256, arguments.num_prompts)
  kl_prompts, own_pairs = arguments.kl_prompts, arguments.own_pairs
  settings = yardstick.YardstickSettings(
    max_length=128 if max_length is None else max_length,
    num_pairs=_NUM_PAIRS if num_pairs is None else num_pairs,
    kl_prompts=some if kl_prompts is None else kl_prompts,
    own_pairs=some if own_pairs is None else own_pairs,
    judge_length=judge_length or prompts.feature_lengths["prompt"],
    **{name: getattr(arguments, name) for name in given},
  )
  names = (
    *("golden", "reference", "prompts", "proxy", "golden_policy"),
    *("golden_samples", "pairs", "dtype"),
  )
  return yardstick.load(
    yardstick.Sources(**{name: getattr(arguments, name) for name in names}),
    settings,
    arguments.samples or os.path.join(arguments.output, "samples"),
    _utility(arguments.utility, prompts.task),
  )


def _pairs_to_classify(store: "stores.Store") -> int:
  """Returns how many pairs to classify unless --num_pairs says so."""
  from rlhf_gap import errors

  weight = store.read(range(store.num_rows), ["weight"])["weight"]
  decided = int((weight > 0).sum())
  if decided < 2:
    raise errors.UserError(
      f"--pairs={store.path}: {decided} of {store.num_rows} pairs are no ties;"
      " an interval needs at least 2"
    )
  return min(_NUM_PAIRS, decided)


def _utility(name: str | None, task: str) -> "utility.Function | None":
  """The hidden utility of a miniature, named or told by the prompts' task."""
  import functools

  from rlhf_gap.data import mini

  if name is None:
    fitting = [c for c in mini.CORPORA if task.startswith(f"{c}_")]
    name = fitting[0] if fitting else "none"
  if name == "none":
    return None
  mini.corpora.named(name)
  return functools.partial(mini.utilities, name)


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
