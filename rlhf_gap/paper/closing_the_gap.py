"""Do shuffled online data close the gap? The part of it that they close."""

from rlhf_gap.analysis import arms, closing
from rlhf_gap.analysis.claims import Answer
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.verdicts import Verdict, exceeds
from rlhf_gap.analysis.wording import basis, signed


def shuffled_data_at_matched_kl(evidence: Evidence) -> Answer:
  """Decides whether shuffled online data close less than half at equal KL."""
  measured = closing.at_matched_kl(*_arms(evidence), evidence.settings)
  return _closes_less_than_half(measured, "at the same KL")


def shuffled_data_at_the_peaks(evidence: Evidence) -> Answer:
  """Decides whether they close less than half between the highest win rates."""
  measured = closing.at_the_peaks(*_arms(evidence), evidence.settings)
  return _closes_less_than_half(measured, "at the peak")


def _arms(evidence: Evidence) -> tuple[arms.Arm, arms.Arm, arms.Arm]:
  return evidence.arm("online"), evidence.arm("offline"), evidence.arm("tandem")


def _closes_less_than_half(measured: closing.Closing, where: str) -> Answer:
  gap = f"the gap {where} is {signed(measured.gap)} ({basis(measured.gap)})"
  stands, reason = exceeds(measured.gap)
  if stands is not Verdict.SUPPORTED:
    because = f": {reason}" if reason else ""
    return Answer(Verdict.MOOT, gap, f"no gap to close is established{because}")
  share, excess = measured.share, measured.beyond_half
  numbers = (
    f"{gap}; shuffled data close {share.value:.0%} of it"
    f" [{share.low:.0%}, {share.high:.0%}]; closed minus half of"
    f" the gap: {signed(excess)}"
  )
  if excess.ci95_high < 0:
    return Answer(Verdict.SUPPORTED, numbers)
  if excess.ci95_low > 0:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(Verdict.UNDERPOWERED, numbers, "the interval holds one half")
