"""Statistics of all checkpoints of an arm together."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.analysis.statistics import Settings


def quantile(arm: arms.Arm, q: float, settings: Settings) -> Estimate:
  """Returns a quantile of win rate over all checkpoints of an arm.

  Tang et al. (2024), Figs. 11 and 14, take q = 0.9 over checkpoints and
  hyper-parameters as "best performance". It is no maximum, but still the upper
  end of noisy numbers, so a little high.

  Args:
    arm: the arm.
    q: in [0, 1].
    settings: of the bootstrap; a seed that is drawn twice counts twice.

  Returns:
    The quantile: the least win rate that a share q of checkpoints does not
    exceed.
  """

  def of(draws: resampling.Draws) -> np.ndarray:
    return _quantile(arm, q, draws)

  return resampling.estimate(of, settings.design(arm))


def quantile_difference(
  first: arms.Arm, second: arms.Arm, q: float, settings: Settings
) -> Estimate:
  """Returns by how much a quantile of one arm exceeds another's.

  Args:
    first: whose quantile counts positive.
    second: whose counts negative.
    q: in [0, 1], see `quantile`.
    settings: of the bootstrap.
  """

  def of(draws: resampling.Draws) -> np.ndarray:
    return _quantile(first, q, draws) - _quantile(second, q, draws)

  return resampling.estimate(of, settings.design(first, second))


def quantile_ratio(
  first: arms.Arm, second: arms.Arm, q: float, settings: Settings
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

  def of(draws: resampling.Draws) -> np.ndarray:
    below = _quantile(second, q, draws)
    return np.divide(
      _quantile(first, q, draws),
      below,
      out=np.full_like(below, np.nan),
      where=below > 0,
    )

  return resampling.estimate(of, settings.design(first, second))


def _quantile(
  arm: arms.Arm, q: float, draws: resampling.Draws
) -> Float[np.ndarray, "rows"]:
  weights = draws.of_seeds(arm.seeds)
  values, counts = [], []
  for run in arm.runs:
    means = curves.mean(run, arms.WIN, draws)
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
  # A hair of slack: q times a whole number may round up.
  enough = reached >= q * reached[:, -1:] - 1e-9
  # The first that counts at all, where q is 0.
  first = np.argmax(enough & (reached > 0), axis=1)
  return np.take_along_axis(ranked, first[:, None], axis=1)[:, 0]


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Pearson's r of points that come in groups.

  Attributes:
    value: r.
    ci95_low: lower end of its 95% interval.
    ci95_high: upper end.
    num_points: points behind it.
    num_groups: independent groups of them.
  """

  value: float
  ci95_low: float
  ci95_high: float
  num_points: int
  num_groups: int


def correlation(
  x: Float[np.ndarray, "points"],
  y: Float[np.ndarray, "points"],
  groups: Sequence[str],
) -> Correlation:
  """Returns Pearson's r with an interval that respects runs.

  Checkpoints of a run are no independent points. On Fisher's scale z = artanh r
  the standard error is a jackknife that leaves one group out at a time; the
  interval is Student's with one degree of freedom less than groups.

  Args:
    x: such as accuracy, a value a checkpoint.
    y: such as win rate.
    groups: the run of each point.

  Returns:
    r and its interval, within [-1, 1].

  Raises:
    UndefinedError: fewer than three groups, or a group without which x or y
      does not vary.
  """
  names = sorted(set(groups))
  if len(names) < 3:
    raise UndefinedError(
      f"{len(names)} runs; an interval of a correlation needs three or more"
    )
  member = np.array([names.index(group) for group in groups])
  z = _fisher(x, y)
  left_out = np.array(
    [_fisher(x[member != i], y[member != i]) for i in range(len(names))]
  )
  n = len(names)
  spread = left_out - left_out.mean()
  sem = math.sqrt((n - 1) / n * float((spread**2).sum()))
  half = float(stats.t.ppf(0.975, n - 1)) * sem
  return Correlation(
    math.tanh(z), math.tanh(z - half), math.tanh(z + half), len(x), n
  )


def _fisher(x: np.ndarray, y: np.ndarray) -> float:
  if np.ptp(x) == 0 or np.ptp(y) == 0:
    raise UndefinedError("a correlation needs values that vary")
  # Points on a line: artanh 1 is infinite, the interval need not be.
  r = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-12, 1 - 1e-12))
  return math.atanh(r)
