"""An arm's runs with the hyper-parameters of the online runs.

Several of the paper's figures show single runs of the default configuration
(Tang et al. 2024, Figs. 6 to 8) rather than the pooled sweep.
"""

from collections.abc import Iterable

from rlhf_gap.analysis import arms
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.records import Measurement, RunRecord

_COMPARED = ("objective", "optimizer", "batch_size")


def arm(evidence: Evidence, name: str, like: str = "online") -> arms.Arm:
  """Returns the runs of an arm that are trained as another arm is.

  Args:
    evidence: one task's evidence, with its records.
    name: the arm.
    like: the arm whose loss, optimizer, batch size and steps they share.

  Raises:
    UndefinedError: there is no such arm, or it has no such run.
  """
  model, candidate = evidence.arm(like), evidence.arm(name)
  settings = {settings_of(r) for r in _records_of(evidence.records, model)}
  length = steps_of(evidence, like)
  alike = {r.run.name for r in _records_of(evidence.records, candidate)} & {
    r.run.name for r in evidence.records if settings_of(r) in settings
  }
  # The run of each seed that got farthest: a run that stopped short may form a
  # configuration beside that of a longer run.
  by_seed: dict[int, arms.Trajectory] = {}
  for run in sorted(candidate.runs, key=lambda run: int(run.steps[-1])):
    if run.name in alike and _ends_like(run, length):
      by_seed[run.seed] = run
  if not by_seed:
    raise UndefinedError(f"no run of {name} has the hyper-parameters of {like}")
  runs = tuple(by_seed[seed] for seed in sorted(by_seed))
  return arms.Arm(name, (arms.Configuration("", runs),))


def steps_of(evidence: Evidence, name: str = "online") -> int:
  """Returns the last step of an arm's longest run.

  Args:
    evidence: one task's evidence.
    name: the arm.
  """
  return max(int(run.steps[-1]) for run in evidence.arm(name).runs)


def _ends_like(run: arms.Trajectory, length: int) -> bool:
  """Excludes longer runs; a run that stopped short still belongs."""
  return int(run.steps[-1]) <= length and int(run.steps[0]) < length


def _records_of(records: Iterable[RunRecord], arm: arms.Arm) -> list[RunRecord]:
  return [record for record in records if record.run.arm == arm.name]


def settings_of(
  record: RunRecord, kinds: tuple[str, ...] = _COMPARED
) -> tuple[tuple[str, str], ...]:
  """Returns hyper-parameters in a form that can be compared.

  Args:
    record: a record of the run.
    kinds: prefixes of the hyper-parameters' names.
  """
  return tuple(
    sorted(
      (key, str(value))
      for key, value in record.run.hyperparameters.items()
      if key.startswith(kinds)
    )
  )


def last_metric(
  evidence: Evidence, arm: arms.Arm, metric: str
) -> dict[int, Measurement]:
  """Returns a metric at the end of training.

  Args:
    evidence: one task's evidence, with its records.
    arm: runs of one configuration; see `arm`.
    metric: the metric's name, such as "pair_accuracy_sum".

  Returns:
    The measurements, by seed.

  Raises:
    UndefinedError: a run's last checkpoint was not evaluated, or lacks the
      metric.
  """
  by_seed = {}
  length = steps_of(evidence)
  for run in arm.runs:
    if int(run.steps[-1]) < length:
      raise UndefinedError(
        f"{run.name} was evaluated up to step {run.steps[-1]} of {length}"
      )
    last = [
      record.metrics.get(metric)
      for record in evidence.records
      if record.run.name == run.name
      and record.checkpoint.step == int(run.steps[-1])
    ]
    if not last or last[0] is None:
      raise UndefinedError(f"{metric} of {arm.name} was not measured")
    by_seed[run.seed] = last[0]
  return by_seed


def metric_by_step(
  evidence: Evidence, arm: arms.Arm, metric: str
) -> dict[int, dict[int, Measurement]]:
  """Returns a metric over training.

  Args:
    evidence: one task's evidence, with its records.
    arm: the runs.
    metric: the metric's name in records.

  Returns:
    The measurements, by seed and step.
  """
  seeds = {run.name: run.seed for run in arm.runs}
  by_seed: dict[int, dict[int, Measurement]] = {}
  for record in evidence.records:
    measured = record.metrics.get(metric)
    if measured is not None and record.run.name in seeds:
      by_step = by_seed.setdefault(seeds[record.run.name], {})
      by_step[record.checkpoint.step] = measured
  return by_seed
