"""One arm against another at the same KL, as a claim's numbers."""

import dataclasses

from rlhf_gap.study import arms, paper_arms, statistics
from rlhf_gap.study.verdicts import Evidence, basis, signed


@dataclasses.dataclass(frozen=True)
class Compared:
  """Two arms compared.

  Attributes:
    first: the arm that counts positive.
    second: the arm that counts negative.
    gap: by how much.
  """

  first: arms.Arm
  second: arms.Arm
  gap: statistics.MatchedGap

  @property
  def numbers(self) -> str:
    """As text: both arms, the gaps, the range of KL and the basis."""
    gap = self.gap
    return (
      f"{paper_arms.title(self.first.name)} less"
      f" {paper_arms.title(self.second.name)} {signed(gap.mean)} over KL"
      f" {gap.low_kl_nats:.2g} to {gap.high_kl_nats:.2g} nats,"
      f" {signed(gap.at_peak)} at the peak ({basis(gap.mean)})"
    )


def compare(
  evidence: Evidence,
  first: arms.Arm,
  second: arms.Arm,
  *,
  metric: str = arms.WIN,
) -> Compared:
  """Compares two arms at matched KL.

  Args:
    evidence: of one task.
    first: counts positive.
    second: counts negative.
    metric: of the outcomes by prompt.

  Raises:
    UndefinedError: the arms reach no common range of KL.
  """
  gap = statistics.matched_gap(first, second, evidence.settings, metric=metric)
  return Compared(first, second, gap)
