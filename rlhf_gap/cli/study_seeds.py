"""Adds seeds to a study: a given number, or until its claims are decided."""

import argparse
import dataclasses
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rlhf_gap.cli import flag_types

if TYPE_CHECKING:
  from rlhf_gap.analysis.claims import AnsweredClaim
  from rlhf_gap.analysis.summary import Decision
  from rlhf_gap.study import experiment, scheduler, stages

# Runs the stages of a study and writes its records; returns the exit code.
RunStudy = Callable[..., int]

_LOOKS = "looks.json"
_SEED = re.compile(r"seed_\d+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags that set the number of seeds."""
  add = parser.add_argument
  add(
    "--seeds",
    type=flag_types.count,
    metavar="N",
    help="number of seeds (default: the file's); a finished study runs what is"
    " new",
  )
  add(
    "--decide",
    action="store_true",
    help="double the seeds until every claim is decided, with intervals that"
    " hold for all looks together",
  )
  add(
    "--max_seeds",
    type=flag_types.count,
    metavar="N",
    help="seeds of the last look of --decide (default: four times the first)",
  )
  add(
    "--budget_minutes",
    type=flag_types.positive,
    metavar="M",
    help="with --decide, end before a look that would take longer than what is"
    " left",
  )


def with_seeds(
  study: "experiment.Study", count: int | None
) -> "experiment.Study":
  """Returns a study with another number of seeds.

  Args:
    study: the study; its own seeds come first, then the next whole numbers.
    count: the number; None leaves the study as it is.
  """
  if count is None:
    return study
  own = study.seeds
  more = (n for n in range(count + max(own) + 1) if n not in own)
  needed = max(count - len(own), 0)
  seeds = (*own, *(next(more) for _ in range(needed)))[:count]
  return dataclasses.replace(study, seeds=seeds)


def check_kept(
  planned: "Sequence[stages.Stage]", workdir: str, count: int | None
) -> None:
  """Refuses fewer seeds than a folder has results of.

  Args:
    planned: the stages of the study with its new number of seeds.
    workdir: the study's folder.
    count: the flag --seeds.

  Raises:
    UserError: the folder has finished stages of other seeds.
  """
  from rlhf_gap import errors
  from rlhf_gap.study import stages

  wanted = {stage.name for stage in planned}
  patterns = {_SEED.sub("seed_*", name) for name in wanted}
  dropped = sorted(
    name
    for name in stages.Ledger(workdir).finished() - wanted
    if _SEED.search(name) and _SEED.sub("seed_*", name) in patterns
  )
  if dropped:
    what = "this study" if count is None else f"--seeds={count}"
    raise errors.UserError(
      f"{workdir} has results of more seeds than {what} ({dropped[0]}, ...);"
      " leaving seeds out after seeing their results would bias the study:"
      " give at least as many --seeds as before, or choose another --workdir"
    )


def refuse_if_decided(workdir: str) -> None:
  """Raises `UserError` if the folder's looks were planned by --decide."""
  from rlhf_gap import errors

  if os.path.exists(os.path.join(workdir, _LOOKS)):
    raise errors.UserError(
      f"{workdir} was looked at with --decide, whose intervals hold only for"
      " its planned looks; give --decide again, or choose another --workdir"
    )


def decide(
  study: "experiment.Study",
  workdir: str,
  arguments: argparse.Namespace,
  run_study: RunStudy,
) -> int:
  """Runs a study with more and more seeds until its claims are decided.

  Args:
    study: the study with the seeds of the first look.
    workdir: its folder, which is locked.
    arguments: the parsed flags.
    run_study: runs a study; see `command_study`.

  Returns:
    0, or 2 if a stage failed.
  """
  from rlhf_gap.analysis import looks

  most = arguments.max_seeds or 4 * len(study.seeds)
  seeds = looks.planned(len(study.seeds), most)
  _claim_looks(workdir, seeds)
  deadline = math.inf
  if arguments.budget_minutes is not None:
    deadline = time.monotonic() + 60 * arguments.budget_minutes
  made: tuple[Decision, ...] = ()
  for number, confidence in enumerate(looks.confidences(seeds), start=1):
    count = seeds[number - 1]
    now, head = with_seeds(study, count), f"look {number} of {len(seeds)}"
    late = _too_late(now, workdir, arguments, deadline)
    if late and number > 1:
      print(f"{head}, {count} seeds: {late}")
      break
    print(f"{head}: {count} seeds, {confidence:.1%} intervals", flush=True)
    code = run_study(now, confidence=confidence)
    if code:
      return code
    made, left = _look(workdir, made, count)
    print(_left_line(left, count))
    if not left:
      break
  return 0


def _left_line(left: "list[AnsweredClaim]", count: int) -> str:
  if not left:
    return f"every claim is decided at {count} seeds"
  names = ", ".join(dict.fromkeys(each.claim.name for each in left))
  return f"{len(left)} claims undecided at {count} seeds: {names}"


def _claim_looks(workdir: str, seeds: tuple[int, ...]) -> None:
  """Records the planned looks; refuses others than were planned before."""
  from rlhf_gap import errors, files
  from rlhf_gap.analysis import summary

  path = os.path.join(workdir, _LOOKS)
  if os.path.exists(path):
    before = tuple(files.read_json(path, dict)["seeds"])
    if before != seeds:
      raise errors.UserError(
        f"{workdir}: looks were planned at {_listed(before)} seeds, not"
        f" {_listed(seeds)}; a plan cannot change after a look: give the same"
        " --seeds and --max_seeds, or choose another --workdir"
      )
    return
  if summary.read(workdir) is not None:
    raise errors.UserError(
      f"{workdir} has been reported on without --decide; a look that was not"
      " planned cannot be undone: choose another --workdir"
    )
  files.write_json(path, {"seeds": list(seeds)})


def _listed(seeds: tuple[int, ...]) -> str:
  return ", ".join(map(str, seeds))


def _look(
  workdir: str, earlier: "tuple[Decision, ...]", count: int
) -> "tuple[tuple[Decision, ...], list[AnsweredClaim]]":
  """Writes the report; returns all decisions and what is undecided."""
  from rlhf_gap.analysis import looks, summary
  from rlhf_gap.report import build

  study = summary.read(workdir)
  assert study is not None  # written by the study that just ran
  # Before the report, which shows the answers of earlier looks.
  summary.write(workdir, dataclasses.replace(study, decisions=earlier))
  report = build.make(workdir, build.Options())
  for line in report.lines():
    print(line)
  made = looks.decisions(report.answered, earlier, count)
  summary.write(workdir, dataclasses.replace(study, decisions=made))
  return made, looks.undecided(report.answered)


def _too_late(
  study: "experiment.Study",
  workdir: str,
  arguments: argparse.Namespace,
  deadline: float,
) -> str:
  """Returns why a look would end after the deadline; "" if it would not."""
  from rlhf_gap.study import pipeline, scheduler

  standing = scheduler.standing(pipeline.stages(study), workdir)
  left = deadline - time.monotonic()
  needed = _seconds_left(standing) / arguments.workers
  if needed <= left:
    return ""
  return (
    f"would take about {needed / 60:.0f} minutes, and {max(left, 0) / 60:.0f}"
    f" of {arguments.budget_minutes:g} are left"
  )


def _seconds_left(standing: "dict[str, scheduler.Result]") -> float:
  """Predicts a stage's time from the same stage of other seeds."""
  known: dict[str, list[float]] = {}
  for name, result in standing.items():
    if result.status == "done":
      known.setdefault(_SEED.sub("seed_*", name), []).append(result.seconds)
  return math.fsum(
    math.fsum(times) / len(times)
    for name, result in standing.items()
    if result.status != "done"
    and (times := known.get(_SEED.sub("seed_*", name)))
  )
