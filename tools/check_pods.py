"""Checks that a run on many devices computes what a run on one does.

On a miniature, online and offline, each as a user would start it: on 1 device,
on 8 virtual ones in several meshes, and begun on 8 and finished on 2. Losses
agree within 1e-5 relative in float32; samples and recorded stores are the same
tokens, their scores within rounding.

Usage: python tools/check_pods.py [--steps=50] [--ingredient_steps=100]
"""

import argparse
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import miniature
import numpy as np

from rlhf_gap import stores
from rlhf_gap.training import metric_log

_BATCH_SIZE = 8
_RELATIVE = 1e-5
# Of log-probabilities and verdicts, next to their size.
_ROUNDING = {"rtol": 1e-4, "atol": 1e-4}


@dataclasses.dataclass(frozen=True)
class Part:
  """A stretch of a run.

  Attributes:
    devices: virtual ones of its process.
    mesh: macros of `gin_configs/runs/parts/mesh.gin`; None for no mesh.
    share: of the run's steps after which it ends.
  """

  devices: int
  mesh: dict[str, int] | None
  share: float = 1.0


ALONE = "1 device"
RUNS = {
  ALONE: [Part(1, None)],
  "8 x rows": [Part(8, {})],
  "8: model 4": [Part(8, {"NUM_PARTITIONS": 4})],
  "8: fsdp 8": [Part(8, {"FSDP": 8})],
  "8: fsdp 2, model 2": [Part(8, {"FSDP": 2, "NUM_PARTITIONS": 2})],
  "8, then 2": [
    Part(8, {"FSDP": 2, "NUM_PARTITIONS": 2}, 0.5),
    Part(2, {"NUM_PARTITIONS": 2}),
  ],
}


def words_of(
  regime: str, made: miniature.Miniature, folder: pathlib.Path
) -> list[str]:
  """Returns the flags of a run whatever its devices.

  Args:
    regime: "online" or "offline".
    made: stores, policy and judge.
    folder: the run's.
  """
  given = {
    "MODEL_DIR": str(folder),
    "INITIAL_CHECKPOINT_PATH": made.policy,
    "BATCH_SIZE": str(_BATCH_SIZE),
  }
  if regime == "online":
    given["PROMPTS"] = made.prompts
    given["JUDGE_CHECKPOINT_PATH"] = made.judge
    given["MAX_LENGTH"] = str(miniature.LENGTH_TOKENS)
  else:
    given["PAIRS"] = made.pairs
  return [
    f"--gin_file={miniature.RUNS}/{regime}.gin",
    *(f"--gin.{name}={value}" for name, value in given.items()),
  ]


def train(words: list[str], part: Part, steps: int) -> None:
  """Runs `rlhf-gap train` in a process with devices of its own.

  Args:
    words: the run's flags.
    part: its devices and mesh.
    steps: after which it ends.

  Raises:
    subprocess.CalledProcessError: it did not succeed; it has said why.
  """
  words = [*words, f"--gin.TRAIN_STEPS={steps}"]
  if part.mesh is not None:
    words.append(f"--gin_file={miniature.RUNS}/parts/mesh.gin")
    words += [f"--gin.{name}={size}" for name, size in part.mesh.items()]
  flag = f"--xla_force_host_platform_device_count={part.devices}"
  environment = {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-m", "rlhf_gap.cli.main", "train", *words]
  subprocess.run(command, env=environment, check=True)


def faults_of(one: pathlib.Path, many: pathlib.Path, steps: int) -> list[str]:
  """Returns how a run on many devices differs from that on one.

  Args:
    one: the folder of the run on one device.
    many: that of the other.
    steps: that both made.
  """
  faults = []
  alone, spread = (_losses(folder) for folder in (one, many))
  if sorted(alone) != list(range(1, steps + 1)) or set(alone) != set(spread):
    return [f"logged {len(alone)} and {len(spread)} of {steps} steps"]
  worst = max(abs(spread[t] - alone[t]) / abs(alone[t]) for t in alone)
  print(f"    losses within {worst:.1e} relative", flush=True)
  if worst > _RELATIVE:
    faults.append(f"losses differ by {worst:.1e} relative")
  if (one / "pairs").exists():
    faults += _store_faults(one / "pairs", many / "pairs")
  return faults


def _losses(folder: pathlib.Path) -> dict[int, float]:
  lines = metric_log.read(str(folder))
  return {
    int(line["step"]): float(line["train/loss"])
    for line in lines
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


def check(root: pathlib.Path, steps: int, made: miniature.Miniature) -> int:
  """Trains everything and returns the number of faults, which it prints.

  Args:
    root: where the runs go.
    steps: of each run.
    made: stores, policy and judge.
  """
  count = 0
  for regime in ("online", "offline"):
    for number, (name, parts) in enumerate(RUNS.items()):
      begun = time.monotonic()
      folder = root / f"{regime}{number}"
      words = words_of(regime, made, folder)
      for part in parts:
        train(words, part, max(1, round(part.share * steps)))
      seconds = time.monotonic() - begun
      print(f"{regime}, {name}: {seconds:.0f} s", flush=True)
      for fault in faults_of(root / f"{regime}0", folder, steps):
        print(f"  FAULT {regime}, {name}: {fault}", flush=True)
        count += 1
  return count


def main() -> int:
  """Returns 0 where every run agrees with that on one device."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=50)
  parser.add_argument("--ingredient_steps", type=int, default=100)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    made = miniature.build(root, arguments.ingredient_steps)
    count = check(root, arguments.steps, made)
  print("agreed" if not count else f"{count} faults")
  return 1 if count else 0


if __name__ == "__main__":
  sys.exit(main())
