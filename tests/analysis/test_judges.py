"""Another judge's win rates in golden's place."""

import numpy as np
import pytest

from rlhf_gap.analysis import agreement, arms, closing, judges, statistics
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.paper import registry
from tests.analysis import exact, made_up

SETTINGS = statistics.BootstrapSettings(replicates=100)


def _evidence(by_judge, prompts=40):
  """Online's outcomes of one checkpoint after another, by metric."""
  made = []
  for seed in (0, 1, 2):
    run = exact.records.TrainingRun(f"online/{seed}", "online", seed=seed)
    for number, kl in enumerate((0.5, 2.0)):
      by_prompt = {"kl_nats": np.full(prompts, kl)} | {
        metric: values[number] for metric, values in by_judge.items()
      }
      made.append(made_up.record(run, number, by_prompt))
  return Evidence("task", arms.group(made), tuple(made), settings=SETTINGS)


def _of(*rates):
  return [np.full(40, rate) for rate in rates]


def test_the_judges_win_rates_take_goldens_place_everywhere():
  evidence = _evidence(
    {
      "win_rate": _of(0.1, 0.2),
      "win_rate_vs_reference": _of(0.3, 0.4),
      "utility_win_rate": _of(0.5, 0.6),
      "proxy_win_rate": _of(0.7, 0.8),
      "proxy_win_rate_vs_reference": _of(0.8, 0.9),
    }
  )
  by_utility = judges.judged_by(evidence, "utility")
  for run in by_utility.arms["online"].runs:
    assert np.array_equal(run.outcomes["win_rate"], _of(0.5, 0.6))
    assert np.array_equal(run.outcomes["golden_win_rate"], _of(0.1, 0.2))
    # The utility was not asked about SFT: golden's answer is not taken for it.
    assert "win_rate_vs_reference" not in run.outcomes
  assert by_utility.records[0].metrics["win_rate"].value == pytest.approx(0.5)
  by_proxy = judges.judged_by(evidence, "proxy").arms["online"].runs[0]
  assert np.array_equal(
    by_proxy.outcomes["win_rate_vs_reference"], _of(0.8, 0.9)
  )
  assert judges.judged_by(evidence, "golden") is evidence
  assert np.array_equal(
    evidence.arms["online"].runs[0].outcomes["win_rate"], _of(0.1, 0.2)
  )


def test_a_judge_that_was_not_asked():
  evidence = _evidence({"win_rate": _of(0.1, 0.2)})
  with pytest.raises(UndefinedError, match="the hidden utility judged no arm"):
    judges.judged_by(evidence, "utility")
  assert registry.MAIN_CLAIM.answer_by(evidence, "utility") is None


def test_agreement_counts_prompts_that_the_utility_decides():
  utility = np.repeat([1.0, 0.0, 0.5, 1.0], 10)
  golden = np.repeat([1.0, 0.0, 1.0, 0.5], 10)  # right, right, -, half right
  evidence = _evidence(
    {"win_rate": [golden] * 2, "utility_win_rate": [utility, 1 - golden]}
  )
  first, second = agreement.with_utility(evidence.arm("online"), SETTINGS)
  assert first.rate.value == pytest.approx(2.5 / 3)
  assert (first.step, first.kl_nats) == (0, 0.5)
  assert second.rate.value == 0.0  # wrong wherever decided
  assert first.rate.ci95_low < 2.5 / 3 < first.rate.ci95_high


def test_agreement_needs_a_utility():
  evidence = _evidence({"win_rate": _of(0.0, 1.0)})
  with pytest.raises(UndefinedError, match="the hidden utility did not judge"):
    agreement.with_utility(evidence.arm("online"), SETTINGS)


def test_shares_are_those_of_the_levels():
  levels = {"online": 0.6, "offline": 0.2, "tandem": 0.5}
  paths = {name: exact.flat(level) for name, level in levels.items()}
  measured = exact.evidence(paths)
  for measure in (closing.at_matched_kl, closing.at_the_peaks):
    found = measure(
      measured.arm("online"),
      measured.arm("offline"),
      measured.arm("tandem"),
      SETTINGS,
    )
    assert found.gap.value == pytest.approx(0.4)
    assert found.share.value == pytest.approx(0.75)
    assert found.beyond_half.value == pytest.approx(0.1)


def test_arms_without_a_common_kl_have_no_share():
  paths = {
    "online": exact.flat(0.6, (1.0, 4.0)),
    "offline": exact.flat(0.2, (1.0, 4.0)),
    "tandem": exact.flat(0.5, (5.0, 9.0)),
  }
  measured = exact.evidence(paths)
  with pytest.raises(UndefinedError, match="no common range"):
    closing.at_matched_kl(
      measured.arm("online"),
      measured.arm("offline"),
      measured.arm("tandem"),
      SETTINGS,
    )


@pytest.mark.parametrize(
  ("agrees", "verdict"), [(0.95, "supported"), (0.45, "contradicted")]
)
def test_whether_golden_judges_samples_well(agrees, verdict):
  (claim,) = (
    claim
    for claim in registry.CLAIMS
    if claim.name == "golden judges the policies' samples well"
  )
  random = np.random.default_rng(0)
  utility = (random.random((2, 400)) < 0.5).astype(float)
  golden = np.where(random.random((2, 400)) < agrees, utility, 1 - utility)
  evidence = _evidence(
    {"win_rate": golden, "utility_win_rate": utility}, prompts=400
  )
  assert claim.answer(evidence).verdict == verdict


def test_a_band_covers_a_whole_curve_more_often_than_its_points():
  """Of 60 curves of noise, the simultaneous ends miss at most a few."""
  from rlhf_gap.analysis import resampling

  missed_at_a_point = missed_by_band = 0
  for seed in range(60):
    random = np.random.default_rng(seed)
    values = random.normal(size=(8, 100))  # 8 points, 100 prompts

    def means(resamples, values=values):
      return resamples.prompts.mean(values)

    band = resampling.spread(means, resampling.Design(100, 1, 200, seed))
    missed_at_a_point += bool((band.high < 0).any())
    missed_by_band += bool((resampling.simultaneous_high(band) < 0).any())
  assert missed_at_a_point >= 6  # 8 points at 2.5% each: 11 expected
  assert missed_by_band <= 5  # 2.5% of 60: 1.5 expected
