"""Every form that preference data has, with its exact counts and text."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from rlhf_gap import errors
from rlhf_gap.data.own import columns
from tests.data_own import made_up
from tests.data_own.made_up import ASKED, BAD, GOOD, SYSTEM

RENDERED = (
  "[SYSTEM] Answer in one word.\n"
  "[HUMAN] Which colour has a ripe lemon?\n"
  "[ASSISTANT]"
)
MARKED = "[HUMAN] Which colour has a ripe lemon?\n[ASSISTANT]"
HH = "\n\nHuman: Which colour has a ripe lemon?\n\nAssistant:"

# Rows, settings, and the store's rows.
FORMS: dict[str, tuple[list[Any], dict[str, Any], list[tuple[str, ...]]]] = {
  "explicit": (
    [{"prompt": "The grass is", "chosen": " green.", "rejected": " loud."}],
    {},
    [("The grass is", " green.", " loud.")],
  ),
  "implicit, at a sentence": (
    [
      {
        "chosen": "What is grass like? It is green.",
        "rejected": "What is grass like? It is loud.",
      }
    ],
    {},
    [("What is grass like?", "It is green.", "It is loud.")],
  ),
  "implicit, at a word": (
    [{"chosen": "The grass is green.", "rejected": "The grass is great."}],
    {},
    [("The grass is", "green.", "great.")],
  ),
  "implicit, at a turn": (
    [
      {
        "chosen": "User: Hi\nAssistant: Hello. You?",
        "rejected": "User: Hi\nAssistant: Hello. Yes",
      }
    ],
    {},
    [("User: Hi\nAssistant:", "Hello. You?", "Hello. Yes")],
  ),
  "implicit, where the user says": (
    [{"chosen": "q => a b c", "rejected": "q => a b d"}],
    {"prompt_ends_with": "=>"},
    [("q =>", "a b c", "a b d")],
  ),
  "implicit, as hh-rlhf": (
    [{"chosen": f"{HH} It is yellow.", "rejected": f"{HH} It is red."}],
    {},
    [(MARKED, "It is yellow.", "It is red.")],
  ),
  "conversational": (
    [{"prompt": [SYSTEM, ASKED], "chosen": [GOOD], "rejected": [BAD]}],
    {},
    [(RENDERED, "Yellow.", "Yes, it has.")],
  ),
  "conversational and implicit": (
    [{"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}],
    {},
    [(MARKED, "Yellow.", "Yes, it has.")],
  ),
  "a prompt in text, whole conversations": (
    [
      {
        "prompt": ASKED["content"],
        "chosen": [ASKED, GOOD],
        "rejected": [ASKED, BAD],
      }
    ],
    {},
    [(MARKED, "Yellow.", "Yes, it has.")],
  ),
  "plain template": (
    [{"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}],
    {"template": "plain"},
    [("Which colour has a ripe lemon?", "Yellow.", "Yes, it has.")],
  ),
  "from and value": (
    [
      {
        "prompt": [{"from": "human", "value": "Hi"}],
        "chosen": [{"from": "gpt", "value": "Hello"}],
        "rejected": [{"from": "gpt", "value": "No"}],
      }
    ],
    {},
    [("[HUMAN] Hi\n[ASSISTANT]", "Hello", "No")],
  ),
  "text blocks": (
    [
      {
        "prompt": "Hi",
        "chosen": [
          {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello"}],
          }
        ],
        "rejected": [BAD],
      }
    ],
    {},
    [("[HUMAN] Hi\n[ASSISTANT]", "Hello", "Yes, it has.")],
  ),
  "prompts, each once": (
    [{"prompt": "one"}, {"prompt": [ASKED]}, {"prompt": "one"}],
    {},
    [("one",), (MARKED,)],
  ),
  "completion": (
    [{"prompt": "2 + 2 =", "completion": " 4"}],
    {},
    [("2 + 2 =", " 4")],
  ),
  "response": ([{"prompt": "a", "response": "b"}], {}, [("a", "b")]),
  "conversation": (
    [{"messages": [SYSTEM, ASKED, GOOD]}],
    {},
    [(RENDERED, "Yellow.")],
  ),
  "unpaired, good ones": (
    [
      {"prompt": "p", "completion": "good", "label": True},
      {"prompt": "p", "completion": "bad", "label": False},
    ],
    {"kind": "sft"},
    [("p", "good")],
  ),
  "unpaired, paired": (
    [
      {"prompt": "p", "completion": "good", "label": True},
      {"prompt": "q", "completion": "worse", "label": 0},
      {"prompt": "p", "completion": "bad", "label": False},
      {"prompt": "p", "completion": "left", "label": False},
      {"prompt": "q", "completion": "fine", "label": 1},
    ],
    {"pair_unpaired": True},
    [("p", "good", "bad"), ("q", "fine", "worse")],
  ),
  "scores": (
    [{"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 3.5, 2]}],
    {},
    [("p", "b", "a"), ("p", "c", "a"), ("p", "b", "c")],
  ),
  "scores, best and worst": (
    [{"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 3.5, 2]}],
    {"pairing": "best_worst"},
    [("p", "b", "a")],
  ),
  "ranks": (
    [{"prompt": "p", "responses": ["a", "b"], "ranks": [2, 1]}],
    {},
    [("p", "b", "a")],
  ),
  "sides": (
    [
      {
        "prompt": "p",
        "response_a": "a",
        "response_b": "b",
        "preference": "B",
      },
    ],
    {},
    [("p", "b", "a")],
  ),
  "mapped columns": (
    [{"question": "p", "good": "a", "chosen": "not this", "bad": "b"}],
    {"names": columns.parse("prompt=question,chosen=good,rejected=bad")},
    [("p", "a", "b")],
  ),
  "both responses for SFT": (
    [{"prompt": "p", "chosen": "a", "rejected": "b"}],
    {"kind": "sft"},
    [("p", "a"), ("p", "b")],
  ),
  "the chosen one for SFT": (
    [
      {"prompt": "p", "responses": ["a", "b", "c"], "scores": [5, 5, 1]},
    ],
    {"kind": "sft", "responses": "chosen"},
    [("p", "a"), ("p", "b")],
  ),
}


@pytest.mark.parametrize("name", FORMS)
def test_form(tmp_path: pathlib.Path, name: str):
  rows, settings, expected = FORMS[name]
  source = made_up.write(tmp_path / "rows.jsonl", *rows)
  report = made_up.import_rows(source, tmp_path / "store", **settings)
  assert made_up.texts(tmp_path / "store") == expected
  assert report.rows_read == len(rows)
  assert report.rows_written == len(expected)
  assert report.rows_read == report.rows_kept + sum(report.dropped.values())


def test_how_the_prompt_was_cut_is_counted(tmp_path: pathlib.Path):
  source = made_up.write(
    tmp_path / "rows.jsonl",
    {"chosen": "a\nb c", "rejected": "a\nb d"},
    {"chosen": "a? b", "rejected": "a? c"},
    {"chosen": "a? bc", "rejected": "a? bd"},
    {"chosen": "alike", "rejected": "almost"},
  )
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.notes == {"cut_at_line": 1, "cut_at_sentence": 2}
  assert report.dropped == {"no_shared_prompt": 1}
  assert made_up.texts(tmp_path / "store")[0] == ("a", "b c", "b d")


def test_ties_are_kept_with_weight_zero(tmp_path: pathlib.Path):
  source = made_up.write(
    tmp_path / "rows.jsonl",
    {"prompt": "p", "responses": ["a", "b", "c"], "scores": [2, 2, 1]},
  )
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.texts(tmp_path / "store")[0] == ("p", "a", "b")
  weights = made_up.column(tmp_path / "store", "weight")
  np.testing.assert_array_equal(weights, [0, 1, 1])
  r12 = made_up.column(tmp_path / "store", "judge_r12")
  np.testing.assert_array_equal(r12, [0.5, np.nan, np.nan])


def test_probabilities_are_the_stores_preference(tmp_path: pathlib.Path):
  side = {"prompt": "p", "response_a": "a", "response_b": "b"}
  source = made_up.write(
    tmp_path / "rows.jsonl",
    side | {"probability": 0.75},
    side | {"probability": 0.25},
    side | {"probability": 0.5},
  )
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.texts(tmp_path / "store") == [
    ("p", "a", "b"),
    ("p", "b", "a"),
    ("p", "a", "b"),
  ]
  found = {
    name: made_up.column(tmp_path / "store", name).tolist()
    for name in ("judge_r12", "judge_r21", "weight")
  }
  assert found == {
    "judge_r12": [0.75, 0.75, 0.5],
    "judge_r21": [0.25, 0.25, 0.5],
    "weight": [1, 1, 0],
  }


def test_a_judges_two_orders(tmp_path: pathlib.Path):
  source = made_up.write(
    tmp_path / "rows.jsonl",
    made_up.pair(1, judge_r12=0.875, judge_r21=0.25),
    made_up.pair(2, judge_r12=0.25, judge_r21=0.5),
    made_up.pair(3, judge_r12=None, judge_r21=None),
    made_up.pair(4, judge_r12=0.25),
  )
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.notes == {"rejected_is_more_probable": 1}
  assert made_up.skipped(tmp_path / "store") == [(4, "one_order_only")]
  assert made_up.texts(tmp_path / "store")[1][1] == "A stone of 2"
  r12 = made_up.column(tmp_path / "store", "judge_r12")
  np.testing.assert_array_equal(r12, np.float32([0.875, 0.5, np.nan]))
  r21 = made_up.column(tmp_path / "store", "judge_r21")
  np.testing.assert_array_equal(r21, np.float32([0.25, 0.25, np.nan]))


def test_a_template_of_ones_own(tmp_path: pathlib.Path):
  template = tmp_path / "template.json"
  template.write_text(
    json.dumps(
      {
        "system": "({content})",
        "user": "Q: {content}",
        "assistant": "A: {content}",
        "answer": "A:",
        "separator": " | ",
      }
    )
  )
  turns = [SYSTEM, ASKED, GOOD, {"role": "user", "content": "And a lime?"}]
  source = made_up.write(
    tmp_path / "rows.jsonl",
    {"prompt": turns, "chosen": [GOOD], "rejected": [BAD]},
  )
  made_up.import_rows(source, tmp_path / "store", template=str(template))
  assert made_up.texts(tmp_path / "store")[0][0] == (
    "(Answer in one word.) | Q: Which colour has a ripe lemon? | A: Yellow."
    " | Q: And a lime? | A:"
  )
  template.write_text('{"user": "no content"}')
  with pytest.raises(errors.UserError, match="user has no {content}"):
    made_up.import_rows(source, tmp_path / "other", template=str(template))


@pytest.mark.parametrize(
  ("settings", "told"),
  [
    ({"kind": "sft", "form": "prompts"}, "prompts alone can become prompts"),
    ({"form": "scored"}, "needs a column for responses, scores; there are"),
    ({"pairing": "best_worst"}, "effect only on several responses"),
    ({"responses": "chosen"}, "effect only with --kind=sft"),
    ({"prompt_ends_with": ":"}, "effect only on implicit prompts"),
    ({"pair_unpaired": True}, "only applies to unpaired completions"),
    ({"names": columns.parse("prompt=q")}, "there is no column q, only"),
    ({"names": columns.parse("label=prompt")}, "does not read label"),
    ({"split": "test"}, "the files name no splits; give --split_by"),
    ({"split_by": "hash:2"}, "expected a share between 0 and 1"),
    ({"split_by": "file"}, "no split in the name of"),
    ({"split_by": "rows"}, "expected none, file, column:NAME or hash:SHARE"),
    ({"template": "chatml"}, "expected markers, plain or a file"),
  ],
)
def test_settings_that_do_not_fit(
  tmp_path: pathlib.Path, settings: dict[str, Any], told: str
):
  source = made_up.write(tmp_path / "rows.jsonl", made_up.pair())
  with pytest.raises(errors.UserError, match=told):
    made_up.import_rows(source, tmp_path / "store", **settings)
  assert not (tmp_path / "store").exists()


def test_unpaired_completions_are_not_paired_unasked(tmp_path: pathlib.Path):
  row = {"prompt": "p", "completion": "c", "label": True}
  source = made_up.write(tmp_path / "rows.jsonl", row)
  with pytest.raises(
    errors.UserError, match="--pair_unpaired to pair the good"
  ):
    made_up.import_rows(source, tmp_path / "store")


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("prompt", "is not USE=COLUMN"),
    ("promt=q", "did you mean prompt?"),
    ("prompt=a,prompt=b", "a second time"),
    ("prompt=a,chosen=a", "a second time"),
  ],
)
def test_wrong_columns_flags(text: str, told: str):
  with pytest.raises(errors.UserError, match=told):
    columns.parse(text)
