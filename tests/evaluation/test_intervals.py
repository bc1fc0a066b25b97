"""Intervals against SciPy, closed forms, and their coverage, enumerated."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from rlhf_gap.evaluation import intervals


@pytest.mark.parametrize(
  ("wins", "n"), [(0, 5), (5, 5), (8, 10), (1, 64), (614, 2048)]
)
def test_without_ties_it_is_wilsons_interval(wins, n):
  outcomes = np.repeat([1.0, 0.0], [wins, n - wins])
  measured = intervals.win_rate(outcomes)
  expected = scipy.stats.binomtest(wins, n).proportion_ci(method="wilson")
  assert measured.ci95_low == pytest.approx(expected.low, abs=1e-12)
  assert measured.ci95_high == pytest.approx(expected.high, abs=1e-12)
  assert measured.value == wins / n
  p = wins / n
  assert measured.sem == pytest.approx(math.sqrt(p * (1 - p) / n))
  assert measured.n == n


def test_ties_count_one_half_and_narrow_the_interval():
  outcomes = np.repeat([1.0, 0.5, 0.0], [30, 40, 30])
  measured = intervals.win_rate(outcomes)
  assert measured.value == 0.5
  # The standard deviation of the outcomes themselves.
  assert measured.sem == pytest.approx(outcomes.std() / 10)
  plain = intervals.win_rate(np.repeat([1.0, 0.0], 50))
  assert measured.ci95_low > plain.ci95_low
  # Not as far as if the rate of ties were known.
  assert measured.ci95_low < 0.5 - 1.96 * measured.sem


def test_ties_alone_leave_doubt():
  few, many = (intervals.win_rate(np.full(n, 0.5)) for n in (5, 500))
  assert (few.value, few.sem) == (0.5, 0.0)
  assert few.ci95_low < 0.3
  assert 0.45 < many.ci95_low < 0.5 < many.ci95_high < 0.55


def _tables(n):
  """Every (wins, ties, losses) of n, and the interval they give."""
  for wins, ties in itertools.product(range(n + 1), repeat=2):
    if wins + ties <= n:
      counts = [wins, ties, n - wins - ties]
      yield counts, intervals.win_rate(np.repeat([1.0, 0.5, 0.0], counts))


@pytest.mark.parametrize("n", [20, 64])
def test_coverage_over_all_tables(n):
  tables = list(_tables(n))
  counts = np.array([table for table, _ in tables])
  low = np.array([measured.ci95_low for _, measured in tables])
  high = np.array([measured.ci95_high for _, measured in tables])
  for win, tie in [
    *((0.5, 0.0), (0.1, 0.0), (0.3, 0.1), (0.3, 0.4)),
    *((0.05, 0.05), (0.1, 0.8), (0.02, 0.9), (0.005, 0.2)),
  ]:
    rates = [win, tie, 1 - win - tie]
    chance = scipy.stats.multinomial.pmf(counts, n, rates)
    truth = win + tie / 2
    coverage = chance[(low <= truth) & (truth <= high)].sum()
    assert coverage >= 0.939, rates
    # An interval of [0, 1] would cover too.
    assert (chance * (high - low)).sum() < 4.5 * np.sqrt(0.25 / n), rates


def test_wins_and_losses_are_mirror_images():
  outcomes = np.repeat([1.0, 0.5, 0.0], [3, 2, 7])
  one, other = intervals.win_rate(outcomes), intervals.win_rate(1 - outcomes)
  assert one.value == pytest.approx(1 - other.value)
  assert one.sem == pytest.approx(other.sem)
  assert one.ci95_low == pytest.approx(1 - other.ci95_high)


@pytest.mark.parametrize("outcomes", [[], [0.25], [1.0, np.nan], [2.0]])
def test_outcomes_are_zero_one_half_or_one(outcomes):
  with pytest.raises(ValueError, match="outcomes of 0, 1/2 or 1"):
    intervals.win_rate(np.array(outcomes, np.float64))


def test_the_mean_and_its_normal_interval():
  values = np.random.default_rng(0).normal(3.0, 2.0, 50)
  measured = intervals.mean(values)
  assert measured.value == pytest.approx(values.mean())
  assert measured.sem == pytest.approx(scipy.stats.sem(values))
  expected = scipy.stats.norm.interval(
    0.95, values.mean(), scipy.stats.sem(values)
  )
  assert (measured.ci95_low, measured.ci95_high) == pytest.approx(expected)
  assert measured.n == 50


def test_float32_values_are_averaged_in_float64():
  values = np.full(100_000, 0.1, np.float32)
  assert intervals.mean(values).value == pytest.approx(float(values[0]), 1e-12)


def test_an_interval_ends_where_values_cannot_lie():
  measured = intervals.mean(np.array([0.0, 0.0, 1.0]), low=0.0, high=1.0)
  assert measured.ci95_low == 0.0
  assert measured.ci95_high < 1.0
  measured = intervals.mean(np.array([1.0, 1.0, 0.0]), low=0.0, high=1.0)
  assert measured.ci95_high == 1.0


def test_the_jackknife_of_a_mean_is_its_standard_error():
  values = np.random.default_rng(1).gamma(2.0, 1.0, 30)
  left_out = (values.sum() - values) / 29
  measured = intervals.jackknife(float(values.mean()), left_out)
  plain = intervals.mean(values)
  assert measured.sem == pytest.approx(plain.sem)
  assert measured.ci95_high == pytest.approx(plain.ci95_high)


def test_one_value_has_no_standard_error():
  with pytest.raises(ValueError, match="1 values"):
    intervals.mean(np.array([1.0]))
  with pytest.raises(ValueError, match="1 observations"):
    intervals.jackknife(1.0, np.array([1.0]))
