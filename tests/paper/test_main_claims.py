"""Claims: each answer can come about, with its numbers, and says why."""

import dataclasses
import math
import re

import numpy as np
import pytest

from rlhf_gap.analysis import arms, statistics, summary
from rlhf_gap.analysis.claims import answer_all
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.paper import fig_01_04, registry, setting
from rlhf_gap.records import Measurement
from tests.analysis import made_up

SETTINGS = statistics.BootstrapSettings(replicates=100)
YES, NO, OPEN = (
  Verdict.SUPPORTED,
  Verdict.CONTRADICTED,
  Verdict.UNDERPOWERED,
)
BY_NAME = {claim.name: claim for claim in registry.CLAIMS}
# Claims of single figures have files of their own.
GENERAL = (*fig_01_04.FIGURES_1_AND_4.claims, *setting.CLAIMS)


def _evidence(truths, judges=(), num_seeds=3, prompts=300, **world):
  made = made_up.World(
    num_prompts=prompts, num_seeds=num_seeds, **world
  ).records(truths)
  named = {judge.name: judge for judge in judges}
  return Evidence("task", arms.group(made), (), named, SETTINGS)


def _answer(name, evidence):
  return BY_NAME[name].answer(evidence)


@pytest.fixture(scope="module")
def realistic():
  judges = made_up.study().tasks[0].judges
  return _evidence(made_up.ARMS, judges, prompts=1000, seed_std=0.004)


def test_a_realistic_study_supports_the_paper(realistic):
  answered = answer_all(realistic, GENERAL)
  assert [a.claim for a in answered] == list(GENERAL)
  # The share closed is near one half, no bound at low KLs is tight, and golden
  # and utility are sampled independently of each other.
  undecided = {
    "online is nowhere behind",
    "shuffled online data do not close the gap",
    "shuffled online data do not close the gap at the peak",
    "golden is over-optimized",
    "golden judges the policies' samples well",
  }
  verdicts = {a.claim.name: a.answer.verdict for a in answered}
  assert {v for n, v in verdicts.items() if n not in undecided} == {YES}
  line = answered[0].line
  assert line.startswith("task: online beats offline: supported; win rate")
  assert line.endswith("at the peak (1,000 prompts, 3 seeds)")
  assert "nats" in line


def test_no_answer_lacks_its_n_and_interval(realistic):
  for answered in answer_all(realistic, GENERAL):
    numbers = answered.answer.numbers
    assert "[" in numbers or "95% bounds" in numbers, numbers
    assert "prompts" in numbers or "pairs" in numbers, numbers


MAIN = "online beats offline"
TANDEM = "shuffled online data do not close the gap"
FLAT = made_up.Truth(a=0.1, b=0.06, most_kl_nats=30.0)


def test_the_opposite_is_reported_as_plainly():
  swapped = {
    "online": made_up.ARMS["tandem"],
    "offline": made_up.ARMS["online"],
    "tandem": made_up.ARMS["online"],
  }
  evidence = _evidence(swapped, prompts=1000)
  answer = _answer(MAIN, evidence)
  assert answer.verdict is NO
  assert re.search(r"win rate of online minus .* -0\.\d+ \[", answer.numbers)
  assert _answer(TANDEM, evidence).verdict is Verdict.MOOT


def test_few_prompts_or_seeds_are_underpowered():
  same = {"online": FLAT, "offline": FLAT}
  few = _answer(MAIN, _evidence(same, prompts=70, seed_std=0.05))
  assert few.verdict is OPEN
  assert "the interval holds both 0 and 0.02" in few.reason
  lone = _answer(MAIN, _evidence(made_up.ARMS, num_seeds=1))
  assert lone.verdict is OPEN
  assert lone.reason.startswith("1 seed; 3 are needed")
  assert "1 seed)" in lone.numbers


def test_a_missing_arm_is_named():
  answer = _answer(TANDEM, _evidence({"online": FLAT, "offline": FLAT}))
  assert answer.verdict is OPEN
  assert answer.reason == "there are no records of the arm tandem"
  assert str(answer) == ("underpowered; there are no records of the arm tandem")


def _exact(**by_arm):
  return Evidence(
    "task",
    {
      name: made_up.exact_arm(name, {("", s): path for s in (0, 1, 2)}, 400)
      for name, path in by_arm.items()
    },
    settings=SETTINGS,
  )


FALLS = "online and offline fall beyond a peak"
OVER = "the proxy is over-optimized"


@pytest.mark.parametrize(
  ("wins", "end_kl", "verdict"),
  [
    ((0.2, 0.5, 0.4), 9.0, YES),
    ((0.2, 0.5, 0.5), 9.0, NO),  # far beyond the peak, no fall
    ((0.2, 0.5, 0.5), 3.0, OPEN),  # not far enough to tell
  ],
)
def test_a_fall_is_denied_only_far_beyond_the_peak(wins, end_kl, verdict):
  falls = ([0.5, 1.0, 9.0], (0.2, 0.5, 0.4))
  other = ([0.5, 1.0, end_kl], wins)
  for online, offline in ((falls, other), (other, falls)):
    answer = _answer(FALLS, _exact(online=online, offline=offline))
    assert answer.verdict is verdict
    assert "online: " in answer.numbers
    assert "offline: " in answer.numbers


def _with_outcomes(evidence, metric, rates):
  def changed(run):
    wide = np.array(rates)[:, None] * np.ones((1, 400))
    outcomes = {**run.outcomes, metric: wide}
    return dataclasses.replace(run, outcomes=outcomes)

  (online,) = evidence.arms.values()
  configurations = tuple(
    dataclasses.replace(c, runs=tuple(map(changed, c.runs)))
    for c in online.configurations
  )
  arm = dataclasses.replace(online, configurations=configurations)
  return dataclasses.replace(evidence, arms={"online": arm})


@pytest.mark.parametrize(
  ("proxy", "verdict"),
  [((0.2, 0.5, 0.7), YES), ((0.2, 0.5, 0.4), NO), ((0.2, 0.5, 0.5), OPEN)],
)
def test_over_optimization_is_a_proxy_that_rises_while_golden_falls(
  proxy, verdict
):
  evidence = _exact(online=([0.5, 1.0, 9.0], (0.2, 0.5, 0.4)))
  answer = _answer(OVER, _with_outcomes(evidence, "proxy_win_rate", proxy))
  assert answer.verdict is verdict
  assert "golden -0.100" in answer.numbers
  assert ("does not rise" in answer.reason) == (verdict is NO)
  assert ("the interval holds 0" in answer.reason) == (verdict is OPEN)
  assert _answer(OVER, evidence).reason.startswith("the proxy was not asked")


def _judges(proxy_golden=0.82, golden_utility=0.91, proxy_utility=0.79):
  return (
    made_up.judge("golden", {"utility": golden_utility}),
    made_up.judge("proxy", {"golden": proxy_golden, "utility": proxy_utility}),
  )


@pytest.mark.parametrize(
  ("name", "judges", "verdict"),
  [
    ("the proxy is useful and fallible", _judges(), YES),
    ("the proxy is useful and fallible", _judges(0.52), NO),
    ("the proxy is useful and fallible", _judges(0.98), NO),
    ("the proxy is useful and fallible", _judges(0.71), OPEN),
    ("the proxy is useful and fallible", (), OPEN),
    ("golden is the better judge", _judges(), YES),
    ("golden is the better judge", _judges(0.8, 0.7, 0.8), NO),
    ("golden is the better judge", _judges(0.8, 0.8, 0.79), OPEN),
    ("golden is the better judge", _judges()[:1], OPEN),
  ],
)
def test_judges_are_judged(name, judges, verdict):
  named = {judge.name: judge for judge in judges}
  answer = _answer(name, Evidence("", {}, (), named, SETTINGS))
  assert answer.verdict is verdict
  assert answer.numbers or "was not compared with" in answer.reason


def test_the_difference_of_judges_has_a_normal_interval():
  golden, proxy = (
    Measurement(p, 0.01, p - 0.02, p + 0.02, 500) for p in (0.9, 0.8)
  )
  judges = {
    "golden": summary.Judge("golden", {"utility": golden}),
    "proxy": summary.Judge("proxy", {"utility": proxy}),
  }
  answer = _answer(
    "golden is the better judge", Evidence("", {}, (), judges, SETTINGS)
  )
  half = 1.959964 * math.sqrt(2) * 0.01
  assert f"+0.100 [{0.1 - half:+.3f}, {0.1 + half:+.3f}]" in answer.numbers


@pytest.mark.parametrize(
  ("rate", "verdict"), [(0.2, YES), (0.5, NO), (0.34, OPEN)]
)
def test_sft_must_leave_room(rate, verdict):
  coins = (np.arange(200) < rate * 200).astype(float)
  run = arms.Trajectory(
    "sft", 0, np.array([5]), np.zeros((1, 20)), {"win_rate": coins[None]}
  )
  sft = arms.Arm("sft", (arms.Configuration("", (run,)),))
  evidence = Evidence("", {"sft": sft}, settings=SETTINGS)
  assert _answer("there is room to rise", evidence).verdict is verdict


@pytest.mark.parametrize(
  ("offline", "verdict"),
  [(([2.0, 9.0], (0.2, 0.3)), YES), (([5.0, 9.0], (0.2, 0.3)), NO)],
)
def test_ranges_that_do_not_meet_are_said(offline, verdict):
  evidence = _exact(online=([0.5, 4.0], (0.2, 0.4)), offline=offline)
  answer = _answer("the arms reach a common KL", evidence)
  assert answer.verdict is verdict
  assert f"KL online 0.5 to 4, offline {offline[0][0]:.2g} to 9 nats" in (
    answer.numbers
  )


@pytest.mark.parametrize(("top", "verdict"), [(0.4, YES), (0.19, NO)])
def test_arms_that_do_not_rise_are_said(top, verdict):
  evidence = _exact(
    sft=([0.0], [0.2]),
    online=([0.5, 4.0], (0.2, 0.4)),
    offline=([0.5, 4.0], (top - 0.01, top)),
  )
  assert _answer("win rates rise", evidence).verdict is verdict


def test_an_arm_that_is_highest_at_the_end_says_so():
  rises = ([0.5, 1.0, 3.0], (0.2, 0.4, 0.5))
  evidence = _exact(online=rises, offline=([0.5, 1.0, 9.0], (0.2, 0.5, 0.4)))
  answer = _answer(FALLS, evidence)
  assert answer.verdict is OPEN
  assert "online: highest at the end, KL 3 nats" in answer.numbers


@pytest.mark.parametrize(
  ("golden", "verdict"),
  [((0.2, 0.5, 0.7), YES), ((0.2, 0.5, 0.4), NO), ((0.2, 0.5, 0.5), OPEN)],
)
def test_golden_is_over_optimized_if_it_rises_while_utility_falls(
  golden, verdict
):
  name = "golden is over-optimized"
  evidence = _exact(online=([0.5, 1.0, 9.0], golden))
  utility = _with_outcomes(evidence, "utility_win_rate", (0.2, 0.5, 0.4))
  answer = _answer(name, utility)
  assert answer.verdict is verdict
  assert "utility -0.100" in answer.numbers
  assert _answer(name, evidence).reason == "the hidden utility judged no arm"
