"""How an interval decides a claim."""

import enum
from collections.abc import Sequence

import numpy as np

from rlhf_gap.analysis import power
from rlhf_gap.analysis.power import MIN_SEEDS
from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.analysis.wording import count_seeds
from rlhf_gap.records import Measurement

SMALLEST_EFFECT = 0.02
"""The smallest difference of win rates that would matter.

At the paper's 2,048 prompts it is two standard errors of one win rate, the
smallest difference that its figures could show.
"""


class Verdict(enum.StrEnum):
  """What records say about a claim."""

  SUPPORTED = "supported"
  CONTRADICTED = "contradicted"
  UNDERPOWERED = "underpowered"
  MOOT = "moot"
  """Its premise does not hold here, such as that there is a gap to close."""


def exceeds(
  estimate: Estimate, *, at_least: float = SMALLEST_EFFECT, num_parts: int = 1
) -> tuple[Verdict, str]:
  """Decides whether a difference is positive.

  Args:
    estimate: the difference.
    at_least: the smallest difference that would matter.
    num_parts: how many differences must all be positive for the statement to
      hold. One of many is more easily wrong by chance, so each contradicts the
      statement only at 1 - 5% / num_parts (Bonferroni).

  Returns:
    Contradicted if the interval lies below `at_least`, even if it lies above
    0: such a difference is too small to matter. Supported if it lies above 0;
    otherwise, or with fewer than three seeds, underpowered, with the reason.
  """
  if estimate.num_seeds < MIN_SEEDS:
    return Verdict.UNDERPOWERED, few_seeds(estimate.num_seeds)
  if _interval(estimate, num_parts)[1] < at_least:
    small = f"positive, but smaller than {at_least:g}"
    return Verdict.CONTRADICTED, small if estimate.ci95_low > 0 else ""
  if estimate.ci95_low > 0:
    return Verdict.SUPPORTED, ""
  reason = "the interval holds 0"
  if at_least:
    reason = (
      f"the interval holds both 0 and {at_least:g}, the smallest difference"
      " that would matter"
    )

  def decides(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low > 0) | (high < at_least)

  return Verdict.UNDERPOWERED, _with_advice(reason, estimate, decides)


def _with_advice(
  reason: str, estimate: Estimate | Measurement, decides: power.Decides
) -> str:
  """Adds to a reason how many seeds would decide."""
  if isinstance(estimate, Measurement):
    return reason
  advice = power.advice(estimate, decides)
  return f"{reason}: {advice}" if advice else reason


def few_seeds(count: int) -> str:
  """Returns the reason why this many seeds decide nothing."""
  return (
    f"{count_seeds(count)}; {MIN_SEEDS} are needed to tell luck from a"
    " difference"
  )


def _interval(
  estimate: Estimate | Measurement, num_parts: int
) -> tuple[float, float]:
  if num_parts == 1 or isinstance(estimate, Measurement):
    return estimate.ci95_low, estimate.ci95_high
  return estimate.interval(1 - (1 - estimate.confidence) / num_parts)


def harmless(
  estimate: Estimate, *, at_most: float = SMALLEST_EFFECT
) -> tuple[Verdict, str]:
  """Decides whether a loss is too small to matter.

  Args:
    estimate: the loss, positive if something is lost.
    at_most: the smallest loss that would matter.

  Returns:
    Supported if the interval lies below `at_most`, contradicted if it lies
    above; otherwise, or with fewer than three seeds, underpowered, with the
    reason.
  """
  if estimate.num_seeds < MIN_SEEDS:
    return exceeds(estimate)
  if estimate.ci95_high < at_most:
    return Verdict.SUPPORTED, ""
  if estimate.ci95_low >= at_most:
    return Verdict.CONTRADICTED, ""

  def decides(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (high < at_most) | (low >= at_most)

  reason = (
    f"the interval holds {at_most:g}, the smallest loss that would matter"
  )
  return Verdict.UNDERPOWERED, _with_advice(reason, estimate, decides)


def all_of(answers: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
  """Decides a statement that holds if all of its parts hold.

  Args:
    answers: verdict and reason of each part.

  Returns:
    Contradicted if any part is, supported if all are, otherwise underpowered,
    with the reasons.
  """
  verdicts = {verdict for verdict, _ in answers}
  if Verdict.CONTRADICTED in verdicts:
    return Verdict.CONTRADICTED, ""
  if Verdict.MOOT in verdicts:
    return Verdict.MOOT, "; ".join(r for v, r in answers if v is Verdict.MOOT)
  if verdicts == {Verdict.SUPPORTED}:
    return Verdict.SUPPORTED, ""
  reasons = dict.fromkeys(reason for _, reason in answers if reason)
  return Verdict.UNDERPOWERED, "; ".join(reasons)


def within(
  estimate: Measurement | Estimate,
  low: float,
  high: float,
  *,
  num_parts: int = 1,
) -> tuple[Verdict, str]:
  """Decides whether a number lies in a range.

  Args:
    estimate: the number.
    low: the range's lower end.
    high: its upper end.
    num_parts: how many numbers must all lie in their ranges; see `exceeds`.

  Returns:
    Supported if the interval lies inside; contradicted if it lies outside;
    otherwise, or with fewer than three seeds, underpowered, with the reason.
  """
  if isinstance(estimate, Estimate) and estimate.num_seeds < MIN_SEEDS:
    return Verdict.UNDERPOWERED, few_seeds(estimate.num_seeds)
  if low <= estimate.ci95_low and estimate.ci95_high <= high:
    return Verdict.SUPPORTED, ""
  lower, upper = _interval(estimate, num_parts)
  if upper < low or high < lower:
    return Verdict.CONTRADICTED, ""

  def decides(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    return ((low <= lower) & (upper <= high)) | (upper < low) | (high < lower)

  reason = "the interval reaches over an end of the range"
  return Verdict.UNDERPOWERED, _with_advice(reason, estimate, decides)
