"""Reads a study's folder: each task with its evidence and its answers."""

import dataclasses
import os
from collections.abc import Iterator

from rlhf_gap import errors, records
from rlhf_gap.analysis import arms, statistics, summary
from rlhf_gap.analysis.claims import AnsweredClaim, answer_all
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.paper import registry


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredTask:
  """One task of a study, as measured.

  Attributes:
    described: the task as `study.json` describes it.
    evidence: its records.
  """

  described: summary.TaskSummary
  evidence: Evidence

  @property
  def main_evidence(self) -> Evidence:
    """The evidence without arms that belong to one figure alone."""
    whole = self.evidence
    return dataclasses.replace(
      whole,
      arms={n: a for n, a in whole.arms.items() if not registry.is_ablation(n)},
      planned=tuple(n for n in whole.planned if not registry.is_ablation(n)),
    )

  @property
  def planned(self) -> frozenset[str]:
    """What the study was to run; see `registry.asked_claims`."""
    extra = {"online_data"} if self.described.online_data else set()
    return frozenset({*self.evidence.arms, *self.described.arms, *extra})

  def answers(self) -> list[AnsweredClaim]:
    """Answers every claim that the study is to answer."""
    answered = []
    for claim in registry.asked_claims(self.planned):
      evidence = self.evidence if claim.requires_any else self.main_evidence
      answered += answer_all(evidence, (claim,))
    return answered


def load(
  workdir: str,
  study: summary.Summary | None,
  settings: statistics.BootstrapSettings,
) -> Iterator[MeasuredTask]:
  """Reads the records of every task.

  Args:
    workdir: the study's folder.
    study: its summary; without one, the folder holds the records of one task.
    settings: settings of the bootstraps.

  Yields:
    The tasks.

  Raises:
    UserError: there is nothing to report on, a file is damaged, or records
      cannot be compared.
  """
  if not os.path.isdir(workdir):
    raise errors.UserError(f"{workdir}: no such folder")
  for task in study.tasks if study else (summary.TaskSummary(""),):
    task_records = tuple(records.read(os.path.join(workdir, task.records)))
    if not task_records and study is None:
      raise errors.UserError(
        f"{workdir}: neither {summary.FILE_NAME} nor records in"
        f" {task.records}; expected the folder of `rlhf-gap study`, or the"
        " --output of `rlhf-gap evaluate`"
      )
    online_data: tuple[records.RunRecord, ...] = ()
    if task.online_data:
      path = os.path.join(workdir, task.online_data)
      online_data = tuple(records.read(path))
    evidence = Evidence(
      task.name,
      arms.group(task_records),
      task_records,
      {judge.name: judge for judge in task.judges},
      settings,
      online_data,
      task.sizes,
      task.arms,
    )
    yield MeasuredTask(task, evidence)
