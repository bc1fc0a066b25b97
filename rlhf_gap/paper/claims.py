"""Every claim that a report answers. To add one, add it here."""

import dataclasses
from collections.abc import Collection

from rlhf_gap.analysis.verdicts import Answer, Claim, Evidence
from rlhf_gap.paper import (
  claims_data,
  claims_policies,
  fig_01_04,
  fig_10_11_14,
  setting,
)

MAIN = fig_01_04.CLAIMS[0]
"""The claim whose answer is the study's answer."""

ALL: tuple[Claim, ...] = (
  *fig_01_04.CLAIMS,
  *claims_data.CLAIMS,
  *claims_policies.CLAIMS,
  *fig_10_11_14.CLAIMS,
  *setting.CLAIMS,
)
"""In the order of the report."""


def asked(arms: Collection[str]) -> tuple[Claim, ...]:
  """Returns the claims that a study of these arms is to answer.

  Args:
    arms: names of arms, run or only planned; "sizes", "shuffled", "stale" and
      "online_data" stand for further sizes of the policy, replays in blocks,
      online runs on old pairs, and the classification of online data.
  """
  return tuple(claim for claim in ALL if claim.is_asked(arms))


@dataclasses.dataclass(frozen=True)
class Answered:
  """A claim with its answer on one task."""

  claim: Claim
  task: str
  answer: Answer

  @property
  def line(self) -> str:
    """One line for a terminal."""
    task = f"{self.task}: " if self.task else ""
    return f"{task}{self.claim.name}: {self.answer}"


def answer_all(
  evidence: Evidence, claims: tuple[Claim, ...] = ALL
) -> list[Answered]:
  """Answers claims from one task's records.

  Args:
    evidence: the task.
    claims: which to answer.

  Returns:
    One answer a claim, in order.
  """
  return [
    Answered(claim, evidence.task, claim.answer(evidence)) for claim in claims
  ]
