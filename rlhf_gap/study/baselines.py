"""An arm's runs at the online runs' own hyper-parameters.

Several of the paper's figures show single runs of the default configuration
(Tang et al. 2024, Figs. 6 to 8), not the pooled sweep.
"""

import dataclasses
from collections.abc import Iterable

from rlhf_gap.records import RunRecord
from rlhf_gap.study import arms
from rlhf_gap.study.resampling import UndefinedError
from rlhf_gap.study.verdicts import Evidence

_COMPARED = ("objective", "optimizer", "batch_size")


def arm(evidence: Evidence, name: str, like: str = "online") -> arms.Arm:
  """Returns the runs of an arm that are trained as `like` is.

  Args:
    evidence: of one task, with its records.
    name: of the arm.
    like: the arm whose loss, optimizer, batch and steps they share.

  Raises:
    UndefinedError: there is no such arm, or none of its runs is.
  """
  wanted, found = evidence.arm(like), evidence.arm(name)
  settings = {_settings(r) for r in _of(evidence.records, wanted)}
  lengths = {int(run.steps[-1]) for run in wanted.runs}
  alike = {r.run.name for r in _of(evidence.records, found)} & {
    r.run.name for r in evidence.records if _settings(r) in settings
  }
  configurations = []
  for one in found.configurations:
    runs = tuple(
      run for run in one.runs if run.name in alike and _ends_like(run, lengths)
    )
    if runs:
      configurations.append(dataclasses.replace(one, runs=runs))
  if not configurations:
    raise UndefinedError(f"no run of {name} has the hyper-parameters of {like}")
  return arms.Arm(name, tuple(configurations[:1]))


def _ends_like(run: arms.Trajectory, lengths: set[int]) -> bool:
  """Not a longer run; one that stopped short is still of the configuration."""
  return int(run.steps[-1]) <= max(lengths) and int(run.steps[0]) < max(lengths)


def _of(found: Iterable[RunRecord], arm: arms.Arm) -> list[RunRecord]:
  return [record for record in found if record.run.arm == arm.name]


def _settings(record: RunRecord) -> tuple[tuple[str, str], ...]:
  return tuple(
    sorted(
      (key, str(value))
      for key, value in record.run.hyperparameters.items()
      if key.startswith(_COMPARED)
    )
  )


def last_metric(
  evidence: Evidence, of: arms.Arm, metric: str
) -> dict[int, tuple[float, int]]:
  """Returns a metric of each run's last checkpoint.

  Args:
    evidence: of one task, with its records.
    of: the runs, of one configuration.
    metric: such as "pair_accuracy_sum".

  Returns:
    By seed, the value and what it rests on.

  Raises:
    UndefinedError: the last checkpoint of a run was not so measured.
  """
  found = {}
  for run in of.runs:
    last = [
      record.metrics.get(metric)
      for record in evidence.records
      if record.run.name == run.name
      and record.checkpoint.step == int(run.steps[-1])
    ]
    if not last or last[0] is None:
      raise UndefinedError(f"{metric} of {of.name} was not measured")
    found[run.seed] = (last[0].value, last[0].n)
  return found
