"""A study's folder, loaded: each task with its evidence and its answers."""

import dataclasses
import os
from collections.abc import Iterator

from rlhf_gap import errors, records
from rlhf_gap.analysis import arm_names, arms, statistics, summary
from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.paper import claims, staleness
from rlhf_gap.paper.claims import Answered


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """One task.

  Attributes:
    told: what the study says of it.
    evidence: its records.
  """

  told: summary.Task
  evidence: Evidence

  @property
  def main(self) -> Evidence:
    """The evidence without the arms that single figures own."""
    of = self.evidence
    planned = tuple(n for n in of.planned if not arm_names.is_ablation(n))
    main = arm_names.main(of.arms)
    return dataclasses.replace(of, arms=main, planned=planned)

  @property
  def asked(self) -> frozenset[str]:
    """What the study was to run: see `claims.asked`."""
    named = {*self.evidence.arms, *self.told.arms}
    kinds = {
      "sizes": any(map(arms.size_of, named)),
      "shuffled": any(name.startswith("shuffle_") for name in named),
      "stale": any(map(staleness.is_stale, named)),
      "online_data": bool(self.told.online_data),
    }
    return frozenset(named | {kind for kind, any_is in kinds.items() if any_is})

  def answers(self) -> list[Answered]:
    """Answers every claim that the study is to answer."""
    found = []
    for claim in claims.asked(self.asked):
      evidence = self.evidence if claim.about else self.main
      found += claims.answer_all(evidence, (claim,))
    return found


def load(
  workdir: str, told: summary.Summary | None, settings: statistics.Settings
) -> Iterator[Task]:
  """Reads the records of every task.

  Args:
    workdir: the study's folder.
    told: its summary; without one the folder holds one task's records.
    settings: of the bootstraps.

  Yields:
    The tasks.

  Raises:
    UserError: there is nothing to report on, a file is damaged, or records
      cannot be compared.
  """
  if not os.path.isdir(workdir):
    raise errors.UserError(f"{workdir}: no such folder")
  for task in told.tasks if told else (summary.Task(""),):
    path = os.path.join(workdir, task.records)
    found = tuple(records.read(path))
    if not found and told is None:
      raise errors.UserError(
        f"{workdir}: neither {summary.FILE_NAME} nor records in"
        f" {task.records}; expected the folder of `rlhf-gap study`, or the"
        " --output of `rlhf-gap evaluate`"
      )
    judges = {judge.name: judge for judge in task.judges}
    online_data: tuple[records.RunRecord, ...] = ()
    if task.online_data:
      path = os.path.join(workdir, task.online_data)
      online_data = tuple(records.read(path))
    evidence = Evidence(
      task.name,
      arms.group(found),
      found,
      judges,
      settings,
      online_data,
      task.sizes,
      task.arms,
    )
    yield Task(task, evidence)
