"""Win rate as a function of KL: a run's curve, an arm's frontier.

Between checkpoints, win rate is interpolated linearly in log KL, the horizontal
axis of the paper (Tang et al. 2024, Fig. 1). Every decade of KL then has the
same weight, and curves are nearly straight, since the KLs of neighbouring
checkpoints differ by a factor. `coordinate="sqrt"` uses Gao's d = sqrt(KL)
instead, as a check.

An arm with several hyper-parameters is represented by its frontier: the
configuration with the highest win rate at each KL. A maximum over noisy numbers
is biased upwards, the more so the larger the sweep, and both prompts and runs
are noisy. A configuration is therefore chosen on one half of the prompts and
all seeds but one, and evaluated on the other half and that seed, in turn
(cross-fitting). With a single seed only prompts take turns, and the luck of its
runs remains.
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
"""Checkpoints nearer to the reference are not on a logarithmic axis."""


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
  """Returns a metric's means over the resampled prompts.

  Args:
    run: the run.
    metric: "kl_nats" or one of its outcomes.
    resamples: how often each prompt was resampled.
    subset: which prompts to use.
  """
  return _mean(run, metric, resamples.prompts, subset)


# Several statistics use the same means, each with seeds resampled and with
# seeds fixed. Runs and resamples are hashed by identity.
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
  """Returns which checkpoints have a KL of at least `LEAST_KL_NATS`."""
  return run.kl_nats.mean(axis=1) >= LEAST_KL_NATS


def interpolate(
  x: Float[np.ndarray, "rows points"],
  y: Float[np.ndarray, "rows points"],
  grid: Float[np.ndarray, "grid"],
) -> Float[np.ndarray, "rows grid"]:
  """Interpolates linearly between points, row by row.

  Rows are constant beyond their ends. Outside the range of the first row, which
  is the original data, all rows are NaN.

  Args:
    x: positions, in any order.
    y: values there.
    grid: positions to interpolate at.
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
  # Rounding tolerance: the ends of the grid were computed in another order.
  outside = (grid < x[0, 0] - 1e-9) | (grid > x[0, -1] + 1e-9)
  return np.where(outside, np.nan, joined)


def extent(
  arm: arms.Arm, coordinate: Coordinate = "log"
) -> tuple[float, float] | None:
  """Returns the range over which an arm has a curve, in the coordinate.

  A configuration has a curve where all its runs do. An arm's range extends from
  the lowest end to the highest end of its configurations.

  Args:
    arm: the arm.
    coordinate: log KL or sqrt(KL).

  Returns:
    Both ends; None if no configuration has a curve.
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
  """Returns the range over which both arms have a curve, if any."""
  ends = extent(first, coordinate), extent(second, coordinate)
  if ends[0] is None or ends[1] is None:
    return None
  low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
  return (low, high) if low < high else None


def grid_of(ends: tuple[float, float]) -> Float[np.ndarray, "grid"]:
  """Returns evenly spaced points between two ends."""
  return np.linspace(*ends, GRID_POINTS)


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
  """Curves of all configurations by seed, on all prompts and either half.

  NaN if a seed has no run of a configuration, or if a run of the configuration
  does not reach the KL.

  Attributes:
    whole: curves on all prompts.
    even: curves on one half of the prompts.
    odd: curves on the other half.
    weights: how often each seed was resampled.
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
    resamples: the resampled prompts and seeds.
    grid: positions, in the coordinate.
    metric: which outcomes by prompt to use.
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
      run_curves = _run_curves(
        run, resamples.prompts, tuple(grid.tolist()), metric, coordinate
      )
      values[:, arm.seeds.index(run.seed), :, number] = run_curves
      reached &= ~np.isnan(run_curves[0, 0])
    values[:, :, :, number, ~reached] = np.nan
  whole, even, odd = values  # in the order of `resampling.PROMPT_SUBSETS`
  return Curves(whole, even, odd, resamples.seed_counts(arm.seeds))


# An estimate uses the same curves twice: with seeds resampled, and with seeds
# fixed. A curve has 0.8 MB at 1,000 replicates.
@functools.lru_cache(maxsize=128)
def _run_curves(
  run: arms.Trajectory,
  prompts: resampling.PromptCounts,
  grid: tuple[float, ...],
  metric: str,
  coordinate: Coordinate,
) -> np.ndarray:
  """Returns [parts, rows, grid]."""
  here = moved(run)
  kl = _mean(run, arms.KL, prompts, "all")[:, here]
  x = coordinate_of(np.maximum(kl, LEAST_KL_NATS / 10), coordinate)
  curves = np.stack(
    [
      interpolate(
        x, _mean(run, metric, prompts, subset)[:, here], np.array(grid)
      )
      for subset in resampling.PROMPT_SUBSETS
    ]
  )
  curves.flags.writeable = False
  return curves


def mean_over_seeds(
  values: Float[np.ndarray, "seeds rows *shape"],
  weights: Float[np.ndarray, "rows seeds"],
) -> Float[np.ndarray, "rows *shape"]:
  """Returns means over the resampled seeds; NaN if none has a value.

  Args:
    values: values by seed; NaN if there is none.
    weights: how often each seed was resampled.
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
  """Returns the value of the best option for seeds that did not choose it.

  Each seed uses the option that is best for the other resampled seeds, or for
  itself if no other was resampled.

  Args:
    by: scores that decide the best option, on some prompts.
    value: values of the options, on other prompts.
    weights: how often each seed was resampled.

  Returns:
    The mean over the resampled seeds; NaN if they have no option.
  """
  wide = weights.T[:, :, None, None]
  known = wide * ~np.isnan(by)
  scores = np.where(known > 0, known * np.nan_to_num(by), 0.0)
  total, count = scores.sum(axis=0), known.sum(axis=0)
  picked = []
  for seed, own in enumerate(by):
    of_others = _ratio(total - scores[seed], count - known[seed])
    rated = np.where(np.isnan(of_others), own, of_others)
    rated = np.where(np.isnan(rated + value[seed]), -np.inf, rated)
    best = np.argmax(rated, axis=1)[:, None]
    picked.append(np.take_along_axis(value[seed], best, axis=1)[:, 0])
  return mean_over_seeds(np.stack(picked), weights)


def frontier(curves: Curves) -> Float[np.ndarray, "rows grid"]:
  """Returns the best configuration's win rate at each KL, cross-fitted.

  Args:
    curves: curves of all configurations.

  Returns:
    Win rates; NaN if no configuration reaches the KL.
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


def mean_over_grid(
  values: Float[np.ndarray, "rows grid"],
) -> Float[np.ndarray, "rows"]:
  """Returns means over the grid points at which a row is defined.

  By the trapezoidal rule, the two ends have half the weight.

  Args:
    values: win rates or their differences; NaN if undefined.
  """
  defined = ~np.isnan(values)
  weights = np.ones(values.shape[1])
  weights[[0, -1]] = 0.5
  total = np.where(defined, values, 0.0) @ weights
  return _ratio(total, defined @ weights)


def highest(curves: Curves) -> Float[np.ndarray, "rows"]:
  """Returns the highest win rate at any KL, cross-fitted.

  Configuration and KL are chosen and evaluated on different prompts and seeds.

  Args:
    curves: curves of all configurations.
  """
  even, odd = (
    subset.reshape(*subset.shape[:2], -1, 1)
    for subset in (curves.even, curves.odd)
  )
  return _both_ways(even, odd, curves.weights)[:, 0]


def place_of_highest(curves: Curves) -> np.ndarray:
  """Returns the grid index of the frontier's maximum, int [rows]."""
  values = frontier(curves)
  return np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1)
