"""Repeated looks: what each may spend, and answers that stay."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from rlhf_gap.analysis import looks
from rlhf_gap.analysis.claims import Answer, AnsweredClaim, Claim
from rlhf_gap.analysis.verdicts import Verdict


@pytest.mark.parametrize(
  ("first", "most", "expected"),
  [
    (3, 12, (3, 6, 12)),
    (3, 10, (3, 6, 10)),
    (1, 3, (3,)),
    (4, 4, (4,)),
    (8, 9, (8, 9)),
    (5, 4, (5,)),
  ],
)
def test_looks_double(first, most, expected):
  assert looks.planned(first, most) == expected


@pytest.mark.parametrize(
  "seeds", [(3, 6, 12), tuple(range(3, 13)), (8,), (3, 100)]
)
def test_all_looks_together_spend_five_percent(seeds):
  confidences = looks.confidences(seeds)
  assert sum(1 - c for c in confidences) == pytest.approx(0.05)
  assert all(0.95 - 1e-12 <= c < 1 for c in confidences)


def test_looking_at_every_seed_is_wrong_as_often_as_it_says():
  """Means of normal values without an effect, t-tested after every value."""
  seeds = tuple(range(3, 13))
  random = np.random.default_rng(0)
  values = random.normal(size=(20_000, seeds[-1]))
  wrong = np.zeros((2, len(values)), bool)
  for count, confidence in zip(seeds, looks.confidences(seeds), strict=True):
    seen = values[:, :count]
    t = seen.mean(axis=1) / (seen.std(axis=1, ddof=1) / count**0.5)
    for row, level in enumerate((confidence, 0.95)):
      wrong[row] |= np.abs(t) > stats.t.ppf(0.5 + level / 2, count - 1)
  spent, naive = wrong.mean(axis=1)
  assert spent <= 0.05
  assert naive > 0.1


def _answered(verdict, utility=None, reason=""):
  claim = Claim("a claim", "It holds.", "nobody", decide=lambda _: None)
  answer = Answer(verdict, f"{verdict} +0.1 [0.0, 0.2]", reason)
  by_judge = {"proxy": Answer(Verdict.UNDERPOWERED, "")}
  if utility is not None:
    by_judge["utility"] = Answer(utility, "+0.3")
  return AnsweredClaim(claim, "a task", answer, by_judge)


def test_a_decision_stays():
  first = looks.decisions([_answered(Verdict.SUPPORTED)], (), 3)
  assert [(d.judge, d.verdict, d.num_seeds) for d in first] == [
    ("golden", "supported", 3)
  ]
  later = _answered(Verdict.UNDERPOWERED, Verdict.CONTRADICTED)
  second = looks.decisions([later], first, 6)
  assert second[0] == first[0]
  assert [(d.judge, d.num_seeds) for d in second[1:]] == [("utility", 6)]
  final = looks.final(later, second)
  assert final.answer.verdict is Verdict.SUPPORTED
  assert final.answer.reason == "decided at 3 seeds"
  assert final.answer.numbers == first[0].numbers
  assert final.by_judge["utility"].verdict is Verdict.CONTRADICTED
  assert final.by_judge["proxy"] == later.by_judge["proxy"]


def test_a_contradiction_after_support_changes_nothing():
  first = looks.decisions([_answered(Verdict.SUPPORTED)], (), 3)
  assert looks.decisions([_answered(Verdict.CONTRADICTED)], first, 6) == first


def test_which_claims_keep_a_study_going():
  open_, yes, moot = (
    Verdict.UNDERPOWERED,
    Verdict.SUPPORTED,
    Verdict.MOOT,
  )
  assert looks.undecided([_answered(open_)])
  assert looks.undecided([_answered(yes, open_)])
  # The proxy's opinion, always open here, does not.
  assert not looks.undecided([_answered(yes, yes)])
  assert not looks.undecided([_answered(moot)])
  other = dataclasses.replace(_answered(yes), task="another task")
  made = looks.decisions([_answered(yes)], (), 3)
  assert looks.final(other, made) == other
