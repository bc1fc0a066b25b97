"""How many seeds or prompts a plan asks for."""

import numpy as np
import pytest
from scipy import stats

from rlhf_gap.analysis import power, verdicts
from rlhf_gap.analysis.resampling import Estimate


def _estimate(value, sem, seeds=3, share=0.0, prompts=512, confidence=0.95):
  return Estimate(
    value=value,
    sem=sem,
    ci95_low=value - 4.3 * sem,
    ci95_high=value + 4.3 * sem,
    num_prompts=prompts,
    num_seeds=seeds,
    degrees_of_freedom=2.0,
    prompts_share=share,
    confidence=confidence,
  )


def _positive(low, high):
  return low > 0


def test_power_is_that_of_simulated_t_tests():
  """Seeds only: a t-test on n normal values."""
  now = _estimate(0.05, 0.03)  # a seed's standard deviation is 0.052
  random = np.random.default_rng(0)
  for seeds in (3, 5, 9, 17):
    found = power.chance(now, _positive, seeds, 512)
    values = random.normal(0.05, 0.03 * 3**0.5, (20_000, seeds))
    sem = values.std(axis=1, ddof=1) / seeds**0.5
    t = stats.t.ppf(0.975, seeds - 1)
    simulated = np.mean(values.mean(axis=1) - t * sem > 0)
    assert found == pytest.approx(simulated, abs=0.01)


def test_more_seeds_never_help_less():
  now = _estimate(0.05, 0.04, share=0.3)
  chances = [power.chance(now, _positive, n, 512) for n in range(3, 40)]
  assert chances == sorted(chances)


def test_a_plan_is_the_smallest_that_suffices():
  now = _estimate(0.05, 0.03)
  planned = power.plan(now, _positive)
  assert planned.num_prompts == 512
  assert not planned.more_prompts
  few = planned.num_seeds - 1
  assert power.chance(now, _positive, planned.num_seeds, 512) >= power.POWER
  assert power.chance(now, _positive, few, 512) < power.POWER


def test_where_prompts_are_the_noise_a_plan_asks_for_prompts():
  planned = power.plan(_estimate(0.03, 0.03, share=0.95), _positive)
  assert planned.more_prompts
  assert planned.num_prompts > 512
  alone = power.plan(_estimate(0.03, 0.03, share=0.0), _positive)
  assert not alone.more_prompts
  assert str(planned).endswith(f"and {planned.num_prompts:,} prompts")


def test_what_no_study_of_a_reasonable_size_decides():
  hopeless = _estimate(0.0005, 0.05)
  assert power.plan(hopeless, _positive) is None
  assert "more than 100 seeds" in power.advice(hopeless, _positive)
  # One seed says nothing about how seeds vary.
  assert power.advice(_estimate(0.1, 0.03, seeds=1), _positive) == ""


def test_wider_intervals_need_more_seeds():
  usual = power.plan(_estimate(0.05, 0.03), _positive)
  wider = power.plan(_estimate(0.05, 0.03, confidence=0.99), _positive)
  assert wider.num_seeds > usual.num_seeds


@pytest.mark.parametrize("rule", [verdicts.exceeds, verdicts.harmless])
def test_an_open_verdict_says_what_would_decide_it(rule):
  verdict, reason = rule(_estimate(0.05, 0.03, share=0.3))
  assert verdict is verdicts.Verdict.UNDERPOWERED
  assert "would decide (80% power)" in reason
  verdict, reason = verdicts.within(_estimate(0.05, 0.03), 0.0, 0.1)
  assert verdict is verdicts.Verdict.UNDERPOWERED
  assert "at this effect" in reason
