"""How much of the gap between two arms a third arm closes."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate, Percentiles, UndefinedError
from rlhf_gap.analysis.statistics import BootstrapSettings

Level = Callable[[arms.Arm, resampling.Resamples], np.ndarray]
"""From an arm and resamples to one win rate for each row of resamples."""


@dataclasses.dataclass(frozen=True)
class Closing:
  """How much of a gap is closed.

  With h the win rate of the higher arm, l of the lower, t of the third:

  Attributes:
    gap: h - l.
    beyond_half: (t - l) - (h - l) / 2, positive if more than half of the gap is
      closed. Unlike the share it is well behaved however small the gap.
    share: (t - l) / (h - l), with the middle 95% of its replicates.
  """

  gap: Estimate
  beyond_half: Estimate
  share: Percentiles


def at_matched_kl(
  higher: arms.Arm,
  lower: arms.Arm,
  third: arms.Arm,
  settings: BootstrapSettings,
) -> Closing:
  """Measures mean win rates over the log KLs that all three arms reach.

  Args:
    higher: the arm at the top of the gap.
    lower: the arm at its bottom.
    third: the arm that may close it.
    settings: settings of the bootstrap.

  Raises:
    UndefinedError: the arms reach no common range of KL.
  """
  compared = (higher, lower, third)
  extents = [curves.extent(arm) for arm in compared]
  known = [ends for ends in extents if ends is not None]
  low = max((ends[0] for ends in known), default=0.0)
  high = min((ends[1] for ends in known), default=0.0)
  if len(known) < len(extents) or low >= high:
    names = ", ".join(arm.name for arm in compared)
    raise UndefinedError(f"{names} reach no common range of KL")
  grid = curves.grid_of((low, high))

  def level(arm: arms.Arm, resamples: resampling.Resamples) -> np.ndarray:
    frontier = curves.frontier(curves.by_configuration(arm, resamples, grid))
    return curves.mean_over_grid(frontier)

  return _measure(compared, level, settings)


def at_the_peaks(
  higher: arms.Arm,
  lower: arms.Arm,
  third: arms.Arm,
  settings: BootstrapSettings,
) -> Closing:
  """Measures the highest win rate of each arm, at its own KL.

  Args:
    higher: the arm at the top of the gap.
    lower: the arm at its bottom.
    third: the arm that may close it.
    settings: settings of the bootstrap.

  Raises:
    UndefinedError: an arm has no run with two checkpoints with a KL.
  """

  def level(arm: arms.Arm, resamples: resampling.Resamples) -> np.ndarray:
    ends = curves.extent(arm)
    if ends is None:
      raise UndefinedError(f"{arm.name} has no run with two checkpoints")
    grid = curves.grid_of(ends)
    return curves.highest(curves.by_configuration(arm, resamples, grid))

  return _measure((higher, lower, third), level, settings)


def _measure(
  compared: tuple[arms.Arm, arms.Arm, arms.Arm],
  level: Level,
  settings: BootstrapSettings,
) -> Closing:
  design = settings.design(*compared)
  higher, lower, third = compared

  def gap(resamples: resampling.Resamples) -> np.ndarray:
    return level(higher, resamples) - level(lower, resamples)

  def closed(resamples: resampling.Resamples) -> np.ndarray:
    return level(third, resamples) - level(lower, resamples)

  rows = resampling.resample(design)
  with np.errstate(divide="ignore", invalid="ignore"):
    shares = closed(rows) / gap(rows)
  return Closing(
    gap=resampling.estimate(gap, design),
    beyond_half=resampling.estimate(lambda r: closed(r) - gap(r) / 2, design),
    share=resampling.percentiles(shares),
  )
