"""Measures checkpoints: win rates, KL, classification, utility; with intervals.

  rlhf-gap evaluate RUN/checkpoint_400 --golden=CKPT --reference=CKPT ...
  rlhf-gap evaluate RUN --all ...       every checkpoint that RUN has
  rlhf-gap evaluate RUN --follow ...    as they appear, until RUN is complete

Samples are drawn once and kept in OUTPUT/samples; records go to
OUTPUT/records.jsonl. What is recorded already is not measured again.
"""

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rlhf_gap import records
  from rlhf_gap.evaluation import utility, yardstick

_SHOWN = (
  ("win rate", "win_rate", 3, ""),
  ("KL", "kl_nats", 2, " nats"),
  ("vs reference", "win_rate_vs_reference", 3, ""),
  ("proxy", "proxy_win_rate", 3, ""),
  ("utility", "utility", 2, ""),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap evaluate`."""
  add = parser.add_argument
  add("path", metavar="CHECKPOINT_OR_RUN", help="with --all or --follow a run")
  which = parser.add_mutually_exclusive_group()
  which.add_argument("--all", action="store_true", help="each checkpoint_*")
  which.add_argument("--follow", action="store_true", help="wait for more")
  add("--golden", required=True, metavar="CKPT", help="preference model")
  add("--proxy", metavar="CKPT", help="preference model, asked too")
  add("--reference", required=True, metavar="CKPT", help="the SFT policy")
  add("--golden_policy", metavar="CKPT", help="whose samples are opponents")
  add("--golden_samples", metavar="STORE", help="or samples it drew before")
  add("--prompts", required=True, metavar="STORE")
  add("--pairs", metavar="STORE", help="labelled by the golden model")
  add("--output", required=True, metavar="DIR", help="records and samples")
  add("--samples", metavar="DIR", help="shared by runs (OUTPUT/samples)")
  add("--utility", metavar="NAME", help="a miniature, or none (by task)")
  add("--num_prompts", type=int, default=2048, help="(default: 2048)")
  add("--kl_prompts", type=int, help="of them (default: 256, or all)")
  add("--own_pairs", type=int, help="of them (default: 256, or all)")
  add("--num_pairs", type=int, default=256, help="classified (default: 256)")
  add("--max_length", type=int, help="tokens (default: the pairs', or 128)")
  add("--judge_length", type=int, help="tokens (default: the prompts' window)")
  add("--keep", choices=("end", "start"), default="end", help="of a prompt")
  add("--batch_size", type=int, default=64, help="rows (default: 64)")
  add("--seed", type=int, default=0)
  add("--dtype", choices=("float32", "bfloat16"), help="of the parameters")
  add("--run_name", help="default: from run.json, or the folder's name")
  add("--arm", help="default: from run.json")
  add("--poll_seconds", type=float, default=5.0, help="of --follow")
  add("--json", action="store_true", help="print records")


def run(arguments: argparse.Namespace) -> None:
  """Evaluates and prints a line a checkpoint."""
  from rlhf_gap import errors, records
  from rlhf_gap.evaluation import run as evaluation

  described = _describe(arguments)
  yardstick = _yardstick(arguments)
  path = os.path.join(arguments.output, "records.jsonl")
  records.read(path)
  failures = []
  for checkpoint in _checkpoints(arguments):
    known = evaluation.find(
      yardstick, checkpoint, described, records.read(path)
    )
    try:
      record = known or evaluation.evaluate(yardstick, checkpoint, described)
    except errors.UserError as error:
      # Of many, the others are worth having.
      if not (arguments.all or arguments.follow):
        raise
      failures.append(str(error))
      continue
    if not known:
      os.makedirs(arguments.output, exist_ok=True)
      records.put(path, record)
    print(_line(record, known is not None, arguments.json), flush=True)
  if failures:
    raise errors.UserError(
      f"{len(failures)} checkpoints could not be evaluated, the others are"
      f" recorded: {'; '.join(failures)}"
    )


def _describe(arguments: argparse.Namespace) -> "records.Run":
  import dataclasses

  from rlhf_gap.evaluation import runs

  folder = os.path.abspath(arguments.path)
  single = not (arguments.all or arguments.follow)
  if single and os.path.basename(folder).startswith("checkpoint_"):
    folder = os.path.dirname(folder)
  given = {"name": arguments.run_name, "arm": arguments.arm}
  return dataclasses.replace(
    runs.describe(folder), **{k: v for k, v in given.items() if v is not None}
  )


def _checkpoints(arguments: argparse.Namespace) -> Iterator[str]:
  from rlhf_gap.evaluation import runs

  if arguments.all:
    yield from runs.all_of(arguments.path)
  elif arguments.follow:
    yield from runs.follow(arguments.path, poll_seconds=arguments.poll_seconds)
  else:
    yield arguments.path


def _yardstick(arguments: argparse.Namespace) -> "yardstick.Yardstick":
  from rlhf_gap import checkpoints, stores
  from rlhf_gap.evaluation import runs, yardstick

  if arguments.all or arguments.follow:
    runs.checkpoints_of(arguments.path)
  else:
    checkpoints.open(arguments.path)
  prompts = stores.open(arguments.prompts).manifest
  max_length, judge_length = arguments.max_length, arguments.judge_length
  if max_length is None and arguments.pairs:
    pairs = stores.open(arguments.pairs).manifest
    max_length = pairs.feature_lengths.get("response")
  given = ("num_prompts", "num_pairs", "keep", "batch_size", "seed")
  some = min(256, arguments.num_prompts)
  kl_prompts, own_pairs = arguments.kl_prompts, arguments.own_pairs
  settings = yardstick.Settings(
    max_length=128 if max_length is None else max_length,
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
