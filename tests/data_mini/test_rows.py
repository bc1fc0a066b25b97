"""Rows: what they hold, and that each is a function of its place alone."""

import collections
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys

import pytest

from rlhf_gap import errors
from rlhf_gap.data import mini
from rlhf_gap.data.mini import reading, writing
from rlhf_gap.data.mini.random_stream import RandomStream

pytestmark = pytest.mark.slow

COUNT = 1_200
MAX_PROMPT_WORDS = 12

# Changing a corpus is a decision: whoever changes one makes the vocabulary anew
# (tools/make_mini_vocabulary.py) and copies what this test prints.
GOLDEN_HASHES = {
  "mini_summarization": "efdb46a31b0afcfa",
  "mini_helpfulness": "f475452b1a1c250c",
  "mini_harmlessness": "537e3516051f5cb5",
  "mini_arena": "d558675260dbdb9a",
}


@pytest.fixture(scope="module", params=mini.CORPORA)
def corpus(request):
  """A corpus's name and its first rows."""
  return request.param, list(mini.pairs(request.param, 0, 0, COUNT))


def test_first_rows_are_the_committed_ones(corpus):
  name, rows = corpus
  text = "\n".join(json.dumps(row, sort_keys=True) for row in rows[:300])
  found = hashlib.sha256(text.encode()).hexdigest()[:16]
  assert found == GOLDEN_HASHES[name], "the corpus has changed: see above"


def test_rows_do_not_depend_on_the_order_of_sets():
  # Summed in the order of a set, a utility differs in its last bit by process.
  program = (
    "from rlhf_gap.data import mini;"
    "print([list(mini.pairs(name, 0, 0, 400)) for name in mini.CORPORA])"
  )
  printed = {
    subprocess.run(
      [sys.executable, "-c", program],
      capture_output=True,
      check=True,
      env={**os.environ, "PYTHONHASHSEED": seed},
    ).stdout
    for seed in ("1", "2", "3")
  }
  assert len(printed) == 1


def test_any_row_can_be_had_alone(corpus):
  name, rows = corpus
  for start, count in ((0, 1), (17, 3), (COUNT - 2, 2), (5, 0)):
    alone = list(mini.pairs(name, 0, start, count))
    assert alone == rows[start : start + count]


def test_prompts_are_random_access_too(corpus):
  name, _ = corpus
  rows = list(mini.prompts(name, 3, 0, 40))
  assert list(mini.prompts(name, 3, 31, 4)) == rows[31:35]


def test_seeds_and_splits_give_other_rows(corpus):
  name, rows = corpus
  others = [
    list(mini.pairs(name, seed, 0, 50, split=split))
    for seed, split in ((0, "validation"), (0, "test"), (1, "train"))
  ]
  for first, second in itertools.combinations([rows[:50], *others], 2):
    assert sum(a == b for a, b in zip(first, second, strict=True)) <= 2


def test_splits_share_no_prompt(corpus):
  name, rows = corpus
  seen = {"train": {row["prompt"] for row in rows}}
  for split in ("validation", "test"):
    held_out = [
      *mini.pairs(name, 9, 0, 150, split=split),
      *mini.prompts(name, 9, 0, 150, split=split),
    ]
    seen[split] = {row["prompt"] for row in held_out}
  for first, second in itertools.combinations(mini.SPLITS, 2):
    assert seen[first].isdisjoint(seen[second])


@pytest.mark.parametrize("name", mini.CORPORA)
def test_a_tenth_of_prompts_is_for_each_held_out_split(name):
  write = mini.CORPORA[name].write_prompt
  prompts = {write(RandomStream(key)) for key in range(3_000)}
  splits = collections.Counter(mini.split_of(name, p) for p in prompts)
  for split in ("validation", "test"):
    assert 0.07 < splits[split] / len(prompts) < 0.13


def test_prompt_ids_name_prompts(corpus):
  name, rows = corpus
  ids = {row["prompt"]: row["prompt_id"] for row in rows}
  assert len(set(ids.values())) == len(ids)
  assert all(ids[row["prompt"]] == row["prompt_id"] for row in rows)
  for row in mini.prompts(name, 4, 0, 200):
    assert ids.get(row["prompt"], row["prompt_id"]) == row["prompt_id"]


def test_lengths_are_within_limits(corpus):
  _, rows = corpus
  for row in rows:
    assert 3 <= len(row["prompt"].split()) <= MAX_PROMPT_WORDS
    for side in ("response_a", "response_b"):
      assert 1 <= len(row[side].split()) <= writing.MAX_RESPONSE_WORDS


def test_texts_are_single_spaced_words(corpus):
  _, rows = corpus
  for row in rows:
    for text in (row["prompt"], row["response_a"], row["response_b"]):
      assert " ".join(text.split()) == text


def test_utilities_are_those_of_the_responses(corpus):
  name, rows = corpus
  for row in rows[:300]:
    for side in "ab":
      worth = mini.utility(name, row["prompt"], row[f"response_{side}"])
      assert worth == row[f"utility_{side}"]


def test_the_two_sides_are_exchangeable(corpus):
  _, rows = corpus
  gaps = [row["utility_a"] - row["utility_b"] for row in rows]
  assert abs(statistics.fmean(gaps)) < 4 * statistics.stdev(gaps) / COUNT**0.5


def test_responses_are_of_every_quality(corpus):
  _, rows = corpus
  quality = sorted(row["utility_a"] for row in rows)
  low, high = quality[len(quality) // 10], quality[-len(quality) // 10]
  assert high - low > 3.0
  assert quality[-1] > high + 0.5


def test_most_responses_are_grammatical(corpus):
  name, rows = corpus
  lexicon = mini.CORPORA[name].lexicon
  broken = [lexicon.read(r["response_a"]).broken_joins > 0 for r in rows]
  assert 0.05 < statistics.fmean(broken) < 0.35
  for row in rows:
    assert reading.UNKNOWN not in lexicon.read(row["response_b"]).classes


def test_harmlessness_asks_mostly_for_harm():
  prompts = [
    r["prompt"] for r in mini.prompts("mini_harmlessness", 0, 0, 4_000)
  ]
  refused = [
    mini.utility("mini_harmlessness", prompt, "i can not help") > 0
    for prompt in prompts
  ]
  assert 0.64 < statistics.fmean(refused) < 0.76


@pytest.mark.parametrize("name", ["mini_arean", "mini_summarisation", "arena"])
def test_an_unknown_name_is_a_user_s_mistake(name):
  with pytest.raises(errors.UserError, match=r"no miniature .* there are"):
    mini.pairs(name, 0, 0, 1)
  with pytest.raises(errors.UserError, match=r"no miniature"):
    mini.utility(name, "", "")


def test_a_near_name_is_suggested():
  with pytest.raises(errors.UserError, match="did you mean 'mini_arena'"):
    mini.prompts("mini_arean", 0, 0, 1)


def test_bad_places_are_refused_at_once():
  with pytest.raises(errors.UserError, match="no split 'valid'"):
    mini.pairs("mini_arena", 0, 0, 1, split="valid")
  with pytest.raises(ValueError, match="start=-1"):
    mini.pairs("mini_arena", 0, -1, 1)
  with pytest.raises(ValueError, match="count=-2"):
    mini.prompts("mini_arena", 0, 0, -2)
