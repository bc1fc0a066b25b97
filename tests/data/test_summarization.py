"""TL;DR comparisons: the prompt's layout, and what is no comparison."""

import pytest

from rlhf_gap.data.formats import rows, summarization
from tests.data import made_up


def test_prompt_and_summaries():
  row = made_up.tldr(7, "train", " Short.", "Long. ", choice=1)
  comparison = summarization.comparison(row)
  assert comparison.prompt == (
    "SUBREDDIT: r/pets\n\nTITLE: Title 7\n\nPOST: Post 7.\n\nIt goes on."
    "\n\nTL;DR:"
  )
  assert comparison.prompt_body == "Post 7.\n\nIt goes on."
  assert (comparison.response_a, comparison.response_b) == ("Short.", "Long.")
  assert comparison.chosen == "Long."
  assert comparison.published["confidence"] == 7


def test_a_row_without_id_shares_its_posts_prompt_id():
  row = made_up.tldr(7, "train", " One.", " Two.")
  bare = row | {
    "info": {
      "post": "Post 7.\n\nIt goes on.",
      "title": "Title 7",
      "subreddit": "r/pets",
    }
  }
  one, other = map(summarization.comparison, (row, bare))
  assert one.prompt_id == other.prompt_id
  assert one.prompt == other.prompt
  assert other.published["post_id"] == ""


@pytest.mark.parametrize("extra", [None, {}, {"confidence": None}])
def test_confidence_can_be_missing(extra):
  row = made_up.tldr(7, "train", " One.", " Two.", extra=extra)
  assert summarization.comparison(row).published["confidence"] == 0


def test_pair_id_does_not_depend_on_order():
  one = summarization.comparison(made_up.tldr(7, "train", " One.", " Two."))
  other = summarization.comparison(made_up.tldr(7, "train", "Two.", "One."))
  third = summarization.comparison(made_up.tldr(7, "train", "Two.", "Ones."))
  assert one.pair_id == other.pair_id != third.pair_id


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    (made_up.CNN_DM_ROW, "not_tldr"),
    (made_up.tldr(1, "train", " x", "x"), "identical_responses"),
    (made_up.tldr(1, "train", " x", "\n"), "empty_response"),
  ],
)
def test_dropped(row, reason):
  with pytest.raises(rows.DroppedError) as caught:
    summarization.comparison(row)
  assert caught.value.reason == reason


@pytest.mark.parametrize(
  ("changes", "reason"),
  [
    ({"choice": 2}, "bad_choice"),
    ({"choice": -1}, "bad_choice"),
    ({"choice": True}, "wrong_type"),
    ({"choice": "0"}, "wrong_type"),
    ({"info": "post"}, "wrong_type"),
    ({"info": {"id": "x", "title": "t", "subreddit": "s"}}, "missing_key"),
    ({"summaries": "none"}, "wrong_type"),
    ({"summaries": [{"text": "one"}]}, "not_two_summaries"),
    ({"summaries": [{"text": "one"}, {"words": "two"}]}, "missing_key"),
    ({"extra": {"confidence": 10}}, "bad_confidence"),
    ({"extra": 3}, "wrong_type"),
  ],
)
def test_malformed(changes, reason):
  row = made_up.tldr(1, "train", " One.", " Two.", **changes)
  with pytest.raises(rows.MalformedError) as caught:
    summarization.comparison(row)
  assert caught.value.reason == reason


def test_split_is_the_publishers():
  assert summarization.split({"split": "valid2"}) == "valid2"
  with pytest.raises(rows.MalformedError, match="unknown_split"):
    summarization.split({"split": "test"})
