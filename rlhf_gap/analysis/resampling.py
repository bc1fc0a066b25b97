"""A bootstrap over prompts and seeds, and the intervals that it gives.

Prompts and seeds are crossed: every run answers the same prompts. Every
replicate resamples both, independently of each other (the pigeonhole bootstrap
of Owen 2007, whose intervals are slightly too wide). Of n seeds, n - 1 are
resampled, which makes the variance unbiased (Rao and Wu 1988). Resampling n
would lose a third of it with three seeds. The interval is

  value +- t * sem,  t the 97.5% point of Student's t,

with Satterthwaite's degrees of freedom: close to n - 1 seeds if seeds dominate
the variance, close to the number of prompts if they do not.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

# If more replicates than this share are undefined, there is no interval.
_MOST_UNDEFINED = 0.05


class UndefinedError(ValueError):
  """The data do not determine a number; the message says why."""


@dataclasses.dataclass(frozen=True)
class Design:
  """What to resample, how often, and with which random seed.

  Attributes:
    num_prompts: prompts that every checkpoint answered.
    num_seeds: seeds of the arm with the fewest.
    replicates: number of replicates.
    seed: random seed of the bootstrap.
    confidence: confidence of the intervals.

  Raises:
    ValueError: a number is too small for a bootstrap.
  """

  num_prompts: int
  num_seeds: int
  replicates: int = 1000
  seed: int = 0
  confidence: float = 0.95

  def __post_init__(self) -> None:
    if self.num_prompts < 2 or self.num_seeds < 1 or self.replicates < 2:
      raise ValueError(f"no bootstrap can be made with {self}")


PromptSubset = Literal["all", "even", "odd"]
PROMPT_SUBSETS: Mapping[PromptSubset, slice] = {
  "all": slice(None),
  "even": slice(0, None, 2),
  "odd": slice(1, None, 2),
}
"""All prompts, and either half by position."""


@dataclasses.dataclass(frozen=True, eq=False)
class PromptCounts:
  """How often each prompt was resampled.

  Attributes:
    counts: one row per replicate; the first row is the original data.
  """

  counts: Float[np.ndarray, "rows prompts"]

  def mean(
    self,
    values: Float[np.ndarray, "points first_prompts"],
    subset: PromptSubset = "all",
  ) -> Float[np.ndarray, "rows points"]:
    """Returns means over the resampled prompts.

    Args:
      values: values of all prompts, or of the first few.
      subset: which prompts to use.
    """
    values = values[:, PROMPT_SUBSETS[subset]]
    counts = self._counts_by_subset[subset][:, : values.shape[1]]
    return counts @ values.T / counts.sum(axis=1, keepdims=True)

  @functools.cached_property
  def _counts_by_subset(self) -> dict[PromptSubset, np.ndarray]:
    # Contiguous copies, since they are multiplied many times.
    return {
      subset: np.ascontiguousarray(self.counts[:, prompts])
      for subset, prompts in PROMPT_SUBSETS.items()
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Resamples:
  """How much each prompt and seed counts in each replicate.

  Attributes:
    prompts: the resampled prompts.
    seed: random seed for resampling seeds.
    fixed_seeds: whether every seed counts once in every replicate.
  """

  prompts: PromptCounts
  seed: int
  fixed_seeds: bool = False

  @property
  def num_rows(self) -> int:
    """The replicates, and one row for the original data."""
    return len(self.prompts.counts)

  def seed_counts(
    self, seeds: tuple[int, ...]
  ) -> Float[np.ndarray, "rows num_seeds"]:
    """Returns how often each seed was resampled.

    Arms with the same seeds get the same counts, so that runs with the same
    seed are compared with each other.

    Args:
      seeds: distinct seeds.
    """
    rows, count = self.num_rows, len(seeds)
    counts = np.ones((rows, count))
    if count > 1 and not self.fixed_seeds:
      random = np.random.default_rng([self.seed, 1, *seeds])
      counts[1:] = random.multinomial(
        count - 1, np.full(count, 1 / count), size=rows - 1
      )
    return counts


def resample(design: Design) -> Resamples:
  """Resamples prompts; seeds are resampled on request.

  Args:
    design: what to resample. Designs that differ only in their seeds get the
      same prompts.

  Returns:
    The resamples; equal designs give equal resamples.
  """
  prompts = _prompts(design.num_prompts, design.replicates, design.seed)
  return Resamples(prompts, design.seed)


@functools.lru_cache(maxsize=4)
def _prompts(num_prompts: int, replicates: int, seed: int) -> PromptCounts:
  random = np.random.default_rng([seed, 0])
  counts = np.ones((replicates + 1, num_prompts))
  counts[1:] = random.multinomial(
    num_prompts, np.full(num_prompts, 1 / num_prompts), size=replicates
  )
  return PromptCounts(counts)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number with its interval, prompts and seeds.

  Attributes:
    value: the number for the original data.
    sem: its standard error over prompts and seeds.
    ci95_low: lower end of its 95% interval. If a study is looked at repeatedly,
      the interval of one look is wider, and all looks together have 95%.
    ci95_high: upper end.
    num_prompts: prompts behind it.
    num_seeds: seeds behind it; with one, the interval covers only prompts.
    degrees_of_freedom: degrees of freedom of the interval.
    prompts_share: the share of the squared standard error that is due to
      prompts; the rest is due to seeds.
    confidence: confidence of the interval; at least 0.95.
  """

  value: float
  sem: float
  ci95_low: float
  ci95_high: float
  num_prompts: int
  num_seeds: int
  degrees_of_freedom: float
  prompts_share: float = 0.0
  confidence: float = 0.95

  def interval(self, confidence: float) -> tuple[float, float]:
    """Returns the interval at another confidence level, such as 0.99."""
    t = float(stats.t.ppf(0.5 + confidence / 2, self.degrees_of_freedom))
    return self.value - t * self.sem, self.value + t * self.sem


Statistic = Callable[[Resamples], np.ndarray]
"""Maps resamples to values, one row per replicate; NaN if undefined."""


@dataclasses.dataclass(frozen=True, eq=False)
class Spread:
  """Values of any shape with their intervals, and their replicates."""

  value: Float[np.ndarray, "*shape"]
  sem: Float[np.ndarray, "*shape"]
  low: Float[np.ndarray, "*shape"]
  high: Float[np.ndarray, "*shape"]
  degrees_of_freedom: Float[np.ndarray, "*shape"]
  prompts_share: Float[np.ndarray, "*shape"]
  replicates: Float[np.ndarray, "replicates *shape"]


def spread(statistic: Statistic, design: Design) -> Spread:
  """Returns a statistic with pointwise 95% intervals.

  Args:
    statistic: maps all rows of resamples at once to [rows, values...].
    design: what to resample.

  Returns:
    The values; NaN if a value is undefined for the data, or for more than 5% of
    the replicates.
  """
  resamples = resample(design)
  values = statistic(resamples)
  variance = _variance(values[1:])
  by_prompts = variance
  if design.num_seeds > 1:
    fixed = dataclasses.replace(resamples, fixed_seeds=True)
    by_prompts = np.minimum(_variance(statistic(fixed)[1:]), variance)
  freedom = _satterthwaite(by_prompts, variance - by_prompts, design)
  sem = np.sqrt(variance)
  half = stats.t.ppf(0.5 + design.confidence / 2, freedom) * sem
  value = np.where(np.isnan(half), np.nan, values[0])
  share = np.divide(
    by_prompts, variance, out=np.zeros_like(variance), where=variance > 0
  )
  return Spread(
    value, sem, value - half, value + half, freedom, share, values[1:]
  )


def simultaneous_high(
  band: Spread, confidence: float = 0.95
) -> Float[np.ndarray, "*shape"]:
  """Returns the upper ends of a simultaneous band.

  The critical value is the quantile over replicates of the largest deviation in
  standard errors at any point (sup-t), widened like Student's t against the
  normal distribution, since a bootstrap of few seeds understates its tails.

  Args:
    band: pointwise values and replicates.
    confidence: that of the whole band.
  """
  center = np.nanmean(band.replicates, axis=0)
  sem = np.where(band.sem > 0, band.sem, np.nan)
  deviations = np.abs(band.replicates - center) / sem
  largest = np.nanmax(
    np.where(np.isnan(deviations), 0.0, deviations).reshape(
      len(band.replicates), -1
    ),
    axis=1,
  )
  quantile = float(np.quantile(largest, confidence))
  half = 0.5 + confidence / 2
  widening = stats.t.ppf(half, band.degrees_of_freedom) / stats.norm.ppf(half)
  return band.value + quantile * widening * band.sem


def _variance(replicates: np.ndarray) -> np.ndarray:
  undefined = np.isnan(replicates)
  count = (~undefined).sum(axis=0)
  filled = np.where(undefined, 0.0, replicates)
  middle = filled.sum(axis=0) / np.maximum(count, 1)
  squares = np.where(undefined, 0.0, (replicates - middle) ** 2)
  variance = squares.sum(axis=0) / np.maximum(count - 1, 1)
  too_few = undefined.mean(axis=0) > _MOST_UNDEFINED
  return np.where(too_few | (count < 2), np.nan, variance)


def _satterthwaite(
  by_prompts: np.ndarray, by_seeds: np.ndarray, design: Design
) -> np.ndarray:
  """Returns (v_p + v_s)^2 / (v_p^2 / (n_p - 1) + v_s^2 / (n_s - 1))."""
  most = float(design.num_prompts - 1)
  whole = by_prompts + by_seeds
  shares = by_prompts**2 / most + by_seeds**2 / max(design.num_seeds - 1, 1)
  return np.divide(
    whole**2, shares, out=np.full_like(whole, most), where=shares > 0
  )


def estimate(statistic: Statistic, design: Design) -> Estimate:
  """Returns one number with its interval.

  Args:
    statistic: gives [rows].
    design: what to resample.

  Returns:
    The estimate.

  Raises:
    UndefinedError: the number is undefined for the data, or for more than 5% of
      the replicates.
  """
  band = spread(lambda resamples: statistic(resamples)[:, None], design)
  value, sem, low, high, freedom, share = (
    float(subset[0])
    for subset in (
      band.value,
      band.sem,
      band.low,
      band.high,
      band.degrees_of_freedom,
      band.prompts_share,
    )
  )
  if not math.isfinite(value):
    raise UndefinedError("the data leave it undefined")
  return Estimate(
    value=value,
    sem=sem,
    ci95_low=low,
    ci95_high=high,
    num_prompts=design.num_prompts,
    num_seeds=design.num_seeds,
    degrees_of_freedom=freedom,
    prompts_share=share,
    confidence=design.confidence,
  )


@dataclasses.dataclass(frozen=True)
class Percentiles:
  """A value with the middle 95% of its replicates.

  For numbers without a standard error, such as the position of a maximum. An
  end may be infinite.
  """

  value: float
  low: float
  high: float


def percentiles(values: Float[np.ndarray, "rows"]) -> Percentiles:
  """Returns the first value with the 2.5% and 97.5% points of the others.

  Args:
    values: values of all rows; infinite values count, NaN do not.

  Raises:
    UndefinedError: the first is NaN, or more than 5% of the others are.
  """
  replicates = values[1:][~np.isnan(values[1:])]
  if math.isnan(values[0]) or len(replicates) < (1 - _MOST_UNDEFINED) * (
    len(values) - 1
  ):
    raise UndefinedError("the data leave it undefined")
  # Not interpolated: between a number and infinity there is nothing.
  low, high = np.quantile(replicates, (0.025, 0.975), method="inverted_cdf")
  return Percentiles(float(values[0]), float(low), float(high))
