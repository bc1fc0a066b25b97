"""Claims about policies as classifiers (Figures 6, 7, 8 and Appendix E.1)."""

import dataclasses

import pytest

from tests.analysis import exact
from tests.paper import answers
from tests.paper.answers import NO, OPEN, YES

_PROXY = "the proxy knows online data best"
_OFFLINE = "offline classifies online data better than online does"


def _classified(seeds=(0, 1, 2), spread=0.0, **accuracies):
  made = [
    record
    for arm, value in accuracies.items()
    for record in exact.classifier(
      arm,
      {30: value, 60: value},
      seeds=seeds,
      spread=spread if arm == "proxy" else 0.0,
    )
  ]
  return exact.evidence(answers.flat_arms(online=0.5), online_data=made)


@pytest.mark.parametrize(
  ("name", "accuracies", "verdict"),
  [
    (_PROXY, {"proxy": 0.8, "online": 0.5, "offline": 0.6}, YES),
    (_PROXY, {"proxy": 0.55, "online": 0.5, "offline": 0.6}, NO),
    (_OFFLINE, {"proxy": 0.8, "online": 0.5, "offline": 0.6}, YES),
    (_OFFLINE, {"proxy": 0.8, "online": 0.6, "offline": 0.5}, NO),
    (_PROXY, {"proxy": 0.8, "online": 0.5}, OPEN),
  ],
)
def test_who_knows_online_data(name, accuracies, verdict):
  answers.check(name, _classified(**accuracies), verdict)


def test_who_knows_online_data_is_open_with_unlike_or_few_seeds():
  rates = {"proxy": 0.7, "online": 0.6, "offline": 0.6}
  answers.check(_PROXY, _classified(spread=answers.WIDE, **rates), OPEN)
  answers.check(_PROXY, _classified(seeds=(0, 1), **rates), OPEN)


def _trained(online, tandem, offline, metric, **kw):
  levels = {"online": online, "tandem": tandem, "offline": offline}
  return exact.evidence(
    {k: exact.flat(0.4, **{metric: v}) for k, v in levels.items()}, **kw
  )


_BETTER = "offline makes the better classifier"
_WINNERS = "offline lowers the winners' likelihood most"
_EVEN = "offline lowers even the winners' likelihood"
_CHANCE = "self-classification is chance"


@pytest.mark.parametrize(
  ("name", "metric", "levels", "verdict"),
  [
    (_BETTER, "pair_accuracy_sum", (0.55, 0.6, 0.7), YES),
    (_BETTER, "pair_accuracy_sum", (0.7, 0.6, 0.55), NO),
    (_WINNERS, "chosen_log_ratio_nats", (-2.0, -3.0, -9.0), YES),
    (_WINNERS, "chosen_log_ratio_nats", (-9.0, -3.0, -2.0), NO),
    (_WINNERS, "chosen_log_ratio_nats", (-2.0, -9.0, -5.0), NO),
    (_EVEN, "chosen_log_ratio_nats", (2.0, 3.0, -1.0), YES),
    (_EVEN, "chosen_log_ratio_nats", (-2.0, -3.0, 1.0), NO),
    (_CHANCE, "own_pair_accuracy_sum", (0.51, 0.5, 0.49), YES),
    (_CHANCE, "own_pair_accuracy_sum", (0.7, 0.5, 0.51), NO),
    (_CHANCE, "own_pair_accuracy_sum", (0.5, 0.5, 0.4), NO),
  ],
)
def test_what_training_does_to_pairs(name, metric, levels, verdict):
  answers.check(name, _trained(*levels, metric), verdict)
  answers.check(name, _trained(*levels, metric, seeds=(0, 1)), OPEN)
  answers.check(name, _trained(*levels, "another_metric"), OPEN)


def test_unlike_seeds_leave_self_classification_open():
  metric = "own_pair_accuracy_sum"
  answers.check(_CHANCE, _trained(0.5, 0.5, 0.5, metric, spread=0.03), OPEN)


def test_runs_that_were_not_evaluated_at_their_end_are_named():
  metric = "pair_accuracy_sum"
  evidence = _trained(0.55, 0.6, 0.7, metric)
  cut = [
    record
    for record in evidence.records
    if (record.run.name, record.checkpoint.step) != ("offline/seed_1", 30)
  ]
  evidence = dataclasses.replace(
    evidence, arms=exact.arms.group(cut), records=tuple(cut)
  )
  answer = answers.answer(_BETTER, evidence)
  assert answer.verdict is OPEN
  assert "offline/seed_1 was evaluated up to step 20 of 30" in answer.reason


_TELLS = "accuracy says little of offline policies' win rates"


def _relation(slope, noise=0.0, seeds=(0, 1, 2)):
  """Win rate = 0.3 + slope (accuracy - 0.6), and a wave of no relation."""
  wave = (1, -1, -1, 1)
  paths = {}
  for number, arm in enumerate(("online", "tandem", "offline")):
    accuracies = [0.5 + 0.03 * number + 0.06 * k for k in range(4)]
    paths[arm] = [
      (
        0.5 * 2**k,
        0.3 + slope * (accuracies[k] - 0.6) + noise * wave[k],
        {"pair_accuracy_sum": accuracies[k]},
      )
      for k in range(4)
    ]
  return exact.evidence(paths, seeds=seeds)


@pytest.mark.parametrize(
  ("evidence", "verdict"),
  [
    (_relation(0.0, 0.1), YES),
    (_relation(-1.0), NO),  # as strong a relation, of the other sign
    (_relation(1.0), NO),
    (_relation(1.0, seeds=(0, 1)), OPEN),
    (exact.evidence(answers.flat_arms(online=0.5)), OPEN),
  ],
)
def test_whether_accuracy_tells_the_win_rate(evidence, verdict):
  answers.check(_TELLS, evidence, verdict)


def test_a_correlation_without_the_offline_runs_is_no_answer():
  whole = _relation(0.0, 0.1)
  found = {name: arm for name, arm in whole.arms.items() if name != "offline"}
  answer = answers.answer(_TELLS, dataclasses.replace(whole, arms=found))
  assert answer.verdict is OPEN
  assert answer.reason == "there are no records of the arm offline"
