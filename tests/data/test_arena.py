"""Arena battles of all releases: winners, turns, contexts, splits."""

import json

import pytest

from rlhf_gap.data.formats import arena, rows
from tests.data.made_up import ARENA_55K_COLUMNS, battle, row_55k, talk


def mt_bench(first, second, turn, winner="model_a", judge="author_1"):
  row = battle(first, second, winner, judge=judge, turn=turn)
  return {k: v for k, v in row.items() if k not in ("tstamp", "language")}


def csv_row(*args) -> dict[str, str]:
  return dict(zip(ARENA_55K_COLUMNS, row_55k(*args), strict=True))


def test_a_single_turn():
  row = battle(talk("Why? ", " Because. "), talk("Why? ", "No."), "model_b")
  comparison = arena.comparison(row)
  assert comparison.prompt == "[HUMAN] Why?\n[ASSISTANT]"
  assert (comparison.response_a, comparison.response_b) == ("Because.", "No.")
  assert comparison.label == 1
  assert comparison.published["release"] == "arena_33k"


def test_later_turns_with_one_history_are_kept():
  row = battle(talk("Hi", "Yo", "And?", "One"), talk("Hi", "Yo", "And?", "Two"))
  prompt = "[HUMAN] Hi\n[ASSISTANT] Yo\n[HUMAN] And?\n[ASSISTANT]"
  assert arena.comparison(row).prompt == prompt


def test_later_turns_with_two_histories_are_dropped_or_cut():
  row = battle(
    talk("Hi", "Yo", "And?", "One"), talk("Hi", "Hey", "And?", "Two")
  )
  with pytest.raises(rows.DroppedError, match="different_contexts"):
    arena.comparison(row)
  comparison = arena.comparison(row, cut_to_shared_prefix=True)
  assert comparison.prompt == "[HUMAN] Hi\n[ASSISTANT]"
  assert (comparison.response_a, comparison.response_b) == ("Yo", "Hey")
  assert comparison.notes == ("cut_to_shared_prefix",)


def test_mt_bench_judges_the_turn_it_names():
  talks = talk("Q1", "A", "Q2", "C"), talk("Q1", "B", "Q2", "D")
  comparison = arena.comparison(mt_bench(*talks, turn=1))
  assert comparison.prompt == "[HUMAN] Q1\n[ASSISTANT]"
  assert (comparison.response_a, comparison.response_b) == ("A", "B")
  # The vote is about the second answers: it is never given to the first.
  with pytest.raises(rows.DroppedError, match="different_contexts"):
    arena.comparison(mt_bench(*talks, turn=2), cut_to_shared_prefix=True)


@pytest.mark.parametrize("turn", [0, 3])
def test_mt_bench_turn_outside_the_conversation(turn):
  talks = talk("Q1", "A", "Q2", "C"), talk("Q1", "B", "Q2", "D")
  with pytest.raises(rows.MalformedError, match="bad_turn"):
    arena.comparison(mt_bench(*talks, turn=turn))


def test_verdicts_of_a_model_are_dropped():
  row = mt_bench(talk("Q", "A"), talk("Q", "B"), 1, judge="gpt4_pair")
  with pytest.raises(rows.DroppedError, match="not_human"):
    arena.comparison(row)


@pytest.mark.parametrize(
  "winner", ["tie", "tie (bothbad)", "tie (inconsistent)", "both_bad"]
)
def test_ties(winner):
  with pytest.raises(rows.DroppedError, match="tie"):
    arena.comparison(battle(talk("Q", "A"), talk("Q", "B"), winner))


def test_csv_of_json_lists():
  comparison = arena.comparison(csv_row(["Q"], ["A"], ["B"], "010"))
  assert comparison.prompt == "[HUMAN] Q\n[ASSISTANT]"
  assert comparison.label == 1
  assert comparison.published["question_id"] == "30192"
  assert comparison.published["release"] == "arena_55k"
  with pytest.raises(rows.DroppedError, match="tie"):
    arena.comparison(csv_row(["Q"], ["A"], ["B"], "001"))


def test_csv_null_answer_is_an_empty_one():
  with pytest.raises(rows.DroppedError, match="empty_response"):
    arena.comparison(csv_row(["Q"], ["A"], [None], "100"))


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    (csv_row(["Q"], ["A"], ["B"], "110"), "unknown_winner"),
    (csv_row(["Q"], ["A"], ["B"], "000"), "unknown_winner"),
    (csv_row(["Q"], ["A"], ["B"], "0x1"), "unknown_winner"),
    (csv_row(["Q", "R"], ["A"], ["B", "C"], "100"), "bad_roles"),
    (csv_row(["Q"], ["A"], ["B"], "100") | {"prompt": "[Q"}, "malformed_json"),
  ],
)
def test_malformed_csv(row, reason):
  with pytest.raises(rows.MalformedError) as caught:
    arena.comparison(row)
  assert caught.value.reason == reason


def blocks(*texts: str) -> list[dict[str, str]]:
  return [{"type": "text", "text": text} for text in texts]


def test_140k_release_holds_typed_blocks():
  row = {
    "id": "c4b9",
    "model_a": "left",
    "model_b": "right",
    "winner": "model_a",
    "evaluation_session_id": "s",
    "conversation_a": [
      {"role": "user", "content": blocks("Q")},
      {"role": "assistant", "content": blocks("A", "more")},
    ],
    "conversation_b": [
      {"role": "user", "content": blocks("Q")},
      {"role": "assistant", "content": blocks("B")},
    ],
    "language": "pl",
  }
  comparison = arena.comparison(row)
  assert comparison.response_a == "A\nmore"
  assert comparison.published["release"] == "arena_140k"
  assert comparison.notes == ("not_english",)
  row["conversation_a"][0]["content"] = [{"type": "image", "image": "x"}]
  with pytest.raises(rows.DroppedError, match="not_text"):
    arena.comparison(row)


def test_conversations_as_json_in_a_string():
  row = battle(talk("Q", "A"), talk("Q", "B"))
  row["conversation_a"] = json.dumps(row["conversation_a"])
  assert arena.comparison(row).response_a == "A"


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    (battle(talk("Q", "A"), talk("Q", "B"), "model_c"), "unknown_winner"),
    (battle(talk("Q"), talk("Q")), "bad_roles"),
    (battle(talk("Q", "A")[::-1], talk("Q", "B")), "bad_roles"),
    (battle([{"content": "Q"}], talk("Q", "B")), "missing_key"),
    (battle(talk("Q", "A"), talk("Q", "B"), winner=None), "wrong_type"),
    ({"model_a": "left", "winner": "model_a"}, "missing_key"),
  ],
)
def test_malformed(row, reason):
  with pytest.raises(rows.MalformedError) as caught:
    arena.comparison(row)
  assert caught.value.reason == reason


@pytest.mark.parametrize(
  ("first", "second", "reason"),
  [
    (talk("Q", "A"), talk("Q", " "), "empty_response"),
    (talk("Q", "A"), talk("Q", "A "), "identical_responses"),
    (talk("", "A"), talk("", "B"), "empty_prompt"),
    (talk("Q", "A"), talk("R", "B"), "different_prompts"),
    (talk("Q", "A"), talk("Q", "B", "R", "C"), "different_prompts"),
  ],
)
def test_dropped(first, second, reason):
  with pytest.raises(rows.DroppedError) as caught:
    arena.comparison(battle(first, second))
  assert caught.value.reason == reason


def test_split_goes_by_the_first_question():
  questions = [f"Question {n}?" for n in range(500)]
  splits = [arena.split(battle(talk(q, "A"), talk(q, "B"))) for q in questions]
  later = [
    arena.split(battle(talk(q, "C", "More", "D"), talk(q, "E", "More", "F")))
    for q in questions
  ]
  assert splits == later
  # A tenth of 500, +- 6.7; 20 to 80 is more than four of these away.
  assert 20 < splits.count("validation") < 80


def test_what_is_a_battle():
  assert arena.is_battle(battle(talk("Q", "A"), talk("Q", "B")))
  assert arena.is_battle(csv_row(["Q"], ["A"], ["B"], "100"))
  assert not arena.is_battle({"chosen": "", "rejected": ""})
  # The 55,000 release's test file has no winner.
  assert not arena.is_battle({"id": 1, "model_a": "x", "prompt": "[]"})
