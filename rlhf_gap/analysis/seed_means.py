"""Means over seeds of what is one number a run, with Student's intervals."""

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from rlhf_gap.analysis.resampling import Estimate, UndefinedError


def mean(values: Mapping[int, float], n: int) -> Estimate:
  """Returns the mean over seeds.

  What a seed's own number owes to the pairs or prompts it was measured on is
  part of how seeds differ, and so of the interval.

  Args:
    values: a number a seed.
    n: pairs or prompts behind each.

  Returns:
    The mean with Student's interval of one degree of freedom less than seeds;
    infinitely wide for one seed.

  Raises:
    UndefinedError: there is no seed.
  """
  found = np.array(list(values.values()), np.float64)
  if not len(found):
    raise UndefinedError("no seed was measured")
  value, freedom = float(found.mean()), len(found) - 1
  if not freedom:
    inf = math.inf
    return Estimate(value, inf, -inf, inf, n, 1, 1.0)
  sem = float(found.std(ddof=1)) / math.sqrt(len(found))
  half = float(stats.t.ppf(0.975, freedom)) * sem
  return Estimate(
    value, sem, value - half, value + half, n, len(found), float(freedom)
  )


def difference(
  first: Mapping[int, float], second: Mapping[int, float], n: int
) -> Estimate:
  """Returns the mean difference of two runs of a seed.

  Args:
    first: a number a seed.
    second: likewise; seeds that only one has do not count.
    n: pairs or prompts behind each.

  Raises:
    UndefinedError: they have no seed in common.
  """
  shared = sorted(first.keys() & second.keys())
  if not shared:
    raise UndefinedError("the arms have no seed in common")
  return mean({seed: first[seed] - second[seed] for seed in shared}, n)
