"""hh-rlhf rows: where the prompt ends, and what is no comparison."""

import pytest

from rlhf_gap.data.formats import anthropic, rows
from tests.data import made_up

ASKED = "\n\nHuman: Why?\n\nAssistant:"


def read(chosen: str, rejected: str, prompt: str = ASKED) -> rows.Comparison:
  row = made_up.dialogues(prompt, chosen, rejected)
  return anthropic.comparison(row, "helpful-base")


def test_turn_markers_become_words():
  prompt = "\n\nHuman: Hi \n\nAssistant: Yes?\nWell?\n\nHuman: Go\n\nAssistant:"
  comparison = read(" One.", " Two.", prompt)
  assert comparison.prompt == (
    "[HUMAN] Hi\n[ASSISTANT] Yes?\nWell?\n[HUMAN] Go\n[ASSISTANT]"
  )
  assert {comparison.response_a, comparison.response_b} == {"One.", "Two."}
  assert comparison.chosen == "One."


def test_shared_first_words_stay_in_the_responses():
  comparison = read(" It depends on you.", " It depends on me.")
  assert comparison.prompt == "[HUMAN] Why?\n[ASSISTANT]"
  assert comparison.chosen == "It depends on you."


def test_a_marker_inside_a_response_does_not_move_the_prompt():
  comparison = read(" Yes.\n\nAssistant: No.", " Maybe.")
  assert comparison.prompt == "[HUMAN] Why?\n[ASSISTANT]"
  assert comparison.chosen == "Yes.\n\nAssistant: No."
  assert comparison.notes == ("turn_count_mismatch",)


def test_a_written_human_is_no_marker():
  comparison = read(" Human: is a word.", " No.")
  assert comparison.chosen == "Human: is a word."


def test_an_empty_earlier_answer_keeps_its_turn():
  prompt = "\n\nHuman: A\n\nAssistant:\n\nHuman: B\n\nAssistant:"
  comparison = read(" C", " D", prompt)
  assert comparison.prompt == "[HUMAN] A\n[ASSISTANT]\n[HUMAN] B\n[ASSISTANT]"


@pytest.mark.parametrize(
  ("chosen", "rejected", "reason"),
  [
    (" Same", " Same ", "identical_responses"),
    (" ", " Words", "empty_response"),
    (" Words", "", "empty_response"),
    (" Words", " Words.\n\nHuman: Thanks!", "response_has_human_turn"),
    (" A\n\nHuman: B\n\nAssistant: C", " D", "response_has_human_turn"),
  ],
)
def test_dropped(chosen, rejected, reason):
  with pytest.raises(rows.DroppedError) as caught:
    read(chosen, rejected)
  assert caught.value.reason == reason


def test_dialogues_without_a_shared_turn_are_dropped():
  row = {
    "chosen": "\n\nHuman: A\n\nAssistant: 1",
    "rejected": "\n\nHuman: B\n\nAssistant: 2",
  }
  with pytest.raises(rows.DroppedError, match="no_shared_prompt"):
    anthropic.comparison(row, "helpful-base")


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    ({"chosen": ASKED}, "missing_key"),
    ({"chosen": ASKED, "rejected": None}, "wrong_type"),
    ({"chosen": ASKED, "rejected": ["x"]}, "wrong_type"),
    ({"chosen": "Why?", "rejected": ASKED}, "not_a_dialogue"),
  ],
)
def test_malformed(row, reason):
  with pytest.raises(rows.MalformedError) as caught:
    anthropic.comparison(row, "helpful-base")
  assert caught.value.reason == reason


def test_half_a_utf16_character_is_dropped():
  with pytest.raises(rows.DroppedError, match="unpaired_surrogate"):
    read(" \ud83d", " No.")


def test_order_depends_on_the_texts_and_not_on_the_label():
  pairs = [(f" answer {n}", f" reply {n}") for n in range(200)]
  labels = [read(*pair).label for pair in pairs]
  swapped = [read(second, first).label for first, second in pairs]
  assert swapped == [1 - label for label in labels]
  # A fair coin gives 100 +- 7; 60 to 140 is more than five of these away.
  assert 60 < sum(labels) < 140


@pytest.mark.parametrize("length", range(1, 40))
def test_the_prompt_ends_inside_the_longest_common_prefix(length):
  # Whatever the two sides share, the marker after it is not part of it.
  shared = "x" * length
  comparison = read(f" {shared}a\n\nAssistant: b", f" {shared}c")
  assert comparison.prompt == "[HUMAN] Why?\n[ASSISTANT]"
  assert comparison.chosen == f"{shared}a\n\nAssistant: b"
  longer = read(
    f" {shared}\n\nAssistant: a", f" {shared}\n\nAssistant: {shared}"
  )
  assert longer.prompt == f"[HUMAN] Why?\n[ASSISTANT] {shared}\n[ASSISTANT]"
  assert longer.chosen == "a"
