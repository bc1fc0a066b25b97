"""How the gap between two arms changes from one pair of arms to another."""

import numpy as np

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.analysis.statistics import BootstrapSettings

Pair = tuple[arms.Arm, arms.Arm]
"""An arm and the arm that it is compared with."""


def narrowing(
  before: Pair, after: Pair, settings: BootstrapSettings
) -> Estimate:
  """Returns by how much a gap at matched KL is smaller in a second pair.

  Each gap is the mean difference of the frontiers over the log KL that both
  arms of its pair reach. Seeds of equal numbers are resampled together.

  Args:
    before: the pair whose gap counts positive.
    after: the pair whose gap counts negative.
    settings: settings of the bootstrap.

  Raises:
    UndefinedError: the arms of a pair reach no common range of KL.
  """
  grids = [_grid(*pair) for pair in (before, after)]

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    gaps = [
      _gap(pair, grid, resamples)
      for pair, grid in zip((before, after), grids, strict=True)
    ]
    return gaps[0] - gaps[1]

  return resampling.estimate(statistic, settings.design(*before, *after))


def _grid(first: arms.Arm, second: arms.Arm) -> np.ndarray:
  ends = curves.shared_extent(first, second)
  if ends is None:
    raise UndefinedError(
      f"the KL ranges of {first.name} and {second.name} do not overlap"
    )
  return curves.grid_of(ends)


def _gap(
  pair: Pair, grid: np.ndarray, resamples: resampling.Resamples
) -> np.ndarray:
  first, second = (
    curves.frontier(curves.by_configuration(arm, resamples, grid))
    for arm in pair
  )
  return curves.mean_over_grid(first - second)
