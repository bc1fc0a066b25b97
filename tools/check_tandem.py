"""Checks that online and offline training differ only in their pairs.

Records an online run on a miniature and trains offline on the recorded pairs.
In the recorded order, parameters, optimizer state and every logged statistic
must be bitwise equal; shuffled, they must differ. A sampler that is refreshed
before every step must equal an online run. A sampler that is never refreshed
must produce the pairs that two copies of the initial checkpoint generate.

Usage: python tools/check_tandem.py [--steps=300] [--batch_size=32] [--seed=0]
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import jax
import miniature
import numpy as np

from rlhf_gap import losses, pairs, stores
from rlhf_gap.models import t5
from rlhf_gap.training import configured, description, metric_log, objectives
from rlhf_gap.training import run as training


@dataclasses.dataclass(frozen=True)
class SyncedEveryStep:
  """The semi-online code path, made to refresh its sampler at every step.

  Attributes:
    never_synced: an `Online` that keeps sampling from its first policy.
  """

  never_synced: pairs.Online

  def open(
    self, context: pairs.Context, *, start_step: int = 0
  ) -> "_SyncedEveryStep":
    """Opens the semi-online source."""
    return _SyncedEveryStep(
      self.never_synced.open(context, start_step=start_step)
    )

  def stores(self) -> list[stores.Store]:
    """Returns the store of prompts."""
    return self.never_synced.stores()


class _SyncedEveryStep:
  def __init__(self, source: pairs.Source):
    self._source = source

  def fetch(self, step: int, params: t5.Params) -> pairs.FetchedBatch:
    """Returns pairs sampled from `params`."""
    self._source.restore({})
    return self._source.fetch(step, params)

  def state(self) -> dict[str, Any]:
    return {}

  def restore(self, state: Mapping[str, Any]) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class Result:
  """The result of a run.

  Attributes:
    state: parameters and optimizer state after the last step.
    lines: the logged statistics, without timings.
    seconds: duration of the run.
  """

  state: Any
  lines: list[dict[str, Any]]
  seconds: float

  def differences(self, other: "Result") -> dict[str, float]:
    """Returns the largest difference of everything not bitwise equal."""
    compared = {
      "parameters": (self.state.params, other.state.params),
      "optimizer state": (self.state.opt_state, other.state.opt_state),
      "statistics": (_values(self.lines), _values(other.lines)),
    }
    largest = {}
    for name, (mine, theirs) in compared.items():
      mine, theirs = map(jax.device_get, (mine, theirs))
      leaves = list(
        zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True)
      )
      if any(np.array(a).tobytes() != np.array(b).tobytes() for a, b in leaves):
        largest[name] = max(float(np.max(np.abs(a - b))) for a, b in leaves)
    return largest


def _values(lines: list[dict[str, Any]]) -> np.ndarray:
  """Returns the statistics `[line, name]`, NaN where one is undefined."""
  names = sorted(set().union(*lines))
  return np.array(
    [[line.get(name, np.nan) for name in names] for line in lines]
  )


class _Runs:
  """Trains runs that differ only in their source."""

  def __init__(self, made: miniature.Miniature, flags: argparse.Namespace):
    self._made, self._flags = made, flags
    self._folder = pathlib.Path(made.prompts).parent

  def train(
    self, name: str, source: pairs.SourceSpec, record: bool = False
  ) -> Result:
    """Trains one run and reads its log."""
    folder = str(self._folder / name)
    start = time.monotonic()
    outcome = training.train(
      description.Run(
        model_dir=folder,
        objective=objectives.Contrastive(losses.Ipo(0.1)),
        source=source,
        optimizer=configured.Adafactor(configured.LearningRate(1e-3)),
        initial=self._made.policy,
        train_steps=self._flags.steps,
        batch_size=self._flags.batch_size,
        seed=self._flags.seed,
        checkpoint_every_steps=self._flags.steps,
        record=record,
        tensorboard=False,
      )
    )
    lines = [metric_log.without_times(x) for x in metric_log.read(folder)]
    return Result(outcome.state, lines, time.monotonic() - start)

  def online(self, sync_every_steps: int | None) -> pairs.Online:
    """Returns the miniature's online source."""
    return pairs.Online(
      self._made.prompts,
      self._made.judge,
      pairs.Sampling(max_length=miniature.LENGTH_TOKENS),
      sync_every_steps=sync_every_steps,
    )

  def generated(self) -> pairs.Generated:
    """Returns a source that samples both responses from the initial policy."""
    made = self._made
    sampling = pairs.Sampling(max_length=miniature.LENGTH_TOKENS)
    return pairs.Generated(
      made.policy, made.policy, made.prompts, made.judge, sampling
    )


def _compare(title: str, first: Result, second: Result, *, equal: bool) -> str:
  """Prints a comparison of two runs; returns the fault, or ""."""
  differences = first.differences(second)
  if differences:
    shown = ", ".join(f"{n} by {v:.3g}" for n, v in differences.items())
    text = f"{title}: differ in {shown}"
  else:
    count = len(jax.tree.leaves((first.state.params, first.state.opt_state)))
    statistics = _values(first.lines)
    text = (
      f"{title}: bitwise equal, {count} arrays and"
      f" {statistics.shape[0]} x {statistics.shape[1]} statistics"
    )
  print(text, flush=True)
  return "" if equal == (not differences) else text


def check(runs: _Runs, recorded: str) -> list[str]:
  """Trains all runs and compares them.

  Args:
    runs: trains the runs.
    recorded: the store in which the online run records its pairs.

  Returns:
    The faults.
  """
  online = runs.train("online", runs.online(1), record=True)
  print(f"online: {len(online.lines)} steps in {online.seconds:.1f} s")

  def against(
    title: str, source: pairs.SourceSpec, *, equal: bool, other: Result = online
  ) -> str:
    name = title.split(",")[0].replace(" ", "_")
    return _compare(title, other, runs.train(name, source), equal=equal)

  faults = [
    against("replay in exact order", pairs.Replay(recorded), equal=True),
    against("replay in blocks of 4", pairs.Replay(recorded, 4), equal=False),
    against(
      "replay of examples in uniform order",
      pairs.Replay(recorded, None, "example"),
      equal=False,
    ),
    against(
      "semi-online synced at every step",
      SyncedEveryStep(runs.online(None)),
      equal=True,
    ),
  ]
  once = runs.train("synced_once", runs.online(None))
  faults.append(_compare("synced once, online", online, once, equal=False))
  faults.append(
    against(
      "generated by the initial policy, synced once",
      runs.generated(),
      equal=True,
      other=once,
    )
  )
  return [fault for fault in faults if fault]


def main() -> int:
  """Parses the flags, runs the check and returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--steps", type=int, default=300)
  parser.add_argument("--batch_size", type=int, default=32)
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  if flags.steps < 5:
    parser.error("blocks of 4 batches need at least 5 steps")
  with tempfile.TemporaryDirectory() as folder:
    made = miniature.build(pathlib.Path(folder), min(flags.steps, 100))
    runs = _Runs(made, flags)
    faults = check(runs, str(pathlib.Path(folder) / "online" / "pairs"))
  print("\n".join(f"FAULT: {fault}" for fault in faults) or "tandem holds")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
