"""Intervals against closed forms, and how often they hold what they should."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from rlhf_gap.analysis import resampling

MANY = 4000
# Relative error of a standard deviation of that many: 1 / sqrt(2 * 4000).
MONTE_CARLO = 4 / math.sqrt(2 * MANY)


def _of_prompts(values):
  return lambda resamples: resamples.prompts.mean(values[None])[:, 0]


def _of_seeds(values):
  """The mean of one value a seed, prompts playing no part."""

  def statistic(resamples):
    counts = resamples.seed_counts(tuple(range(len(values))))
    return counts @ values / counts.sum(axis=1)

  return statistic


def test_over_prompts_it_is_the_error_of_a_mean():
  values = np.random.default_rng(0).normal(3, 2, 200)
  design = resampling.Design(200, 1, MANY)
  found = resampling.estimate(_of_prompts(values), design)
  assert found.value == pytest.approx(values.mean(), abs=1e-12)
  error = values.std() / math.sqrt(200)
  assert found.sem == pytest.approx(error, rel=MONTE_CARLO)
  half = stats.t.ppf(0.975, 199) * found.sem
  assert found.ci95_high - found.value == pytest.approx(half, rel=1e-9)
  assert found.value - found.ci95_low == pytest.approx(half, rel=1e-9)
  assert (found.num_prompts, found.num_seeds) == (200, 1)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_over_seeds_it_is_student_s_interval(count):
  # sem^2 = s^2 / n, s^2 unbiased; n - 1 degrees of freedom.
  values = np.random.default_rng(count).normal(0.4, 0.1, count)
  design = resampling.Design(10, count, MANY)
  found = resampling.estimate(_of_seeds(values), design)
  error = values.std(ddof=1) / math.sqrt(count)
  assert found.sem == pytest.approx(error, rel=2 * MONTE_CARLO)
  assert found.degrees_of_freedom == pytest.approx(count - 1, rel=1e-6)
  wide = stats.t.ppf(0.975, count - 1) * found.sem
  assert found.ci95_high - found.value == pytest.approx(wide, rel=1e-6)


def test_another_confidence():
  values = np.random.default_rng(0).normal(size=50)
  found = resampling.estimate(
    _of_prompts(values), resampling.Design(50, 1, 200)
  )
  assert found.interval(0.95) == pytest.approx(
    (found.ci95_low, found.ci95_high), rel=1e-9
  )
  low, high = found.interval(0.99)
  assert low < found.ci95_low < found.ci95_high < high


@pytest.mark.parametrize(
  ("prompts", "seeds", "samples", "most"),
  [
    (0.2, 0.0, 0.0, 0.98),
    (0.2, 0.03, 0.0, 0.98),
    # Each run's own samples count both as prompts' and as seeds' chance: the
    # crossed bootstrap errs on the wide side.
    (0.2, 0.03, 0.3, 1.0),
  ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
  prompts, seeds, samples, most
):
  random = np.random.default_rng(1)
  num_seeds, num_prompts, worlds = 3, 60, 300
  held = 0
  for world in range(worlds):
    values = (
      0.4
      + random.normal(0, prompts, num_prompts)
      + random.normal(0, seeds, num_seeds)[:, None]
      + random.normal(0, samples, (num_seeds, num_prompts))
    )

    def statistic(resamples, values=values):
      means = resamples.prompts.mean(values)
      counts = resamples.seed_counts(tuple(range(len(values))))
      return (counts * means).sum(axis=1) / counts.sum(axis=1)

    design = resampling.Design(num_prompts, num_seeds, 150, seed=world)
    found = resampling.estimate(statistic, design)
    held += found.ci95_low <= 0.4 <= found.ci95_high
  # 1.3% is the standard error of a share of 95% among 300.
  assert 0.92 <= held / worlds <= most


def test_equal_designs_give_equal_numbers():
  values = np.random.default_rng(0).normal(size=40)
  one = resampling.Design(40, 1, 100, seed=3)
  first = resampling.estimate(_of_prompts(values), one)
  resampling._prompts.cache_clear()
  assert resampling.estimate(_of_prompts(values), one) == first
  other = dataclasses.replace(one, seed=4)
  assert resampling.estimate(_of_prompts(values), other).sem != first.sem


def test_arms_of_the_same_seeds_are_drawn_together():
  resamples = resampling.resample(resampling.Design(5, 3, 50))
  same = resamples.seed_counts((0, 1, 2))
  np.testing.assert_array_equal(resamples.seed_counts((0, 1, 2)), same)
  assert (resamples.seed_counts((0, 1, 7)) != same).any()
  np.testing.assert_array_equal(same[0], 1)
  np.testing.assert_array_equal(same[1:].sum(axis=1), 2)


def test_a_statistic_that_is_mostly_undefined_has_no_interval():
  def sometimes(share):
    def statistic(resamples):
      values = resamples.prompts.mean(np.arange(20.0)[None])[:, 0]
      values[1 : 1 + int(share * 1000)] = np.nan
      return values

    return statistic

  design = resampling.Design(20, 1, 1000)
  assert resampling.estimate(sometimes(0.04), design).value == 9.5
  with pytest.raises(resampling.UndefinedError):
    resampling.estimate(sometimes(0.06), design)


def test_percentiles_know_infinity():
  values = np.concatenate([[5.0], np.arange(100.0)])
  found = resampling.percentiles(values)
  assert (found.value, found.low, found.high) == (5.0, 2.0, 97.0)
  values[-4:] = np.inf
  assert resampling.percentiles(values).high == np.inf
  values[1:10] = np.nan
  with pytest.raises(resampling.UndefinedError):
    resampling.percentiles(values)


@pytest.mark.parametrize("sizes", [(1, 1, 10), (10, 0, 10), (10, 1, 1)])
def test_a_design_without_a_bootstrap_is_refused(sizes):
  with pytest.raises(ValueError, match="no bootstrap"):
    resampling.Design(*sizes)
