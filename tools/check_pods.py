"""Checks that runs on many devices or hosts match a run on one device.

Trains a miniature online and offline: on 1 device; on 8 virtual devices with
several meshes; as 2 processes of 4 devices each, joined on loopback; started on
8 devices and resumed on 2; started as 2 processes and resumed as 1. Losses must
agree within 1e-5 relative in float32, tokens in samples and recorded stores
must be equal, and scores must agree within rounding.

Then checks failures: one of two processes is killed, hangs, or is started with
other settings. The other must end with a line that names it, and a restarted
run must end bitwise equal to an undisturbed one.

Usage: python tools/check_pods.py [--steps=50] [--ingredient_steps=100]
    [--quick]
"""

import argparse
import pathlib
import sys
import tempfile
import time

import miniature
import numpy as np
import pods_faults
import pods_launching

from rlhf_gap import stores
from rlhf_gap.training import metric_log

_RELATIVE = 1e-5
# Tolerances of log-probabilities and verdicts.
_ROUNDING = {"rtol": 1e-4, "atol": 1e-4}

Stage = pods_launching.Stage
_MIXED = {"FSDP": 2, "NUM_PARTITIONS": 2}
ALONE, TWO = "1 device", "2 x 4: fsdp 2, model 2"
RUNS = {
  ALONE: [Stage(1, None)],
  "8 x rows": [Stage(8, {})],
  "8: model 4": [Stage(8, {"NUM_PARTITIONS": 4})],
  "8: fsdp 8": [Stage(8, {"FSDP": 8})],
  "8: fsdp 2, model 2": [Stage(8, _MIXED)],
  "8, then 2": [Stage(8, _MIXED, 0.5), Stage(2, {"NUM_PARTITIONS": 2})],
  TWO: [Stage(4, _MIXED, processes=2)],
  # Layers are split over both processes, so each reads every row.
  "2 x 1: model 2": [Stage(1, {"NUM_PARTITIONS": 2}, processes=2)],
  "2 x 4, then 1 x 2": [Stage(4, _MIXED, 0.5, processes=2), Stage(2, {})],
}
# The subset that CI has time for.
_QUICK = {"online": [ALONE, TWO, "2 x 4, then 1 x 2"], "offline": [ALONE, TWO]}


def faults_of(one: pathlib.Path, many: pathlib.Path, steps: int) -> list[str]:
  """Returns how a run on many devices differs from the run on one.

  Args:
    one: folder of the run on one device.
    many: folder of the run on many.
    steps: number of steps of both.
  """
  faults = []
  alone, spread = (losses_of(folder) for folder in (one, many))
  if sorted(alone) != list(range(1, steps + 1)) or set(alone) != set(spread):
    return [f"logged {len(alone)} and {len(spread)} of {steps} steps"]
  worst = max(abs(spread[t] - alone[t]) / abs(alone[t]) for t in alone)
  print(f"    losses within {worst:.1e} relative", flush=True)
  if worst > _RELATIVE:
    faults.append(f"losses differ by {worst:.1e} relative")
  if (one / "pairs").exists():
    faults += _store_faults(one / "pairs", many / "pairs")
  return faults


def losses_of(folder: pathlib.Path) -> dict[int, float]:
  """Returns a run's logged losses by step."""
  return {
    int(line["step"]): float(line["train/loss"])
    for line in metric_log.read(str(folder))
    if "train/loss" in line
  }


def _store_faults(one: pathlib.Path, many: pathlib.Path) -> list[str]:
  alone, spread = (stores.open(str(path)) for path in (one, many))
  if alone.num_rows != spread.num_rows:
    return [f"recorded {alone.num_rows} and {spread.num_rows} rows"]
  rows = range(alone.num_rows)
  expected, found = alone.read(rows), spread.read(rows)
  faults = []
  for name, values in expected.items():
    exact = not np.issubdtype(values.dtype, np.floating)
    same = (
      np.array_equal(found[name], values)
      if exact
      else np.allclose(found[name], values, **_ROUNDING)
    )
    if not same:
      faults.append(f"recorded {name} differs")
  return faults


def check_agreement(
  root: pathlib.Path, steps: int, made: miniature.Miniature, quick: bool
) -> list[str]:
  """Trains on all device layouts, printing progress.

  Args:
    root: folder for the runs, by regime and name.
    steps: number of steps of each run.
    made: stores, policy and judge.
    quick: whether to skip most meshes.

  Returns:
    The faults.
  """
  faults = []
  for regime in ("online", "offline"):
    for name in _QUICK[regime] if quick else RUNS:
      begun = time.monotonic()
      folder = root / regime / name
      words = pods_launching.train_flags(regime, made, folder)
      for stage in RUNS[name]:
        last = max(1, round(stage.share * steps))
        pods_launching.train(words, stage, last)
      seconds = time.monotonic() - begun
      print(f"{regime}, {name}: {seconds:.0f} s", flush=True)
      found = faults_of(root / regime / ALONE, folder, steps)
      faults += [f"{regime}, {name}: {fault}" for fault in found]
  return faults


def main() -> int:
  """Parses the flags, runs the check and returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=50)
  parser.add_argument("--ingredient_steps", type=int, default=100)
  parser.add_argument("--quick", action="store_true")
  flags = parser.parse_args()
  if flags.steps < 6:
    parser.error("killing a run midway needs at least 6 steps")
  with tempfile.TemporaryDirectory() as name:
    root = pathlib.Path(name)
    made = miniature.build(root, flags.ingredient_steps)
    faults = check_agreement(root, flags.steps, made, flags.quick)
    disturbed = pods_faults.Disturbed(
      root, flags.steps, made, RUNS[TWO][0], root / "online" / TWO
    )
    faults += disturbed.check(flags.quick)
  print("\n".join(f"FAULT: {fault}" for fault in faults) or "all agree")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
