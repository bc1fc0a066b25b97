"""Two arms compared at the same KL, with the numbers of a claim."""

import dataclasses

from rlhf_gap.analysis import arm_names, arms, statistics, verdicts
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.analysis.wording import basis, signed

LEAST_KL_FACTOR = 1.5
"""A shorter range of KL decides no claim.

Neighbouring checkpoints are about a factor of 2 apart, so that two arms share
such a range by accident.
"""


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Two arms compared.

  Attributes:
    first: the arm whose win rate counts positive.
    second: the arm whose win rate counts negative.
    gap: the difference.
  """

  first: arms.Arm
  second: arms.Arm
  gap: statistics.MatchedGap

  @property
  def numbers(self) -> str:
    """Both arms, the gaps, the KL range, prompts and seeds, as text."""
    gap = self.gap
    return (
      f"{arm_names.title(self.first.name)} minus"
      f" {arm_names.title(self.second.name)} {signed(gap.mean)} over KL"
      f" {gap.low_kl_nats:.2g} to {gap.high_kl_nats:.2g} nats,"
      f" {signed(gap.at_peak)} at the peak ({basis(gap.mean)})"
    )

  def exceeds(self, *, num_parts: int = 1) -> tuple[Verdict, str]:
    """Decides whether the first arm is ahead; see `verdicts.exceeds`."""
    return self._too_narrow() or verdicts.exceeds(
      self.gap.mean, num_parts=num_parts
    )

  def is_harmless(self) -> tuple[Verdict, str]:
    """Decides whether the second arm loses little; see `verdicts.harmless`."""
    return self._too_narrow() or verdicts.harmless(self.gap.mean)

  def _too_narrow(self) -> tuple[Verdict, str] | None:
    low, high = self.gap.low_kl_nats, self.gap.high_kl_nats
    if high >= LEAST_KL_FACTOR * low:
      return None
    return Verdict.UNDERPOWERED, (
      f"the arms share only KLs of {low:.2g} to {high:.2g} nats, less than a"
      f" factor of {LEAST_KL_FACTOR:g}"
    )


def compare(
  evidence: Evidence,
  first: arms.Arm,
  second: arms.Arm,
  *,
  metric: str = arms.WIN,
) -> Comparison:
  """Compares two arms at matched KL.

  Args:
    evidence: one task's evidence.
    first: the arm whose win rate counts positive.
    second: the arm whose win rate counts negative.
    metric: which outcomes by prompt to compare.

  Raises:
    UndefinedError: the arms reach no common range of KL.
  """
  gap = statistics.matched_gap(first, second, evidence.settings, metric=metric)
  return Comparison(first, second, gap)
