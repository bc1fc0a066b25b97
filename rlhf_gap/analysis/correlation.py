"""Pearson's correlation of points that come in groups."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from rlhf_gap.analysis.resampling import UndefinedError


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Pearson's r with its interval.

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


def pearson(
  x: Float[np.ndarray, "points"],
  y: Float[np.ndarray, "points"],
  groups: Sequence[str],
  *,
  confidence: float = 0.95,
) -> Correlation:
  """Returns Pearson's r with an interval that accounts for groups.

  Checkpoints of a run are not independent. On Fisher's scale z = artanh r the
  standard error comes from a jackknife that leaves out one group at a time. The
  interval is Student's with one degree of freedom fewer than groups.

  Args:
    x: values such as accuracy, one per checkpoint.
    y: values such as win rate, one per checkpoint.
    groups: the run of each point.
    confidence: confidence of the interval.

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
  half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * sem
  return Correlation(
    math.tanh(z), math.tanh(z - half), math.tanh(z + half), len(x), n
  )


def _fisher(x: np.ndarray, y: np.ndarray) -> float:
  if np.ptp(x) == 0 or np.ptp(y) == 0:
    raise UndefinedError("a correlation needs values that vary")
  # Points on a line: artanh 1 is infinite, the interval need not be.
  r = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-12, 1 - 1e-12))
  return math.atanh(r)
