"""Quantiles of win rate over all checkpoints of an arm."""

import numpy as np
from jaxtyping import Float

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.analysis.statistics import BootstrapSettings


def quantile(arm: arms.Arm, q: float, settings: BootstrapSettings) -> Estimate:
  """Returns a quantile of win rate over all checkpoints of an arm.

  Tang et al. (2024), Figs. 11 and 14, report q = 0.9 over checkpoints and
  hyper-parameters as "best performance". It is not a maximum, but it is still
  the upper end of noisy numbers and therefore slightly too high.

  Args:
    arm: the arm.
    q: in [0, 1].
    settings: of the bootstrap; a seed that is resampled twice counts twice.

  Returns:
    The quantile: the lowest win rate that a share q of checkpoints does not
    exceed.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    return _quantile(arm, q, resamples)

  return resampling.estimate(statistic, settings.design(arm))


def quantile_difference(
  first: arms.Arm, second: arms.Arm, q: float, settings: BootstrapSettings
) -> Estimate:
  """Returns by how much a quantile of one arm exceeds another's.

  Args:
    first: whose quantile counts positive.
    second: whose counts negative.
    q: in [0, 1], see `quantile`.
    settings: of the bootstrap.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    return _quantile(first, q, resamples) - _quantile(second, q, resamples)

  return resampling.estimate(statistic, settings.design(first, second))


def quantile_ratio(
  first: arms.Arm, second: arms.Arm, q: float, settings: BootstrapSettings
) -> Estimate:
  """Returns a quantile of one arm relative to another's.

  Args:
    first: whose quantile is divided.
    second: by whose; 0 leaves the ratio undefined.
    q: in [0, 1], see `quantile`.
    settings: of the bootstrap.

  Raises:
    UndefinedError: the second's quantile is 0.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    below = _quantile(second, q, resamples)
    return np.divide(
      _quantile(first, q, resamples),
      below,
      out=np.full_like(below, np.nan),
      where=below > 0,
    )

  return resampling.estimate(statistic, settings.design(first, second))


def _quantile(
  arm: arms.Arm, q: float, resamples: resampling.Resamples
) -> Float[np.ndarray, "rows"]:
  weights = resamples.seed_counts(arm.seeds)
  values, counts = [], []
  for run in arm.runs:
    means = curves.mean(run, arms.WIN, resamples)
    values.append(means)
    column = weights[:, [arm.seeds.index(run.seed)]]
    counts.append(np.broadcast_to(column, means.shape))
  return _weighted_quantile(
    np.concatenate(values, axis=1), np.concatenate(counts, axis=1), q
  )


def _weighted_quantile(
  values: Float[np.ndarray, "rows n"],
  counts: Float[np.ndarray, "rows n"],
  q: float,
) -> Float[np.ndarray, "rows"]:
  order = np.argsort(values, axis=1, kind="stable")
  ranked = np.take_along_axis(values, order, axis=1)
  reached = np.take_along_axis(counts, order, axis=1).cumsum(axis=1)
  # Rounding tolerance: q times a whole number may round up.
  enough = reached >= q * reached[:, -1:] - 1e-9
  # If q is 0, the first value with a positive count.
  first = np.argmax(enough & (reached > 0), axis=1)
  return np.take_along_axis(ranked, first[:, None], axis=1)[:, 0]
