"""Gaps, peaks, falls, quantiles and correlations that are known beforehand."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import integrate, stats

from rlhf_gap.analysis import (
  arms,
  correlation,
  decline,
  quantiles,
  resampling,
  statistics,
)
from tests.analysis import made_up

SETTINGS = statistics.BootstrapSettings(replicates=200)
TIGHT = {"abs": 1e-9}


def _line(low, high, at_low, at_high):
  """Win rates on a line in log KL, as 3 checkpoints."""
  kls = np.geomspace(low, high, 3)
  return kls, np.linspace(at_low, at_high, 3)


def _arm(name, *lines, seeds=(0, 1, 2)):
  return made_up.exact_arm(
    name, {(str(i), s): line for i, line in enumerate(lines) for s in seeds}
  )


def test_the_gap_of_two_lines_is_its_mean_over_the_shared_range():
  online = _arm("online", _line(1.0, 100.0, 0.3, 0.5))
  offline = _arm("offline", _line(0.1, 10.0, 0.2, 0.2))
  found = statistics.matched_gap(online, offline, SETTINGS)
  # Over KL 1 to 10 online goes from 0.3 to 0.4.
  assert found.mean.value == pytest.approx(0.15, **TIGHT)
  assert found.at_peak.value == pytest.approx(0.3, **TIGHT)
  assert (found.low_kl_nats, found.high_kl_nats) == pytest.approx((1.0, 10.0))
  assert found.mean.num_seeds == 3


def test_each_side_is_represented_by_its_best_configuration():
  online = _arm("online", _line(1.0, 9.0, 0.4, 0.4))
  offline = _arm(
    "offline", _line(1.0, 9.0, 0.1, 0.3), _line(1.0, 9.0, 0.3, 0.1)
  )
  found = statistics.matched_gap(online, offline, SETTINGS)
  # The frontier is 0.3 at both ends and 0.2 in the middle: mean 0.25.
  assert found.mean.value == pytest.approx(0.15, **TIGHT)


def test_in_sqrt_the_far_end_weighs_more():
  online = _arm("online", ([1.0, 4.0, 9.0], [0.2, 0.3, 0.5]))
  offline = _arm("offline", ([1.0, 9.0], [0.0, 0.0]))
  by_sqrt = statistics.matched_gap(online, offline, SETTINGS, coordinate="sqrt")
  # (0.2 + 0.3) / 2 and (0.3 + 0.5) / 2, over equal stretches of sqrt(KL).
  assert by_sqrt.mean.value == pytest.approx(0.325, **TIGHT)
  by_log = statistics.matched_gap(online, offline, SETTINGS)
  share = math.log(4) / math.log(9)
  expected = 0.25 * share + 0.4 * (1 - share)
  assert by_log.mean.value == pytest.approx(expected, abs=2e-3)


def test_arms_that_never_meet_have_no_gap():
  near = _arm("near", _line(0.1, 1.0, 0.2, 0.3))
  far = _arm("far", _line(2.0, 9.0, 0.2, 0.3))
  with pytest.raises(
    resampling.UndefinedError, match=r"near \(0.1 to 1 nats\).*not overlap"
  ):
    statistics.matched_gap(near, far, SETTINGS)


def _true_gap(first, second, found):
  """The integral of the difference over the shared range of log KL."""
  low, high = math.log(found.low_kl_nats), math.log(found.high_kl_nats)
  difference = lambda x: float(  # noqa: E731
    first.win_rate(math.exp(x)) - second.win_rate(math.exp(x))
  )
  return integrate.quad(difference, low, high)[0] / (high - low)


def test_a_known_gap_is_within_its_interval():
  truths = {
    "online": made_up.ARMS["online"],
    "tandem": made_up.ARMS["tandem"],
  }
  held, worlds = 0, 24
  for world in range(worlds):
    made = made_up.World(
      seed=world, num_prompts=100, seed_std=0.02, num_checkpoints=12
    ).records(truths)
    grouped = arms.group(made)
    found = statistics.matched_gap(
      grouped["online"],
      grouped["tandem"],
      statistics.BootstrapSettings(replicates=100, seed=world),
    )
    truth = _true_gap(truths["online"], truths["tandem"], found)
    held += found.mean.ci95_low <= truth <= found.mean.ci95_high
  # 95% of 24 is 23; fewer than 20 has a chance of 0.6%.
  assert held >= 20


def test_the_same_seed_gives_the_same_gap():
  grouped = arms.group(made_up.World(num_prompts=60, kl_prompts=20).records())
  gaps = [
    statistics.matched_gap(grouped["online"], grouped["offline"], settings)
    for settings in (SETTINGS, SETTINGS, dataclasses.replace(SETTINGS, seed=1))
  ]
  assert gaps[0] == gaps[1]
  assert gaps[0].mean.sem != gaps[2].mean.sem


def test_a_peak_is_found_where_it_is():
  kls = np.geomspace(0.1, 10, 9)
  wins = 0.4 - 0.1 * np.abs(np.log(kls))
  found = statistics.peak(_arm("arm", (kls, wins)), SETTINGS)
  assert found.win_rate.value == pytest.approx(0.4, **TIGHT)
  assert found.kl_nats == pytest.approx(1.0)
  assert not found.at_the_end
  rising = statistics.peak(_arm("arm", _line(0.1, 9.0, 0.1, 0.5)), SETTINGS)
  assert rising.at_the_end
  assert rising.kl_nats == pytest.approx(9.0)


def test_a_fall_is_measured_from_the_peak_to_the_end():
  arm = _arm("arm", ([1.0, 2.0, 5.0, 9.0], [0.2, 0.5, 0.4, 0.35]))
  found = decline.measure(arm, SETTINGS)
  assert found.win_rate.value == pytest.approx(0.15, **TIGHT)
  assert found.optimized is None
  assert (found.peak_kl_nats, found.end_kl_nats) == pytest.approx((2.0, 9.0))
  rising = _arm("arm", _line(0.1, 9.0, 0.1, 0.5))
  assert decline.measure(rising, SETTINGS).win_rate.value == 0.0


def test_the_configuration_that_falls_most_is_named():
  arm = _arm(
    "arm",
    ([1.0, 2.0], [0.5, 0.45]),
    ([1.0, 2.0, 4.0], [0.4, 0.5, 0.3]),
  )
  found = decline.measure(arm, SETTINGS)
  assert found.configuration == "1"
  assert found.win_rate.value == pytest.approx(0.2, **TIGHT)


def test_over_optimization_shows_in_the_proxy_too():
  grouped = arms.group(made_up.World(num_prompts=400).records())
  found = decline.measure(grouped["online"], SETTINGS)
  truth = made_up.ARMS["online"]
  kls = np.geomspace(0.1, truth.most_kl_nats, 8)
  wins = truth.win_rate(kls)
  lost = wins.max() - wins[-1]
  assert found.win_rate.ci95_low <= lost <= found.win_rate.ci95_high
  rise = truth.proxy_slope * (
    math.sqrt(kls[-1]) - math.sqrt(kls[wins.argmax()])
  )
  assert found.optimized.ci95_low <= rise <= found.optimized.ci95_high
  assert found.optimized.ci95_low > 0


def test_noise_about_a_plateau_is_no_fall():
  flat = made_up.Truth(a=0.0, b=0.0)
  low = 0
  for world in range(30):
    made = made_up.World(world, 100, 20, seed_std=0.0).records({"flat": flat})
    settings = statistics.BootstrapSettings(replicates=100, seed=world)
    low += (
      decline.measure(arms.group(made)["flat"], settings).win_rate.ci95_low > 0
    )
  # 2.5% of 30 are expected; five or more have a chance of 0.1%.
  assert low < 5


@pytest.mark.parametrize("q", [0.0, 0.25, 0.9, 1.0])
def test_the_quantile_agrees_with_numpy(q):
  random = np.random.default_rng(0)
  lines = [(np.geomspace(1, 9, 4), random.random(4)) for _ in range(3)]
  found = quantiles.quantile(_arm("arm", *lines), q, SETTINGS)
  every = np.concatenate([wins for _, wins in lines] * 3)
  expected = np.quantile(every, q, method="inverted_cdf")
  assert found.value == pytest.approx(expected, **TIGHT)


def test_a_correlation_is_pearson_s_within_an_interval():
  random = np.random.default_rng(0)
  x = random.normal(size=60)
  y = 0.6 * x + 0.8 * random.normal(size=60)
  groups = [str(i % 10) for i in range(60)]
  found = correlation.pearson(x, y, groups)
  assert found.value == pytest.approx(stats.pearsonr(x, y).statistic)
  assert found.ci95_low < 0.6 < found.ci95_high
  assert (found.num_points, found.num_groups) == (60, 10)


def test_with_as_many_runs_as_points_it_is_close_to_fisher_s_interval():
  random = np.random.default_rng(1)
  x = random.normal(size=400)
  y = 0.5 * x + random.normal(size=400)
  found = correlation.pearson(x, y, list(map(str, range(400))))
  fisher = stats.pearsonr(x, y).confidence_interval()
  assert found.ci95_low == pytest.approx(fisher.low, abs=0.02)
  assert found.ci95_high == pytest.approx(fisher.high, abs=0.02)


def test_copies_of_a_run_s_points_make_nothing_surer():
  random = np.random.default_rng(2)
  x, y = random.normal(size=(2, 8))
  groups = list("abcdefgh")
  once = correlation.pearson(x, y, groups)
  often = correlation.pearson(np.tile(x, 9), np.tile(y, 9), groups * 9)
  assert often.ci95_low == pytest.approx(once.ci95_low)
  assert often.ci95_high == pytest.approx(once.ci95_high)


def test_a_correlation_needs_runs_and_variation():
  x = np.arange(6.0)
  with pytest.raises(resampling.UndefinedError, match="2 runs"):
    correlation.pearson(x, x, list("aaabbb"))
  with pytest.raises(resampling.UndefinedError, match="vary"):
    correlation.pearson(x, np.ones(6), list("abcdef"))
  straight = correlation.pearson(x, 2 * x, list("abcdef"))
  assert straight.value == pytest.approx(1.0)
