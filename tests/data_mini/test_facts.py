"""What tools/measure_miniatures.py finds in 21,000 rows of each miniature."""

import json
import pathlib
import subprocess
import sys

import pytest

from rlhf_gap.data import mini

TOOL = pathlib.Path(__file__).parents[2] / "tools/measure_miniatures.py"


@pytest.fixture(scope="module")
def all_facts():
  # In a process of its own: run-time type checks slow the generators tenfold.
  done = subprocess.run(
    [sys.executable, str(TOOL), "--json"],
    capture_output=True,
    check=True,
    text=True,
  )
  return json.loads(done.stdout)


@pytest.fixture(params=mini.CORPORA)
def facts(request, all_facts):
  """The facts of one corpus."""
  return all_facts[request.param]


def test_there_are_enough_distinct_pairs_and_prompts(facts):
  assert facts["distinct_pairs"] >= 20_000
  assert facts["distinct_prompts"] >= 1_700


def test_words_are_a_few_dozen(facts):
  assert 30 <= facts["words"] <= 70


def test_a_tenth_to_three_tenths_of_pairs_hold_a_one_word_response(facts):
  assert 0.10 < facts["one_word_share"] < 0.30


def test_the_rater_is_noisy_but_worth_asking(facts):
  assert 0.77 < facts["label_agreement"] < 0.83


def test_the_best_response_is_far_above_the_average_one(facts):
  headroom = facts["utility_max"] - facts["utility_mean"]
  assert headroom > 1.5 * facts["utility_std"]


def test_only_the_arena_has_ties(all_facts):
  ties = {name: facts["tie_share"] for name, facts in all_facts.items()}
  assert 0.10 < ties.pop("mini_arena") < 0.25
  assert set(ties.values()) == {0}
