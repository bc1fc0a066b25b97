"""The rater: Bradley-Terry, Davidson's ties, and labels that follow them."""

import collections
import math

import pytest

from rlhf_gap.data import mini
from rlhf_gap.data.mini import rater
from rlhf_gap.data.mini.random_stream import RandomStream

# 99.9% quantiles of chi-square by degrees of freedom.
CHI_SQUARE = {1: 10.83, 2: 13.82, 10: 29.59}


def test_probability_is_the_sigmoid_of_the_difference():
  assert mini.preference_probability(2.5, 1.5) == pytest.approx(
    1 / (1 + math.exp(-1.0))
  )
  assert mini.preference_probability(-3.0, -3.0) == 0.5


def test_probability_saturates_without_overflow():
  assert mini.preference_probability(1e6, -1e6) == 1.0
  assert mini.preference_probability(-1e6, 1e6) == 0.0


@pytest.mark.parametrize("difference", [-2.0, 0.0, 0.3, 4.0])
def test_swapping_the_responses_swaps_the_probability(difference):
  forward = mini.preference_probability(difference, 0.0)
  assert forward + mini.preference_probability(0.0, difference) == (
    pytest.approx(1.0)
  )


def test_ties_are_davidson_s():
  # The weights of a, b and tie at a = 1, b = 0, nu = 0.6.
  weights = [math.exp(0.5), math.exp(-0.5), 0.6]
  assert mini.tie_probability(1.0, 0.0, 0.6) == pytest.approx(
    0.6 / sum(weights)
  )
  assert mini.tie_probability(5.0, 5.0, 0.6) == pytest.approx(0.6 / 2.6)
  assert mini.tie_probability(1.0, 0.0, 0.0) == 0.0
  assert mini.tie_probability(1.0, 0.0, 0.6) < mini.tie_probability(
    0.0, 0.0, 0.6
  )


@pytest.mark.parametrize("tie_weight", [0.0, 0.6])
@pytest.mark.parametrize("difference", [0.0, 1.0, -2.0])
def test_labels_have_the_stated_frequencies(difference, tie_weight):
  rng, count = RandomStream(11), 4_000
  labels = collections.Counter(
    rater.label(rng, difference, 0.0, tie_weight) for _ in range(count)
  )
  tie = mini.tie_probability(difference, 0.0, tie_weight)
  first = (1 - tie) * mini.preference_probability(difference, 0.0)
  expected = {0: first, 1: 1 - tie - first}
  if tie_weight:
    expected[mini.TIE] = tie
  assert set(labels) == set(expected)
  chi_square = sum(
    (labels[k] - count * p) ** 2 / (count * p) for k, p in expected.items()
  )
  assert chi_square < CHI_SQUARE[len(expected) - 1]


@pytest.mark.parametrize("name", mini.CORPORA)
def test_labels_of_the_rows_follow_their_utilities(name):
  bins = collections.defaultdict(list)
  for row in mini.pairs(name, seed=5, start=0, count=1_500):
    if row["label"] != mini.TIE:
      p = mini.preference_probability(row["utility_a"], row["utility_b"])
      bins[min(int(10 * p), 9)].append((p, row["label"] == 0))
  chi_square = sum(
    sum(won - p for p, won in rows) ** 2 / sum(p * (1 - p) for p, _ in rows)
    for rows in bins.values()
  )
  assert len(bins) == 10
  assert chi_square < CHI_SQUARE[10]
