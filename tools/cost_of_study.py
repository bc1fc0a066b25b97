"""Prints the chip-hours that training a study takes.

Usage: python tools/cost_of_study.py GIN_FILE [--gin.NAME=VALUE]
       python tools/cost_of_study.py --check

Every `train` stage is a program that `tools/make_plans.py` has compiled for a
pod slice, identified by run file, size, judge and batch. Its cost is the number
of chips times its steps times the plan's lower bound on a step. Startup,
checkpoints, labelling and evaluation are not included. The check fails if the
header of one of gin_configs/studies/paper/*.gin states other costs.
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import sys
from typing import Any, NamedTuple

from rlhf_gap import errors
from rlhf_gap.cli import gin_files
from rlhf_gap.study import experiment, pipeline, stages

_ROOT = pathlib.Path(__file__).parents[1]
_PLANS = _ROOT / "gin_configs/runs/plans.json"
_RUNS, _MODELS = "--gin_file=gin_configs/runs/", "gin_configs/models/"
# Run files whose training step is that of another run file.
_AS = {
  "semi_online": "online",
  "best_of_two_online": "online",
  "best_of_two_offline": "offline",
  "replay": "offline",
  "best_of_two_replay": "offline",
}


class Program(NamedTuple):
  """Identifies the program of a training step.

  Attributes:
    kind: the run file's name.
    model: gin file of the trained model.
    judge: gin file of the judge; "" if nothing is sampled.
    batch_size: rows per step.
  """

  kind: str
  model: str
  judge: str
  batch_size: int


def planned() -> dict[Program, dict[str, Any]]:
  """Returns the committed plans; the first slice of each program."""
  found: dict[Program, dict[str, Any]] = {}
  for row in json.loads(_PLANS.read_text()):
    words = row["command"]
    kind, *_ = [w.removeprefix(_RUNS) for w in words if w.startswith(_RUNS)]
    (model,) = [w for w in words if w.startswith(f"--gin_file={_MODELS}")]
    judge = [w for w in words if w.startswith("--judge_model=")]
    program = Program(
      kind.removesuffix(".gin"),
      model.partition("=")[2],
      judge[0].partition("=")[2] if judge else "",
      row["batch_size"],
    )
    found.setdefault(program, row["plan"])
  return found


def program_of(study: experiment.Study, stage: stages.Stage) -> Program:
  """Returns the program of a `train` stage.

  Args:
    study: the description.
    stage: one of its stages.
  """
  words = dict(word.partition("=")[::2] for word in stage.command)
  kind = next(w for w in stage.command if w.startswith(_RUNS))
  kind = kind.removeprefix(_RUNS).removesuffix(".gin")
  ablations = study.ablations
  models = {
    size.name: size.policy_gin_file
    for size in (ablations.sizes if ablations else ())
  }
  models["golden"] = study.golden_gin_file
  judge = ""
  if "--gin.PROMPTS" in words:
    is_golden = "/golden/" in words["--gin.JUDGE_CHECKPOINT_PATH"]
    judge = study.golden_gin_file if is_golden else study.policy_gin_file
  return Program(
    _AS.get(kind, kind),
    models.get(stage.name.split("/")[1], study.policy_gin_file),
    judge,
    int(words["--gin.BATCH_SIZE"]),
  )


def chip_hours(stage: stages.Stage, plan: dict[str, Any]) -> float:
  """Returns a lower bound on the chip-hours of a `train` stage.

  Args:
    stage: the stage.
    plan: the plan of its program.
  """
  words = dict(word.partition("=")[::2] for word in stage.command)
  # The pairs that an online run records include the reference's scores.
  recorded = "replay" in stage.command[1]
  seconds = sum(
    bound["seconds"]
    for bound in plan["bounds"]
    if bound["term"] == "step" or not recorded
  )
  steps = int(words["--gin.TRAIN_STEPS"])
  return plan["num_chips"] * steps * seconds / 3600


def _study(file: str, bindings: list[str]) -> experiment.Study:
  gin_files.parse([file], bindings)
  missing = gin_files.required_macros()
  bindings = [*bindings, *(f"{name} = 'not-needed'" for name in missing)]
  gin_files.parse([file], bindings)
  return gin_files.construct(experiment.Study, [file], bindings)


def costs(study: experiment.Study) -> dict[tuple[str, str], float]:
  """Returns chip-hours by part of the study and slice.

  Args:
    study: the description.

  Raises:
    UserError: a program has no plan.
  """
  plans = planned()
  found: dict[tuple[str, str], float] = collections.defaultdict(float)
  for stage in pipeline.stages(study):
    if stage.command[0] != "train":
      continue
    program = program_of(study, stage)
    if program not in plans:
      raise errors.UserError(
        f"{stage.name}: {_PLANS.name} has no plan of {program}; add it to"
        " tools/plan_experiments.py and run tools/make_plans.py"
      )
    plan = plans[program]
    part = stage.name.split("/")[1]
    found[part, plan["topology"]] += chip_hours(stage, plan)
  return found


def header_sentence(study: experiment.Study) -> str:
  """Returns the sentence on costs in a study file's header.

  SFT, judges and golden policy are trained once, however many seeds there are.

  Args:
    study: the description; its own seeds do not matter.

  Returns:
    Such as "32 v5e and 6 v5p chip-hours for one seed, 20 v5e for each further
    one".
  """
  one, two = (
    _by_chip(costs(dataclasses.replace(study, seeds=seeds)))
    for seeds in ((0,), (0, 1))
  )
  further = {kind: two[kind] - hours for kind, hours in one.items()}
  return (
    f"{_listed(one)} chip-hours for one seed, {_listed(further)} for each"
    " further one"
  )


def _by_chip(found: dict[tuple[str, str], float]) -> dict[str, float]:
  kinds: dict[str, float] = collections.defaultdict(float)
  for (_, topology), hours in found.items():
    kinds[topology.partition(":")[0]] += hours
  return kinds


def _listed(hours: dict[str, float]) -> str:
  return " and ".join(f"{h:,.0f} {kind}" for kind, h in hours.items() if h)


def _check() -> int:
  faults = 0
  for path in sorted((_ROOT / "gin_configs/studies/paper").glob("*.gin")):
    header = path.read_text().partition("from __gin__")[0]
    expected = header_sentence(_study(str(path), []))
    if expected not in " ".join(header.replace("\n#", " ").split()):
      faults += 1
      print(f"OUT OF DATE: {path.name}: its header does not say {expected}")
  return int(faults > 0)


def main() -> int:
  """Prints chip-hours by part of the study."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("gin_file", nargs="?")
  parser.add_argument("--check", action="store_true")
  arguments, given = parser.parse_known_args()
  bindings = [
    word.removeprefix("--gin.").replace("=", " = ", 1) for word in given
  ]
  if not arguments.check and arguments.gin_file is None:
    parser.error("expected a study's gin file, or --check")
  try:
    if arguments.check:
      return _check()
    study = _study(arguments.gin_file, bindings)
    found = costs(study)
  except errors.UserError as error:
    print(f"cost_of_study: {error}", file=sys.stderr)
    return 2
  for (part, topology), hours in found.items():
    print(f"{part:<16}{topology:<12}{hours:>10,.1f}")
  print(f"{_listed(_by_chip(found))} chip-hours, seeds {study.seeds}")
  print(header_sentence(study))
  return 0


if __name__ == "__main__":
  sys.exit(main())
