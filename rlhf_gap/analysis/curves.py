"""Win rate as a function of KL: a run's curve, an arm's frontier.

Between two checkpoints a run is joined linearly in log KL, the axis on which
the paper resamples (Tang et al. 2024, Fig. 1): a decade of KL counts the same
wherever it lies, and the win rates of neighbouring checkpoints, which follow
each other by a factor in KL rather than by a difference, are nearly straight
there. `coordinate="sqrt"` takes Gao's d = sqrt(KL) instead, as a check.

An arm with several hyper-parameters is represented by its frontier: at each KL
the configuration with the highest win rate. A maximum over noisy numbers is too
high on average, the more the larger the sweep, and prompts as well as runs are
noisy. So what is chosen on every other prompt and all seeds but one is valued
on the other prompts and that seed, and so on in turn (cross-fitting). Where
there is one seed alone, prompts take turns, and the luck of its runs remains.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from rlhf_gap.analysis import arms, resampling

Coordinate = Literal["log", "sqrt"]
GRID_POINTS = 33
LEAST_KL_NATS = 1e-3
"""A checkpoint nearer to the reference is on no logarithmic axis."""


def coordinate_of(
  kl_nats: Float[np.ndarray, "*shape"], coordinate: Coordinate
) -> Float[np.ndarray, "*shape"]:
  """Returns log KL or sqrt(KL)."""
  return np.log(kl_nats) if coordinate == "log" else np.sqrt(kl_nats)


def kl_of(
  x: Float[np.ndarray, "*shape"], coordinate: Coordinate
) -> Float[np.ndarray, "*shape"]:
  """Returns the KL in nats at a coordinate."""
  return np.exp(x) if coordinate == "log" else x**2


def mean(
  run: arms.Trajectory,
  metric: str,
  resamples: resampling.Resamples,
  subset: resampling.PromptSubset = "all",
) -> Float[np.ndarray, "rows checkpoints"]:
  """Returns a metric's means over the prompts drawn.

  Args:
    run: the run.
    metric: "kl_nats" or one of its outcomes.
    resamples: how often each prompt was drawn.
    subset: which prompts count.
  """
  return _mean(run, metric, resamples.prompts, subset)


# Several statistics ask for the same means, each twice: with the seeds drawn
# and with the seeds fixed. Runs and resamples are told apart by identity.
@functools.lru_cache(maxsize=1024)
def _mean(
  run: arms.Trajectory,
  metric: str,
  prompts: resampling.PromptCounts,
  subset: resampling.PromptSubset,
) -> np.ndarray:
  means = prompts.mean(run.by_prompt(metric), subset)
  means.flags.writeable = False
  return means


def moved(run: arms.Trajectory) -> Bool[np.ndarray, "checkpoints"]:
  """Returns which checkpoints have a KL to speak of."""
  return run.kl_nats.mean(axis=1) >= LEAST_KL_NATS


def interpolate(
  x: Float[np.ndarray, "rows points"],
  y: Float[np.ndarray, "rows points"],
  grid: Float[np.ndarray, "grid"],
) -> Float[np.ndarray, "rows grid"]:
  """Joins points linearly, each row its own; an end holds its value.

  The first row, the data as they are, says how far the points reach: outside of
  that all rows are NaN.

  Args:
    x: in any order.
    y: at these.
    grid: where to read.
  """
  if x.shape[1] < 2:
    return np.full((len(x), len(grid)), np.nan)
  order = np.argsort(x, axis=1, kind="stable")
  x = np.take_along_axis(x, order, axis=1)
  y = np.take_along_axis(y, order, axis=1)
  below = (x[:, :, None] <= grid).sum(axis=1) - 1
  left = np.clip(below, 0, x.shape[1] - 2)
  x0, x1, y0, y1 = (
    np.take_along_axis(array, left + k, axis=1)
    for array in (x, y)
    for k in (0, 1)
  )
  width = np.where(x1 > x0, x1 - x0, 1.0)
  joined = y0 + np.clip((grid - x0) / width, 0, 1) * (y1 - y0)
  # A hair of slack: the grid's own ends were computed in another order.
  outside = (grid < x[0, 0] - 1e-9) | (grid > x[0, -1] + 1e-9)
  return np.where(outside, np.nan, joined)


def extent(
  arm: arms.Arm, coordinate: Coordinate = "log"
) -> tuple[float, float] | None:
  """Returns from where to where an arm has a curve, in the coordinate.

  That of a configuration is what all its runs pass through; that of the arm,
  from the least to the greatest of its configurations.

  Args:
    arm: the arm.
    coordinate: log KL or sqrt(KL).

  Returns:
    Both ends; None where no configuration has a curve.
  """
  ends = []
  for configuration in arm.configurations:
    means = [r.kl_nats[moved(r)].mean(axis=1) for r in configuration.runs]
    if min(map(len, means)) < 2:
      continue
    spans = [coordinate_of(kl, coordinate) for kl in means]
    low, high = max(s.min() for s in spans), min(s.max() for s in spans)
    if low < high:
      ends.append((float(low), float(high)))
  if not ends:
    return None
  return min(low for low, _ in ends), max(high for _, high in ends)


def shared_extent(
  first: arms.Arm, second: arms.Arm, coordinate: Coordinate = "log"
) -> tuple[float, float] | None:
  """Returns where both arms have a curve; None where nowhere."""
  ends = extent(first, coordinate), extent(second, coordinate)
  if ends[0] is None or ends[1] is None:
    return None
  low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
  return (low, high) if low < high else None


def grid_of(ends: tuple[float, float]) -> Float[np.ndarray, "grid"]:
  """Returns points from end to end, evenly."""
  return np.linspace(*ends, GRID_POINTS)


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
  """Curves of all configurations, by seed: on all prompts and on either half.

  NaN where a seed has no run of a configuration, or one of the configuration's
  runs does not reach.

  Attributes:
    whole: on all prompts.
    even: on one half of them.
    odd: on the other.
    weights: how often each seed was drawn.
  """

  whole: Float[np.ndarray, "seeds rows configurations grid"]
  even: Float[np.ndarray, "seeds rows configurations grid"]
  odd: Float[np.ndarray, "seeds rows configurations grid"]
  weights: Float[np.ndarray, "rows seeds"]


def by_configuration(
  arm: arms.Arm,
  resamples: resampling.Resamples,
  grid: Float[np.ndarray, "grid"],
  *,
  metric: str = arms.WIN,
  coordinate: Coordinate = "log",
) -> Curves:
  """Returns each configuration's curves.

  Args:
    arm: the arm.
    resamples: what was drawn.
    grid: in the coordinate.
    metric: of the outcomes by prompt.
    coordinate: log KL or sqrt(KL).
  """
  shape = (
    *(len(resampling.PROMPT_SUBSETS), len(arm.seeds), resamples.num_rows),
    *(len(arm.configurations), len(grid)),
  )
  values = np.full(shape, np.nan)
  for number, configuration in enumerate(arm.configurations):
    reached = np.ones(len(grid), bool)
    for run in configuration.runs:
      of_run = _of_run(run, resamples, grid, metric, coordinate)
      values[:, arm.seeds.index(run.seed), :, number] = of_run
      reached &= ~np.isnan(of_run[0, 0])
    values[:, :, :, number, ~reached] = np.nan
  whole, even, odd = values  # in the order of `resampling.PROMPT_SUBSETS`
  return Curves(whole, even, odd, resamples.seed_counts(arm.seeds))


def _of_run(
  run: arms.Trajectory,
  resamples: resampling.Resamples,
  grid: np.ndarray,
  metric: str,
  coordinate: Coordinate,
) -> np.ndarray:
  """Returns [parts, rows, grid]."""
  here = moved(run)
  kl = np.maximum(mean(run, arms.KL, resamples)[:, here], LEAST_KL_NATS / 10)
  x = coordinate_of(kl, coordinate)
  return np.stack(
    [
      interpolate(x, mean(run, metric, resamples, subset)[:, here], grid)
      for subset in resampling.PROMPT_SUBSETS
    ]
  )


def mean_over_seeds(
  values: Float[np.ndarray, "seeds rows *shape"],
  weights: Float[np.ndarray, "rows seeds"],
) -> Float[np.ndarray, "rows *shape"]:
  """Returns means over the seeds drawn; NaN where none of them has a value.

  Args:
    values: NaN where there is none.
    weights: how often each seed was drawn.
  """
  wide = weights.T.reshape(*weights.T.shape, *(1,) * (values.ndim - 2))
  known = ~np.isnan(values)
  total = np.where(known, wide * np.where(known, values, 0.0), 0.0).sum(axis=0)
  return _ratio(total, (wide * known).sum(axis=0))


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
  return np.divide(
    total, count, out=np.full_like(total, np.nan), where=count > 0
  )


def cross_fitted(
  by: Float[np.ndarray, "seeds rows options grid"],
  value: Float[np.ndarray, "seeds rows options grid"],
  weights: Float[np.ndarray, "rows seeds"],
) -> Float[np.ndarray, "rows grid"]:
  """Returns what the best option is worth to a seed that had no say in it.

  Each seed takes the option that is best for the others that were drawn, or for
  itself where it was drawn alone.

  Args:
    by: what is highest, on some prompts.
    value: what is returned, on others.
    weights: how often each seed was drawn.

  Returns:
    The mean over the seeds drawn; NaN where they have no option.
  """
  wide = weights.T[:, :, None, None]
  known = wide * ~np.isnan(by)
  parts = np.where(known > 0, known * np.nan_to_num(by), 0.0)
  total, count = parts.sum(axis=0), known.sum(axis=0)
  picked = []
  for seed, own in enumerate(by):
    of_others = _ratio(total - parts[seed], count - known[seed])
    rated = np.where(np.isnan(of_others), own, of_others)
    rated = np.where(np.isnan(rated + value[seed]), -np.inf, rated)
    best = np.argmax(rated, axis=1)[:, None]
    picked.append(np.take_along_axis(value[seed], best, axis=1)[:, 0])
  return mean_over_seeds(np.stack(picked), weights)


def frontier(curves: Curves) -> Float[np.ndarray, "rows grid"]:
  """Returns the best configuration's win rate at each KL, cross-fitted.

  Args:
    curves: of all configurations.

  Returns:
    Values; NaN where no configuration reaches.
  """
  if curves.whole.shape[2] == 1:
    return mean_over_seeds(curves.whole[:, :, 0], curves.weights)
  return _both_ways(curves.even, curves.odd, curves.weights)


def _both_ways(
  even: np.ndarray, odd: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  return 0.5 * (
    cross_fitted(even, odd, weights) + cross_fitted(odd, even, weights)
  )


def highest(curves: Curves) -> Float[np.ndarray, "rows"]:
  """Returns the highest win rate at any KL, cross-fitted.

  Configuration and KL are chosen on other prompts and seeds than those that
  they are valued on.

  Args:
    curves: of all configurations.
  """
  even, odd = (
    subset.reshape(*subset.shape[:2], -1, 1)
    for subset in (curves.even, curves.odd)
  )
  return _both_ways(even, odd, curves.weights)[:, 0]


def place_of_highest(curves: Curves) -> np.ndarray:
  """Returns the grid's index of the frontier's top, int [rows]."""
  values = frontier(curves)
  return np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1)
