"""Groups records into the arms that a study compares."""

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
    name: the run's name.
    seed: the run's seed.
    steps: the step of each checkpoint.
    kl_nats: KL on each of the first prompts.
    outcomes: 1, 1/2 or 0 on each prompt, by metric; at least "win_rate". Only
      metrics that every checkpoint has.
  """

  name: str
  seed: int
  steps: Int[np.ndarray, "checkpoints"]
  kl_nats: Float[np.ndarray, "checkpoints kl_prompts"]
  outcomes: Mapping[str, Float[np.ndarray, "checkpoints prompts"]]

  def by_prompt(
    self, metric: str
  ) -> Float[np.ndarray, "checkpoints some_prompts"]:
    """Returns the values of "kl_nats" or of an outcome, by prompt."""
    return self.kl_nats if metric == KL else self.outcomes[metric]


@dataclasses.dataclass(frozen=True, eq=False)
class Configuration:
  """Runs that differ only in their seeds.

  Attributes:
    label: the hyper-parameters in which the arm's configurations differ, such
      as "loss.beta=0.1, learning_rate.peak=1e-05"; "" if there is only one.
    runs: the runs, in the order of their names.
  """

  label: str
  runs: tuple[Trajectory, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
  """All runs that a study compares as a unit.

  Attributes:
    name: its name in records, such as "online".
    configurations: in the order of their labels.
  """

  name: str
  configurations: tuple[Configuration, ...]

  @property
  def runs(self) -> tuple[Trajectory, ...]:
    """The runs of all configurations."""
    return tuple(run for c in self.configurations for run in c.runs)

  @property
  def seeds(self) -> tuple[int, ...]:
    """The seeds of its runs, in ascending order."""
    return tuple(sorted({run.seed for run in self.runs}))

  @property
  def num_checkpoints(self) -> int:
    """The number of checkpoints of all runs."""
    return sum(len(run.steps) for run in self.runs)

  @property
  def num_prompts(self) -> int:
    """The number of prompts behind its win rates."""
    return self.runs[0].outcomes[WIN].shape[1]

  def has(self, metric: str) -> bool:
    """Returns whether every checkpoint has outcomes of this name."""
    return all(metric in run.outcomes for run in self.runs)


def group(run_records: Iterable[records.RunRecord]) -> dict[str, Arm]:
  """Groups records by arm, configuration and run.

  Two runs of an arm belong to one configuration if their methods and
  hyper-parameters agree. Seeds and fingerprints of inputs may differ: a run on
  shuffled online data reads the pairs of the online run with its seed.

  Args:
    run_records: records of one task.

  Returns:
    The arms, by name.

  Raises:
    UserError: the records cannot be compared: they were measured against
      different judges, opponents or prompts, lack outcomes by prompt, or hold
      two runs of one configuration and seed.
  """
  by_arm: dict[str, list[records.RunRecord]] = {}
  for record in run_records:
    by_arm.setdefault(record.run.arm, []).append(record)
  _check([record for arm in by_arm.values() for record in arm])
  return {name: _arm(name, by_arm[name]) for name in sorted(by_arm)}


def size_of(arm: str) -> str:
  """Returns the policy size of an arm: "xl" of "online@xl", or ""."""
  return arm.partition("@")[2]


def _check(run_records: Sequence[records.RunRecord]) -> None:
  # Policies of each size have their own reference.
  for size in sorted({size_of(record.run.arm) for record in run_records}):
    alike = [r for r in run_records if size_of(r.run.arm) == size]
    _check_alike(alike, (WIN, KL), with_reference=True)
  _check_alike(run_records, (WIN,), with_reference=False)


def _check_alike(
  run_records: Sequence[records.RunRecord],
  counted: Sequence[str],
  *,
  with_reference: bool,
) -> None:
  examples: dict[tuple[str | int, ...], records.RunRecord] = {}
  for record in run_records:
    for name in (WIN, KL):
      if not record.by_prompt.get(name):
        raise errors.UserError(
          f"the record of {_describe(record)} has no {name} by prompt, which"
          " intervals need; evaluate it again"
        )
    measured = record.evaluation
    reference = measured.reference if with_reference else ""
    key = (
      measured.golden,
      reference,
      measured.golden_policy,
      measured.prompts,
    )
    examples.setdefault(
      (*key, *(len(record.by_prompt[n]) for n in counted)), record
    )
  if len(examples) > 1:
    first, second = list(examples.values())[:2]
    raise errors.UserError(
      f"{_describe(first)} and {_describe(second)} were measured against"
      " different judges, opponents or prompts; a report compares what one"
      " evaluation measured: evaluate all checkpoints alike, or give each its"
      " own folder"
    )


def _describe(record: records.RunRecord) -> str:
  return f"{record.run.name} step {record.checkpoint.step}"


def _arm(name: str, run_records: Sequence[records.RunRecord]) -> Arm:
  settings = {r.run.name: _settings(r.run) for r in run_records}
  all_settings = list(settings.values())
  varying = {
    key
    for key in set().union(*all_settings)
    if len({each.get(key) for each in all_settings}) > 1
  }
  runs: dict[str, list[Trajectory]] = {}
  for run in sorted(settings):
    label = _label((k, v) for k, v in settings[run].items() if k in varying)
    of_run = [record for record in run_records if record.run.name == run]
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
  """Separates long and short runs with the same seeds."""
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


def _settings(run: records.TrainingRun) -> dict[str, str]:
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


def _trajectory(run_records: Sequence[records.RunRecord]) -> Trajectory:
  run_records = sorted(run_records, key=lambda record: record.checkpoint.step)
  shared = set.intersection(*(set(record.by_prompt) for record in run_records))
  shared = {name for name in shared if WIN in name}
  return Trajectory(
    name=run_records[0].run.name,
    seed=run_records[0].run.seed,
    steps=np.array([record.checkpoint.step for record in run_records]),
    kl_nats=_rows(run_records, KL),
    outcomes={name: _rows(run_records, name) for name in sorted(shared)},
  )


def _rows(
  run_records: Sequence[records.RunRecord], name: str
) -> Float[np.ndarray, "checkpoints prompts"]:
  return np.array(
    [record.by_prompt[name] for record in run_records], np.float64
  )
