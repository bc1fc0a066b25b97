"""Curves through checkpoints, and a frontier without a winner's curse."""

import math

import numpy as np
import pytest

from rlhf_gap.analysis import arms, curves, resampling
from tests.analysis import made_up


def test_joining_agrees_with_numpy():
  random = np.random.default_rng(0)
  x, y = random.normal(size=(2, 20, 6))
  grid = np.linspace(-2, 2, 41)
  found = curves.interpolate(x, y, grid)
  for row in range(20):
    order = np.argsort(x[row])
    expected = np.interp(grid, x[row][order], y[row][order])
    # What the data as they are do not reach is in no row.
    outside = (grid < x[0].min()) | (grid > x[0].max())
    expected[outside] = np.nan
    np.testing.assert_allclose(found[row], expected, atol=1e-12)
    assert 0 < outside.sum() < len(grid)


def test_two_checkpoints_at_one_kl_do_not_divide_by_zero():
  found = curves.interpolate(
    np.array([[1.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 3.0]]), np.array([1.5])
  )
  np.testing.assert_array_equal(found, [[2.0]])


def test_one_checkpoint_is_no_curve():
  found = curves.interpolate(np.ones((2, 1)), np.ones((2, 1)), np.ones(1))
  assert np.isnan(found).all()


def test_the_extent_is_what_all_seeds_of_a_configuration_reach():
  arm = made_up.exact_arm(
    "arm",
    {
      ("low", 0): ([0.0, 0.1, 2.0], [0.1, 0.2, 0.3]),
      ("low", 1): ([0.0, 0.2, 3.0], [0.1, 0.2, 0.3]),
      ("high", 0): ([1.0, 8.0], [0.2, 0.3]),
      ("lone", 0): ([50.0], [0.2]),
    },
  )
  low, high = curves.extent(arm)
  assert (math.exp(low), math.exp(high)) == pytest.approx((0.2, 8.0))
  low, high = curves.extent(arm, "sqrt")
  assert (low**2, high**2) == pytest.approx((0.2, 8.0))
  lone = made_up.exact_arm("lone", {("", 0): ([50.0], [0.2])})
  assert curves.extent(lone) is None
  assert curves.shared_extent(arm, lone) is None


def test_a_configuration_s_curve_is_the_mean_over_seeds():
  arm = made_up.exact_arm(
    "arm",
    {
      ("", 0): ([1.0, math.e**2], [0.2, 0.4]),
      ("", 1): ([1.0, math.e**2], [0.4, 0.8]),
    },
  )
  resamples = resampling.resample(resampling.Design(10, 2, 50))
  found = curves.by_configuration(arm, resamples, np.array([0.0, 1.0, 2.0]))
  mean = curves.mean_over_seeds(found.whole, found.weights)
  np.testing.assert_allclose(mean[0, 0], [0.3, 0.45, 0.6], atol=1e-12)
  np.testing.assert_array_equal(mean[:, 0], curves.frontier(found))
  # One seed is drawn at a time: each replicate is one of the two runs.
  middle = mean[1:, 0, 1]
  np.testing.assert_allclose(np.unique(middle.round(9)), [0.3, 0.6])


def _noisy_arm(num_configurations, random, prompts=400, seeds=1, luck=0.0):
  """Configurations of equal worth, one half everywhere, on coins.

  Each checkpoint of each run is lucky or not, by a standard deviation.
  """
  made = []
  for number in range(num_configurations):
    runs = []
    for seed in range(seeds):
      chance = 0.5 + luck * random.standard_normal((2, 1))
      coins = (random.random((2, prompts)) < chance).astype(float)
      kl = np.array([1.0, 4.0])[:, None] * np.ones((1, prompts))
      outcomes = {"win_rate": coins}
      name = f"{number}/{seed}"
      runs.append(arms.Trajectory(name, seed, np.array([1, 2]), kl, outcomes))
    made.append(arms.Configuration(str(number), tuple(runs)))
  return arms.Arm("noisy", tuple(made))


def test_a_large_sweep_of_noise_has_no_higher_frontier():
  random = np.random.default_rng(0)
  design = resampling.Design(400, 1, 2)
  grid = np.log(np.array([1.0, 2.0, 4.0]))
  fitted, naive, peaks = [], [], []
  for _ in range(60):
    found = curves.by_configuration(
      _noisy_arm(18, random), resampling.resample(design), grid
    )
    fitted.append(curves.frontier(found)[0].mean())
    naive.append(found.whole[0, 0].max(axis=0).mean())
    peaks.append(curves.highest(found)[0])
  # 0.025 is the error of one rate; the best of 18 looks 0.045 too good.
  assert np.mean(naive) > 0.53
  # Their own error over 60 arms is 0.003 and 0.005.
  assert abs(np.mean(fitted) - 0.5) < 0.01
  assert abs(np.mean(peaks) - 0.5) < 0.015


def test_a_large_sweep_of_lucky_runs_has_no_higher_frontier():
  """Luck of a run is common to both halves of its prompts."""
  random = np.random.default_rng(1)
  design = resampling.Design(100, 3, 2)
  grid = np.log(np.array([1.0, 2.0, 4.0]))
  fitted, by_prompts, peaks = [], [], []
  for _ in range(80):
    found = curves.by_configuration(
      _noisy_arm(8, random, 100, seeds=3, luck=0.08),
      resampling.resample(design),
      grid,
    )
    fitted.append(curves.frontier(found)[0].mean())
    even, odd = (part.mean(axis=0)[0] for part in (found.even, found.odd))
    best = np.argmax(even, axis=0)
    by_prompts.append(odd[best, np.arange(3)].mean())
    peaks.append(curves.highest(found)[0])
  # Chosen by prompts alone, the best of 8 keeps most of its luck.
  assert np.mean(by_prompts) > 0.53
  # Their own error over 80 arms is 0.005 and 0.007.
  assert abs(np.mean(fitted) - 0.5) < 0.015
  assert abs(np.mean(peaks) - 0.5) < 0.02


def test_a_seed_takes_what_is_best_for_the_others():
  by = np.array([[0.9, 0.1], [0.2, 0.3], [0.2, 0.4]])[:, None, :, None]
  value = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])[:, None, :, None]
  # Of the other two, seed 0 sees (0.2, 0.35), seed 1 (0.55, 0.25) and seed 2
  # (0.55, 0.2).
  everyone = curves.cross_fitted(by, value, np.ones((1, 3)))
  np.testing.assert_allclose(everyone, [[(1.0 + 2.0 + 4.0) / 3]])
  # Drawn alone, it chooses for itself.
  alone = curves.cross_fitted(by, value, np.array([[0.0, 2.0, 0.0]]))
  np.testing.assert_allclose(alone, [[3.0]])
  # An option that it lacks is none for it; without any there is no value.
  lacking = np.where(value == 1.0, np.nan, value)
  found = curves.cross_fitted(by, lacking, np.ones((1, 3)))
  np.testing.assert_allclose(found, [[(0.0 + 2.0 + 4.0) / 3]])
  nothing = curves.cross_fitted(
    by, np.full_like(value, np.nan), np.ones((1, 3))
  )
  assert np.isnan(nothing).all()


def test_the_frontier_is_the_best_configuration_at_each_kl():
  arm = made_up.exact_arm(
    "arm",
    {
      ("early", 0): ([1.0, 16.0], [0.4, 0.1]),
      ("late", 0): ([2.0, 16.0], [0.1, 0.5]),
    },
  )
  resamples = resampling.resample(resampling.Design(10, 1, 5))
  grid = np.log(np.array([0.5, 1.0, 1.5, 16.0]))
  found = curves.by_configuration(arm, resamples, grid)
  frontier = curves.frontier(found)[0]
  early = 0.4 - 0.3 * math.log(1.5) / math.log(16)
  np.testing.assert_allclose(frontier, [np.nan, 0.4, early, 0.5], atol=1e-12)
  assert curves.highest(found)[0] == pytest.approx(0.5)
  assert curves.place_of_highest(found)[0] == 3
