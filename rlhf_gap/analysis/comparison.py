"""One arm against another at the same KL, as a claim's numbers."""

import dataclasses

from rlhf_gap.analysis import arm_names, arms, statistics, verdicts
from rlhf_gap.analysis.verdicts import Evidence, Verdict, basis, signed

LEAST_KL_FACTOR = 1.5
"""Over a shorter range of KL a claim is not decided.

Neighbouring checkpoints lie about a factor of 2 apart: such a range is what two
of them happen to share.
"""


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
      f"{arm_names.title(self.first.name)} less"
      f" {arm_names.title(self.second.name)} {signed(gap.mean)} over KL"
      f" {gap.low_kl_nats:.2g} to {gap.high_kl_nats:.2g} nats,"
      f" {signed(gap.at_peak)} at the peak ({basis(gap.mean)})"
    )

  def exceeds(self, *, parts: int = 1) -> tuple[Verdict, str]:
    """Decides whether the first is ahead: see `verdicts.exceeds`."""
    return self._narrow() or verdicts.exceeds(self.gap.mean, parts=parts)

  def is_harmless(self) -> tuple[Verdict, str]:
    """Decides whether the second loses little: see `verdicts.harmless`."""
    return self._narrow() or verdicts.harmless(self.gap.mean)

  def _narrow(self) -> tuple[Verdict, str] | None:
    low, high = self.gap.low_kl_nats, self.gap.high_kl_nats
    if high >= LEAST_KL_FACTOR * low:
      return None
    return Verdict.UNDERPOWERED, (
      f"KLs of {low:.2g} to {high:.2g} nats alone are shared, a factor of less"
      f" than {LEAST_KL_FACTOR:g}"
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
