r"""Runs the missing stages of a study, one per core at a time.

  rlhf-gap study --gin_file=gin_configs/studies/laptop.gin --workdir=runs/laptop

Rerun the same command to resume after an interruption. At the end it prints the
report's path and the verdicts.
"""

import argparse
import functools
import os
import shlex
from typing import TYPE_CHECKING

from rlhf_gap.cli import flag_types, gin_flags, study_seeds

if TYPE_CHECKING:
  from rlhf_gap.study import experiment, judges, scheduler, stages

TAKES_GIN = True

_TRACKING = "gin_configs/runs/parts/tracking.gin"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap study`."""
  gin_flags.add_arguments(parser)
  add = parser.add_argument
  add(
    "--workdir",
    required=True,
    type=flag_types.local,
    metavar="DIR",
    help="folder for all results",
  )
  add(
    "--stage",
    action="append",
    default=[],
    type=flag_types.name,
    metavar="NAME",
    help="run only this stage, for example one per machine; may be repeated."
    " Afterwards run the command without --stage to write the report",
  )
  add("--dry_run", action="store_true", help="print the plan and run nothing")
  add("--force", action="store_true", help="rerun stale stages")
  add(
    "--workers",
    type=flag_types.count,
    metavar="N",
    help="stages that run at the same time (default: one per core)",
  )
  study_seeds.add_arguments(parser)
  add(
    "--track",
    type=flag_types.name,
    metavar="NAMES",
    help="show the metrics of training stages in wandb, mlflow or trackio too,"
    " or in several, with commas; finished stages stay as they are",
  )


def run(arguments: argparse.Namespace) -> int:
  """Runs the study; returns 2 if a stage failed or could not run."""
  from rlhf_gap import errors
  from rlhf_gap.study import experiment, pipeline, scheduler, stages

  gin_flags.parse(arguments)
  study = gin_flags.construct(experiment.Study, arguments)
  _check_flags(arguments)
  study = study_seeds.with_seeds(study, arguments.seeds)
  planned = pipeline.stages(study)
  stages.check(planned)
  workdir = os.path.abspath(arguments.workdir)
  unknown = sorted(set(arguments.stage) - {stage.name for stage in planned})
  if unknown:
    raise errors.UserError(
      f"--stage={unknown[0]}: no such stage; --dry_run lists all"
    )
  if arguments.dry_run:
    _print_plan(planned, scheduler.standing(planned, workdir), workdir)
    return 0
  arguments.workers = arguments.workers or _default_workers()
  with scheduler.locked(workdir, arguments.stage):
    _claim(workdir, study.name)
    if arguments.decide:
      run_study = functools.partial(
        _run, workdir=workdir, arguments=arguments, reports=False
      )
      return study_seeds.decide(study, workdir, arguments, run_study)
    if not arguments.stage:
      study_seeds.refuse_if_decided(workdir)
      study_seeds.check_kept(planned, workdir, arguments.seeds)
    return _run(study, workdir, arguments)


def _run(
  study: "experiment.Study",
  workdir: str,
  arguments: argparse.Namespace,
  *,
  confidence: float = 0.95,
  reports: bool = True,
) -> int:
  """Runs the stages of a study and gathers their results.

  Args:
    study: the description.
    workdir: its folder, which is locked.
    arguments: the parsed flags.
    confidence: confidence of the report's intervals.
    reports: whether to write the report.

  Returns:
    0, or 2 if a stage failed or could not run.
  """
  from rlhf_gap.cli import main
  from rlhf_gap.study import gather, pipeline, scheduler

  planned = pipeline.stages(study)
  only = arguments.stage
  scheduler.forget_stale(planned, workdir, force=arguments.force, only=only)
  results = scheduler.run(
    planned,
    workdir,
    functools.partial(_execute, arguments.track),
    num_workers=arguments.workers,
    only=only,
  )
  if not only:
    gather.write(
      study, planned, results, workdir, _utility_of, confidence=confidence
    )
  # With all stages, reporting the failed ones covers those that they block.
  reported = ("failed", "blocked") if only else ("failed",)
  left = [name for name, result in results.items() if result.status in reported]
  for name in left:
    result = results[name]
    print(f"rlhf-gap study: {name} {result.status}: {result.reason}")
  if reports and not only:
    main.main(["report", workdir])
  return 2 if left else 0


def _check_flags(arguments: argparse.Namespace) -> None:
  from rlhf_gap.cli import applying

  applying.only_if(
    not arguments.dry_run,
    arguments,
    "without --dry_run",
    *("force", "workers", "decide", "track"),
  )
  applying.only_if(
    arguments.decide,
    arguments,
    "with --decide",
    *("max_seeds", "budget_minutes"),
  )
  applying.only_if(not arguments.decide, arguments, "without --decide", "stage")
  if arguments.track is not None:
    _check_trackers(arguments.track)


def _check_trackers(names: str) -> None:
  from rlhf_gap import errors
  from rlhf_gap.training import tracking

  try:
    tracking.Tracking(names).check_installed()
  except errors.UserError as error:
    raise errors.UserError(f"--track={names}: {error}") from error


def _execute(trackers: str | None, argv: list[str]) -> int:
  """Runs a stage's command in a worker; returns its exit code.

  Trackers are no part of a stage's recipe: they may be added to a study that is
  half done.
  """
  from rlhf_gap.cli import main

  if trackers is not None and argv[0] == "train":
    argv = [*argv, f"--gin_file={_TRACKING}", f"--gin.TRACKING={trackers}"]
  return main.main(argv)


def _claim(workdir: str, name: str) -> None:
  """Writes the study's name into its folder; refuses another study's folder.

  With it goes the fingerprint of the claims, before anything has been measured.
  """
  from rlhf_gap import errors, files
  from rlhf_gap.analysis import summary
  from rlhf_gap.paper import registry

  path = os.path.join(workdir, "name")
  if os.path.exists(path):
    with open(path, encoding="utf-8") as file:
      owner = file.read().strip()
    if owner != name:
      raise errors.UserError(
        f"{workdir} holds the study {owner}, not {name}; choose another"
        " --workdir"
      )
    return
  # Atomically, because the process of another stage may be reading them.
  claims = os.path.join(workdir, summary.CLAIMS_FILE_NAME)
  files.write_text(claims, f"{registry.fingerprint()}\n")
  files.write_text(path, f"{name}\n")


def _print_plan(
  planned: "list[stages.Stage]",
  standing: "dict[str, scheduler.Result]",
  workdir: str,
) -> None:
  for stage in planned:
    result = standing[stage.name]
    seconds = f" ({result.seconds:.1f} s)" if result.seconds else ""
    reason = f": {result.reason}" if result.reason else ""
    print(f"{stage.name}: {result.status}{seconds}{reason}")
    print(f"  rlhf-gap {shlex.join(stage.argv(workdir))}")
  left = sum(result.status != "done" for result in standing.values())
  print(f"{len(planned)} stages, {left} of them to run")


def _default_workers() -> int:
  """Returns one worker per core, or one if there is an accelerator."""
  accelerators = ("/dev/nvidia0", "/dev/accel0", "/dev/vfio/0")
  if any(map(os.path.exists, accelerators)):
    return 1
  return len(os.sched_getaffinity(0))


def _utility_of(task: str) -> "judges.Utility | None":
  from rlhf_gap.data import mini

  if task not in mini.CORPORA:
    return None
  return functools.partial(mini.utility, task)
