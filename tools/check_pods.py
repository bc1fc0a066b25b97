"""Checks that a run on many devices or hosts computes what one device does.

On a miniature, online and offline, each as a user would start it: on 1 device;
on 8 virtual ones in several meshes; as 2 processes of 4 devices, which meet on
loopback; begun on 8 devices and finished on 2, begun as 2 processes and
finished as 1. Losses agree within 1e-5 relative in float32; samples and
recorded stores are the same tokens, their scores within rounding.

Then what goes wrong on hosts: one of two processes is killed, or hangs, or is
started from other files; the other ends with a line that names it, and a
restart ends as a run that nobody disturbed, bit for bit.

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
# Of log-probabilities and verdicts, next to their size.
_ROUNDING = {"rtol": 1e-4, "atol": 1e-4}

Part = pods_launching.Part
_MIXED = {"FSDP": 2, "NUM_PARTITIONS": 2}
ALONE, TWO = "1 device", "2 x 4: fsdp 2, model 2"
RUNS = {
  ALONE: [Part(1, None)],
  "8 x rows": [Part(8, {})],
  "8: model 4": [Part(8, {"NUM_PARTITIONS": 4})],
  "8: fsdp 8": [Part(8, {"FSDP": 8})],
  "8: fsdp 2, model 2": [Part(8, _MIXED)],
  "8, then 2": [Part(8, _MIXED, 0.5), Part(2, {"NUM_PARTITIONS": 2})],
  TWO: [Part(4, _MIXED, processes=2)],
  # A layer is spread over both: each process reads every row.
  "2 x 1: model 2": [Part(1, {"NUM_PARTITIONS": 2}, processes=2)],
  "2 x 4, then 1 x 2": [Part(4, _MIXED, 0.5, processes=2), Part(2, {})],
}
# What CI has time for.
_QUICK = {"online": [ALONE, TWO, "2 x 4, then 1 x 2"], "offline": [ALONE, TWO]}


def faults_of(one: pathlib.Path, many: pathlib.Path, steps: int) -> list[str]:
  """Returns how a run on many devices differs from that on one.

  Args:
    one: the folder of the run on one device.
    many: that of the other.
    steps: that both made.
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
  """Trains on all kinds of devices; prints as it goes.

  Args:
    root: where the runs go, under their regime and name.
    steps: of each run.
    made: stores, policy and judge.
    quick: whether to leave most meshes out.

  Returns:
    The faults.
  """
  faults = []
  for regime in ("online", "offline"):
    for name in _QUICK[regime] if quick else RUNS:
      begun = time.monotonic()
      folder = root / regime / name
      words = pods_launching.words_of(regime, made, folder)
      for part in RUNS[name]:
        last = max(1, round(part.share * steps))
        pods_launching.train(words, part, last)
      seconds = time.monotonic() - begun
      print(f"{regime}, {name}: {seconds:.0f} s", flush=True)
      found = faults_of(root / regime / ALONE, folder, steps)
      faults += [f"{regime}, {name}: {fault}" for fault in found]
  return faults


def main() -> int:
  """Returns 0 where all is as it must be."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=50)
  parser.add_argument("--ingredient_steps", type=int, default=100)
  parser.add_argument("--quick", action="store_true")
  flags = parser.parse_args()
  if flags.steps < 6:
    parser.error("killing a run on its way needs at least 6 steps")
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
