"""How many seeds, or prompts, would decide what an interval leaves open.

The squared standard error of a difference over n seeds and p prompts is

  sem^2 = v_p / p + v_s / n,

with both variances from the study's own bootstrap. Power is the probability
that a new study of another size decides, if the true difference is the
estimated one. That is a plan for the next study and no evidence about this one:
an estimate near a threshold asks for many seeds, and is itself uncertain.
"""

import bisect
import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.analysis.wording import count_seeds

POWER = 0.8
"""The power that a plan asks for, as is usual."""

MOST_SEEDS = 100
"""More seeds are no plan."""

MIN_SEEDS = 3
"""With fewer seeds, a difference cannot be distinguished from a seed's luck."""

_PROMPT_FACTORS = (1, 2, 4, 8, 16, 32, 64)
# Quantiles that stand for a distribution.
_VALUES = (np.arange(200) + 0.5) / 200
_WIDTHS = (np.arange(50) + 0.5) / 50

Decides = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From lower and upper ends of intervals to whether they decide."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """The size of a study that would decide.

  Attributes:
    num_seeds: seeds of every arm.
    num_prompts: prompts of every evaluation.
    more_prompts: whether these are more than now.
  """

  num_seeds: int
  num_prompts: int
  more_prompts: bool

  def __str__(self) -> str:
    prompts = f" and {self.num_prompts:,} prompts" if self.more_prompts else ""
    return f"{count_seeds(self.num_seeds)}{prompts}"


def plan(
  estimate: Estimate, decides: Decides, *, power: float = POWER
) -> Plan | None:
  """Returns the cheapest study that decides with the given power.

  A seed is taken to cost as much in training as in evaluation at the present
  number of prompts, as in the miniature studies.

  Args:
    estimate: the estimate that decides nothing.
    decides: the rule, for arrays of lower and upper ends.
    power: probability of a decision.

  Returns:
    The plan; None if `MOST_SEEDS` seeds and 64 times the prompts do not
    suffice, or if the variance over seeds is unknown because there is only one.
  """
  if estimate.num_seeds < 2 or not math.isfinite(estimate.sem):
    return None
  factors = _PROMPT_FACTORS if estimate.prompts_share > 0 else (1,)
  costs = {}
  for factor in factors:
    prompts = factor * estimate.num_prompts
    seeds = _fewest_seeds(estimate, decides, prompts, power)
    if seeds is not None:
      costs[Plan(seeds, prompts, factor > 1)] = seeds * (1 + factor)
  return min(costs, key=costs.__getitem__, default=None)


def _fewest_seeds(
  estimate: Estimate, decides: Decides, num_prompts: int, power: float
) -> int | None:
  """Returns the fewest seeds that decide; None if `MOST_SEEDS` do not."""
  if chance(estimate, decides, MOST_SEEDS, num_prompts) < power:
    return None
  # Power rises with the number of seeds: both variance and t fall.
  return bisect.bisect_left(
    range(MOST_SEEDS),
    power,
    lo=MIN_SEEDS,
    key=lambda seeds: chance(estimate, decides, seeds, num_prompts),
  )


def chance(
  estimate: Estimate, decides: Decides, num_seeds: int, num_prompts: int
) -> float:
  """Returns the probability that a study of another size decides.

  Args:
    estimate: the estimate of this study, taken as true.
    decides: the rule, for arrays of lower and upper ends.
    num_seeds: seeds of the other study, at least 2.
    num_prompts: prompts of the other study.
  """
  variance = estimate.sem**2
  by_prompts = estimate.prompts_share * variance
  by_seeds = (variance - by_prompts) * estimate.num_seeds / num_seeds
  by_prompts *= estimate.num_prompts / num_prompts
  whole = by_prompts + by_seeds
  if not whole:
    sure = np.array([estimate.value])
    return float(decides(sure, sure).mean())
  # Satterthwaite's degrees of freedom, as in `resampling`.
  freedom = whole**2 / (
    by_prompts**2 / (num_prompts - 1) + by_seeds**2 / (num_seeds - 1)
  )
  sem = math.sqrt(whole)
  # Both the value and the width of the other study's interval vary.
  values = estimate.value + sem * stats.norm.ppf(_VALUES)[:, None]
  widths = np.sqrt(stats.chi2.ppf(_WIDTHS, freedom) / freedom)
  t = float(stats.t.ppf(0.5 + estimate.confidence / 2, freedom))
  half = t * sem * widths
  return float(decides(values - half, values + half).mean())


def advice(estimate: Estimate, decides: Decides) -> str:
  """Returns what would decide, as text; "" if the seeds' variance is unknown.

  Args:
    estimate: the estimate that decides nothing.
    decides: the rule, for arrays of lower and upper ends.
  """
  if estimate.num_seeds < 2 or not math.isfinite(estimate.sem):
    return ""
  planned = plan(estimate, decides)
  if planned is None:
    return f"at this effect, more than {MOST_SEEDS} seeds would be needed"
  return f"at this effect, {planned} would decide ({POWER:.0%} power)"
