"""Means over seeds of one number per run, with Student's intervals."""

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from rlhf_gap.analysis.resampling import Estimate, UndefinedError


def mean(
  values: Mapping[int, float], n: int, *, confidence: float = 0.95
) -> Estimate:
  """Returns the mean over seeds.

  Noise from the pairs or prompts behind each number is part of how seeds
  differ, so the interval covers it.

  Args:
    values: a number per seed.
    n: pairs or prompts behind each.
    confidence: confidence of the interval.

  Returns:
    The mean with Student's interval, whose degrees of freedom are one fewer
    than the seeds. With one seed it is infinitely wide.

  Raises:
    UndefinedError: there is no seed.
  """
  numbers = np.array(list(values.values()), np.float64)
  if not len(numbers):
    raise UndefinedError("no seed was measured")
  value, freedom = float(numbers.mean()), len(numbers) - 1
  if not freedom:
    inf = math.inf
    return Estimate(value, inf, -inf, inf, n, 1, 1.0)
  sem = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
  half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * sem
  return Estimate(
    value=value,
    sem=sem,
    ci95_low=value - half,
    ci95_high=value + half,
    num_prompts=n,
    num_seeds=len(numbers),
    degrees_of_freedom=float(freedom),
    confidence=confidence,
  )


def difference(
  first: Mapping[int, float],
  second: Mapping[int, float],
  n: int,
  *,
  confidence: float = 0.95,
) -> Estimate:
  """Returns the mean over seeds of the difference of two numbers.

  Args:
    first: a number per seed.
    second: likewise; seeds that only one of them has are ignored.
    n: pairs or prompts behind each.
    confidence: confidence of the interval.

  Raises:
    UndefinedError: they have no seed in common.
  """
  shared = sorted(first.keys() & second.keys())
  if not shared:
    raise UndefinedError("the arms have no seed in common")
  differences = {seed: first[seed] - second[seed] for seed in shared}
  return mean(differences, n, confidence=confidence)
