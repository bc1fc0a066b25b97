"""Records as arms: what a study compares, with outcomes by prompt."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from rlhf_gap import errors, records

WIN, KL = "win_rate", "kl_nats"

_SEED = re.compile(r"(.*\.)?seed")
_FINGERPRINT = re.compile(r"[0-9a-f]{32,}")


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
  """One run's checkpoints, by step.

  Attributes:
    name: the run's.
    seed: the run's.
    steps: of each checkpoint.
    kl_nats: on each of the first prompts.
    outcomes: by metric, 1, 1/2 or 0 on each prompt, for what every checkpoint
      has: "win_rate" at least.
  """

  name: str
  seed: int
  steps: Int[np.ndarray, "checkpoints"]
  kl_nats: Float[np.ndarray, "checkpoints kl_prompts"]
  outcomes: Mapping[str, Float[np.ndarray, "checkpoints prompts"]]

  def by_prompt(
    self, metric: str
  ) -> Float[np.ndarray, "checkpoints some_prompts"]:
    """Returns the values of "kl_nats" or of one of the outcomes."""
    return self.kl_nats if metric == KL else self.outcomes[metric]


@dataclasses.dataclass(frozen=True, eq=False)
class Configuration:
  """Runs that differ in their seeds alone.

  Attributes:
    label: the hyper-parameters by which the arm's configurations differ, such
      as "loss.beta=0.1, learning_rate.peak=1e-05"; "" where there is one
      configuration.
    runs: by name.
  """

  label: str
  runs: tuple[Trajectory, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
  """All runs that a study compares as one thing.

  Attributes:
    name: such as "online".
    configurations: by label.
  """

  name: str
  configurations: tuple[Configuration, ...]

  @property
  def runs(self) -> tuple[Trajectory, ...]:
    """The runs of all configurations."""
    return tuple(r for one in self.configurations for r in one.runs)

  @property
  def seeds(self) -> tuple[int, ...]:
    """The seeds that occur, rising."""
    return tuple(sorted({run.seed for run in self.runs}))

  @property
  def num_checkpoints(self) -> int:
    """How many points it has in a figure."""
    return sum(len(run.steps) for run in self.runs)

  @property
  def num_prompts(self) -> int:
    """On how many prompts it was judged."""
    return self.runs[0].outcomes[WIN].shape[1]

  def has(self, metric: str) -> bool:
    """Whether every checkpoint has outcomes of this name."""
    return all(metric in run.outcomes for run in self.runs)


def group(found: Iterable[records.RunRecord]) -> dict[str, Arm]:
  """Groups records by arm, configuration and run.

  Two runs of an arm are of one configuration where method and
  hyper-parameters agree, but for seeds and the fingerprints of what they read:
  a tandem run reads what the online run of its seed recorded.

  Args:
    found: records of one task.

  Returns:
    The arms, by name.

  Raises:
    UserError: the records were measured against different things, lack
      outcomes by prompt, or hold two runs of one configuration and seed: no
      statistics can be made of them together.
  """
  by_arm: dict[str, list[records.RunRecord]] = {}
  for record in found:
    by_arm.setdefault(record.run.arm, []).append(record)
  _check([record for arm in by_arm.values() for record in arm])
  return {name: _arm(name, by_arm[name]) for name in sorted(by_arm)}


def size_of(arm: str) -> str:
  """Returns which size of policy an arm is of: "xl" of "online@xl", or ""."""
  return arm.partition("@")[2]


def _check(found: Sequence[records.RunRecord]) -> None:
  # Policies of another size have a reference of their own.
  for size in sorted({size_of(record.run.arm) for record in found}):
    alike = [r for r in found if size_of(r.run.arm) == size]
    _check_alike(alike, (WIN, KL), with_reference=True)
  _check_alike(found, (WIN,), with_reference=False)


def _check_alike(
  found: Sequence[records.RunRecord],
  counted: Sequence[str],
  *,
  with_reference: bool,
) -> None:
  yardsticks: dict[tuple[str | int, ...], records.RunRecord] = {}
  for record in found:
    for name in (WIN, KL):
      if not record.by_prompt.get(name):
        raise errors.UserError(
          f"the record of {_place(record)} has no {name} by prompt, which"
          " intervals need; evaluate it again"
        )
    by = record.evaluation
    reference = by.reference if with_reference else ""
    key = (by.golden, reference, by.golden_policy, by.prompts)
    yardsticks.setdefault(
      (*key, *(len(record.by_prompt[n]) for n in counted)), record
    )
  if len(yardsticks) > 1:
    first, second = list(yardsticks.values())[:2]
    raise errors.UserError(
      f"{_place(first)} and {_place(second)} were measured against different"
      " judges, opponents or prompts; a report compares what one evaluation"
      " measured: evaluate all checkpoints alike, or give each its own folder"
    )


def _place(record: records.RunRecord) -> str:
  return f"{record.run.name} step {record.checkpoint.step}"


def _arm(name: str, found: Sequence[records.RunRecord]) -> Arm:
  settings = {r.run.name: _settings(r.run) for r in found}
  every = list(settings.values())
  varying = {
    key
    for key in set().union(*every)
    if len({one.get(key) for one in every}) > 1
  }
  runs: dict[str, list[Trajectory]] = {}
  for run in sorted(settings):
    label = _label((k, v) for k, v in settings[run].items() if k in varying)
    of_run = [record for record in found if record.run.name == run]
    runs.setdefault(label, []).append(_trajectory(of_run))
  return Arm(
    name,
    tuple(
      configuration
      for label in sorted(runs)
      for configuration in _by_length(label, runs[label])
    ),
  )


def _by_length(
  label: str, runs: Sequence[Trajectory]
) -> Iterator[Configuration]:
  """Tells apart long and short runs of the same seeds."""
  if len({run.seed for run in runs}) == len(runs):
    yield Configuration(label, tuple(runs))
    return
  for steps in sorted({int(run.steps[-1]) for run in runs}):
    alike = tuple(run for run in runs if run.steps[-1] == steps)
    full = f"{label}, steps={steps}" if label else f"steps={steps}"
    _check_seeds(alike)
    yield Configuration(full, alike)


def _check_seeds(runs: Sequence[Trajectory]) -> None:
  by_seed: dict[int, Trajectory] = {}
  for run in runs:
    other = by_seed.setdefault(run.seed, run)
    if other is not run:
      raise errors.UserError(
        f"{other.name} and {run.name} are one arm's runs with the same"
        f" hyper-parameters and the same seed, {run.seed}: intervals would take"
        " one run for two; evaluate one of them, or give each an arm of its own"
      )


def _settings(run: records.Run) -> dict[str, str]:
  values = {
    key: str(value)
    for key, value in run.hyperparameters.items()
    if not _SEED.fullmatch(key) and not _FINGERPRINT.fullmatch(str(value))
  }
  return {"method": run.method} | values


def _label(settings: Iterable[tuple[str, str]]) -> str:
  return ", ".join(
    f"{'.'.join(key.split('.')[-2:])}={value}"
    for key, value in sorted(settings)
  )


def _trajectory(found: Sequence[records.RunRecord]) -> Trajectory:
  found = sorted(found, key=lambda record: record.checkpoint.step)
  shared = set.intersection(*(set(record.by_prompt) for record in found))
  shared = {name for name in shared if WIN in name}
  return Trajectory(
    name=found[0].run.name,
    seed=found[0].run.seed,
    steps=np.array([record.checkpoint.step for record in found]),
    kl_nats=_rows(found, KL),
    outcomes={name: _rows(found, name) for name in sorted(shared)},
  )


def _rows(
  found: Sequence[records.RunRecord], name: str
) -> Float[np.ndarray, "checkpoints prompts"]:
  return np.array([record.by_prompt[name] for record in found], np.float64)
