"""Trains every run file in gin_configs/runs on a miniature for a few steps.

Each is run by `rlhf-gap train` with its required settings and small shapes;
all other settings are those of the file.

Usage: python tools/check_runs.py [--steps=20]
"""

import argparse
import math
import pathlib
import sys
import tempfile
import time

import miniature

from rlhf_gap import stores
from rlhf_gap.cli import gin_files
from rlhf_gap.training import metric_log, model_dir, saving

_ROOT = pathlib.Path(__file__).parents[1]
_BATCH_SIZE = 8
# Replay needs the online run's record; the rest is in alphabetical order.
_FIRST = ("pretrain", "online")
_REPLAYS = ("replay", "best_of_two_replay")


def run_files() -> list[str]:
  """Returns the names of all run files, in an order that works."""
  names = {path.stem for path in (_ROOT / miniature.RUNS).glob("*.gin")}
  return [*_FIRST, *sorted(names - set(_FIRST))]


def train_flags(
  name: str, made: miniature.Miniature, root: pathlib.Path, steps: int
) -> list[str]:
  """Returns the flags that a run file needs on the miniature.

  Args:
    name: name of the run file.
    made: stores, policy and judge.
    root: folder for the runs, by name.
    steps: number of steps.

  Raises:
    KeyError: the file requires an unknown macro.
  """
  files = [f"{miniature.RUNS}/{name}.gin"]
  if name == "pretrain":
    files.append(miniature.MODEL)
  recorded = str(root / "online" / "pairs")
  given = {
    "MODEL_DIR": str(root / name),
    "INITIAL_CHECKPOINT_PATH": made.policy,
    "RESPONSES": made.responses,
    "PROMPTS": made.prompts,
    "PAIRS": recorded if name in _REPLAYS else made.pairs,
    "JUDGE_CHECKPOINT_PATH": made.judge,
    "SYNC_EVERY_STEPS": "3",
  }
  gin_files.parse(files)
  bindings = {macro: given[macro] for macro in gin_files.required_macros()}
  bindings |= {"TRAIN_STEPS": str(steps), "BATCH_SIZE": str(_BATCH_SIZE)}
  if "PROMPTS" in bindings:
    bindings["MAX_LENGTH"] = str(miniature.LENGTH_TOKENS)
  return [
    *(f"--gin_file={file}" for file in files),
    *(f"--gin.{macro}={value}" for macro, value in bindings.items()),
  ]


def faults_of(folder: pathlib.Path, steps: int, records: bool) -> list[str]:
  """Returns the faults of a finished run.

  Args:
    folder: the run's folder.
    steps: its expected number of steps.
    records: whether it records sampled pairs.
  """
  faults = []
  lines = metric_log.read(str(folder))
  losses = [line["train/loss"] for line in lines]
  if len(losses) != steps or not all(map(math.isfinite, losses)):
    faults.append(f"{len(losses)} losses: {losses}")
  if saving.steps_in(str(folder)) != [0, steps]:
    faults.append(f"checkpoints {saving.steps_in(str(folder))}")
  if model_dir.completed_step(str(folder)) != steps:
    faults.append("not marked complete")
  if records:
    rows = stores.open(str(folder / "pairs")).num_rows
    if rows != steps * _BATCH_SIZE:
      faults.append(f"{rows} rows recorded")
  return faults


def main() -> int:
  """Parses the flags, runs the check and returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=20)
  flags = parser.parse_args()
  faults = []
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    made = miniature.build(root / "made", flags.steps)
    for name in run_files():
      words = train_flags(name, made, root, flags.steps)
      begun = time.monotonic()
      miniature.rlhf_gap("train", *words)
      seconds = time.monotonic() - begun
      records = any(word.startswith("--gin.PROMPTS=") for word in words)
      found = faults_of(root / name, flags.steps, records)
      faults += [f"{name}: {fault}" for fault in found]
      print(f"{name}: {flags.steps} steps in {seconds:.1f} s", flush=True)
  print("\n".join(f"FAULT: {f}" for f in faults) or "every run file trains")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
