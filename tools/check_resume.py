"""Kills training at random moments and checks that resuming is exact.

`rlhf-gap train` is killed repeatedly: while it starts, while it saves, while it
appends to the store of pairs, and in between. The same command resumes it each
time. At the end the last checkpoint (parameters, optimizer and pair source),
the recorded store and the metrics (without timings) must be bitwise equal to
those of an uninterrupted run. SIGTERM must end a run with exit code 0 and all
of its work saved.

Usage: python tools/check_resume.py [--kills=20] [--steps=60] [--seed=0]
    [--regimes=online,semi-online,sft]
"""

import argparse
import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import miniature
import numpy as np
import orbax.checkpoint as ocp

from rlhf_gap import progress, stores
from rlhf_gap.training import metric_log, saving

_MOMENTS = ("saving", "appending", "training", "starting")
_REGIMES = ("online", "semi-online", "sft")
_SAVE_EVERY_STEPS = 4
_POLL_SECONDS = 0.002
_PATIENCE_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Regime:
  """A run to kill.

  Attributes:
    name: name of the regime.
    flags: flags of `rlhf-gap train`, without MODEL_DIR.
  """

  name: str
  flags: tuple[str, ...]

  def command(self, folder: pathlib.Path) -> list[str]:
    """Returns the command that starts or resumes the run."""
    program = [sys.executable, "-m", "rlhf_gap.cli.main", "train"]
    return [*program, *self.flags, f"--gin.MODEL_DIR={folder}"]


def regimes(made: miniature.Miniature, steps: int) -> list[Regime]:
  """Returns the runs to kill: online, semi-online, supervised.

  Args:
    made: stores, policy and judge.
    steps: number of steps of each run.

  Returns:
    The regimes; the first is killed most often.
  """
  common = (
    f"--gin.INITIAL_CHECKPOINT_PATH={made.policy}",
    f"--gin.TRAIN_STEPS={steps}",
    "--gin.BATCH_SIZE=16",
    "--gin.LEARNING_RATE=1e-3",
    f"--gin.description.Run.checkpoint_every_steps={_SAVE_EVERY_STEPS}",
  )
  sampled = (
    f"--gin.PROMPTS={made.prompts}",
    f"--gin.JUDGE_CHECKPOINT_PATH={made.judge}",
    f"--gin.MAX_LENGTH={miniature.LENGTH_TOKENS}",
  )
  # Not a multiple of the checkpoint interval, so the sampler must be saved.
  sync = "--gin.SYNC_EVERY_STEPS=7"
  held_out = (f"--gin.RESPONSES={made.responses}",) + (
    f"--gin.VALIDATION={made.responses}",
    "--gin.description.Run.keep=2",
  )
  files = miniature.RUNS
  return [
    Regime("online", (f"--gin_file={files}/online.gin", *common, *sampled)),
    Regime(
      "semi-online",
      (f"--gin_file={files}/semi_online.gin", *common, *sampled, sync),
    ),
    Regime("sft", (f"--gin_file={files}/sft.gin", *common, *held_out)),
  ]


class Child:
  """A training process."""

  def __init__(self, regime: Regime, folder: pathlib.Path):
    """Starts it."""
    self.folder = folder
    self._log = open(f"{folder}.log", "a+")  # noqa: SIM115
    self._before = self._signs()
    self._process = subprocess.Popen(
      regime.command(folder), stdout=self._log, stderr=self._log
    )

  def _signs(self) -> dict[str, set[str]]:
    """Returns the files that show that a run saves, appends or trains."""
    names = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
    chunks = self.folder / "pairs" / "weight"
    saves = {n for n in names if n.startswith("checkpoint_")}
    return {
      "saving": {n for n in saves if "orbax-checkpoint-tmp" in n},
      "appending": set(os.listdir(chunks)) if chunks.is_dir() else set(),
      "training": saves,
    }

  def wait_for(self, sign: str) -> bool:
    """Waits for a new sign of a kind; returns False if the run has ended."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while self._process.poll() is None:
      if self._signs()[sign] - self._before[sign]:
        return True
      if time.monotonic() > end:
        self.end(signal.SIGKILL)
        raise RuntimeError(f"no sign of {sign}; see {self._log.name}")
      time.sleep(_POLL_SECONDS)
    return False

  def end(self, number: int) -> int:
    """Sends a signal and returns the exit code."""
    self._process.send_signal(number)
    return self.wait()

  def wait(self) -> int:
    """Waits for the end and returns the exit code."""
    status = self._process.wait()
    self._log.close()
    return status

  def text(self) -> str:
    """Returns the output of this process and its predecessors."""
    return pathlib.Path(f"{self.folder}.log").read_text()


def finish(regime: Regime, folder: pathlib.Path) -> float:
  """Runs to the end; returns the duration in seconds."""
  start = time.monotonic()
  child = Child(regime, folder)
  if child.wait() != 0:
    raise RuntimeError(f"{regime.name} failed:\n{child.text()[-3000:]}")
  return time.monotonic() - start


def state_after_kill(folder: pathlib.Path) -> str:
  """Describes what a kill left: partial checkpoints, uncommitted chunks."""
  names = os.listdir(folder) if folder.is_dir() else []
  left = []
  if any("orbax-checkpoint-tmp" in name for name in names):
    left.append("a partial checkpoint")
  chunks = folder / "pairs" / "weight"
  if chunks.is_dir():
    try:
      committed = stores.open(str(folder / "pairs")).manifest.num_chunks
    except stores.NothingCommittedError:
      committed = 0
    written = sum(n.startswith("c.") for n in os.listdir(chunks))
    if written > committed:
      left.append(f"{written - committed} uncommitted chunks")
  steps = saving.steps_in(str(folder))
  latest = f"checkpoint_{steps[-1]}" if steps else "no checkpoint"
  return f"{latest}, {' and '.join(left) or 'nothing incomplete'}"


def kill_once(
  regime: Regime,
  folder: pathlib.Path,
  moment: str,
  rng: random.Random,
  start_seconds: float,
) -> bool:
  """Starts the run and kills it; returns whether it was still running."""
  child = Child(regime, folder)
  if moment == "starting":
    time.sleep(rng.uniform(0.0, start_seconds))
  elif not child.wait_for(moment):
    return child.wait() != 0
  else:
    most = {"saving": 0.1, "appending": 0.02, "training": 2.0}[moment]
    time.sleep(rng.uniform(0.0, most))
  return child.end(signal.SIGKILL) == -signal.SIGKILL


def contents(folder: pathlib.Path) -> dict[str, Any]:
  """Returns everything that must be equal, by name."""
  found: dict[str, Any] = {}
  steps = saving.steps_in(str(folder))
  found["checkpoints"] = steps
  for item in ("state", "source"):
    path = folder / f"checkpoint_{steps[-1]}" / item
    if path.is_dir():
      with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        tree = reader.restore(path.absolute())
      for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.asarray(leaf)
        name = f"{item}{jax.tree_util.keystr(key)}"
        found[name] = (value.dtype, value.shape, value.tobytes())
  for path in (folder / "pairs").rglob("*"):
    if path.is_file():
      found[str(path.relative_to(folder))] = path.read_bytes()
  for number, line in enumerate(metric_log.read(str(folder))):
    found[f"metrics, line {number}"] = metric_log.without_times(line)
  return found


def differences(
  folder: pathlib.Path, expected: dict[str, Any], extra_steps: bool = False
) -> list[str]:
  """Returns the names of everything that differs.

  Args:
    folder: the run's folder.
    expected: the `contents` of the uninterrupted run.
    extra_steps: whether additional checkpoints are allowed.

  Returns:
    The names; empty if everything is equal.
  """
  found = contents(folder)
  if extra_steps and set(expected["checkpoints"]) <= set(found["checkpoints"]):
    found["checkpoints"] = expected["checkpoints"]
  names = found.keys() | expected.keys()
  return sorted(n for n in names if found.get(n) != expected.get(n))


def check_kills(
  regime: Regime,
  root: pathlib.Path,
  kills: int,
  rng: random.Random,
  report: Callable[[str], None],
) -> list[str]:
  """Kills a run `kills` times and compares it with an uninterrupted one.

  Args:
    regime: the run.
    root: folder for the runs.
    kills: number of kills.
    rng: chooses the moments.
    report: receives one line per kill and one per run.

  Returns:
    One line for each run that differs.
  """
  undisturbed = root / "undisturbed"
  seconds = finish(regime, undisturbed)
  expected = contents(undisturbed)
  report(f"{regime.name}: undisturbed in {seconds:.1f} s")
  faults, killed, number = [], 0, 0
  moments = [m for m in _MOMENTS if regime.name != "sft" or m != "appending"]

  def compare(folder: pathlib.Path) -> None:
    differing = differences(folder, expected)
    line = (
      f"{regime.name}, run {number}: {len(differing)} of {len(expected)}"
      " things differ"
    )
    report(line)
    if differing:
      faults.append(f"{line}: {', '.join(differing[:5])}")

  with progress.bar(f"killing {regime.name}", kills, "kills") as bar:
    while killed < kills:
      folder = root / f"killed-{number}"
      moment = moments[killed % len(moments)]
      if kill_once(regime, folder, moment, rng, seconds / 3):
        report(f"{regime.name}, {moment}: {state_after_kill(folder)}")
        killed += 1
        bar.update(1)
      else:
        compare(folder)
        number += 1
  finish(regime, root / f"killed-{number}")
  compare(root / f"killed-{number}")
  return faults


def check_sigterm(
  regime: Regime,
  root: pathlib.Path,
  steps: int,
  report: Callable[[str], None],
) -> list[str]:
  """Stops a run by SIGTERM, resumes it and returns the faults.

  Args:
    regime: the run; `root` must contain its uninterrupted counterpart.
    root: folder for the runs.
    steps: number of steps of the whole run.
    report: receives one line.
  """
  folder = root / "stopped"
  child = Child(regime, folder)
  child.wait_for("training")
  # The second checkpoint: the loop has begun.
  while len(saving.steps_in(str(folder))) < 2:
    time.sleep(_POLL_SECONDS)
  status = child.end(signal.SIGTERM)
  step = saving.steps_in(str(folder))[-1]
  finish(regime, folder)
  differing = differences(
    folder, contents(root / "undisturbed"), extra_steps=True
  )
  line = (
    f"{regime.name}, SIGTERM: exit code {status}, saved at step {step};"
    f" after resuming, {len(differing)} things differ"
  )
  report(line)
  if (
    status or step >= steps or differing or "stopped after" not in child.text()
  ):
    return [f"{line}: {', '.join(differing[:5])}"]
  return []


def check(
  flags: argparse.Namespace, root: pathlib.Path, report: Callable[[str], None]
) -> list[str]:
  """Checks every selected regime.

  Args:
    flags: command-line flags. `kills` applies to the online run; the others are
      killed a quarter as often.
    root: folder for all files.
    report: receives a line for each action.

  Returns:
    A line for each fault.
  """
  made = miniature.build(root, 30)
  # All processes share one compilation cache.
  os.environ["XDG_CACHE_HOME"] = str(root / "cache")
  rng = random.Random(flags.seed)
  faults = []
  for number, regime in enumerate(regimes(made, flags.steps)):
    if regime.name not in flags.regimes.split(","):
      continue
    folder = root / f"runs-{regime.name}"
    folder.mkdir()
    count = flags.kills if number == 0 else max(1, flags.kills // 4)
    faults += check_kills(regime, folder, count, rng, report)
    if number == 0:
      faults += check_sigterm(regime, folder, flags.steps, report)
  return faults


def main() -> int:
  """Parses the flags, runs the check and returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--steps", type=int, default=60)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--regimes", default=",".join(_REGIMES))
  flags = parser.parse_args()

  def report(line: str) -> None:
    print(line, flush=True)

  unknown = set(flags.regimes.split(",")) - set(_REGIMES)
  if unknown:
    parser.error(f"unknown regimes {sorted(unknown)}; known: {_REGIMES}")
  report(f"seed {flags.seed}")
  with tempfile.TemporaryDirectory() as folder:
    faults = check(flags, pathlib.Path(folder), report)
  print("\n".join(f"FAULT: {f}" for f in faults) or "resumption is exact")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
