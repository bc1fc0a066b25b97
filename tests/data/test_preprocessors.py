"""From text to token ids in their windows, on the byte vocabulary.

Its ids are the bytes plus 3, so that every expected value can be read.
"""

from typing import Any

import numpy as np
import pytest
import seqio
import tensorflow as tf

from rlhf_gap import errors
from rlhf_gap.data import preprocessors
from rlhf_gap.stores import Truncated
from tests import reference

pytestmark = pytest.mark.slow

BYTES = seqio.ByteVocabulary()
FEATURES = {"inputs": seqio.Feature(BYTES)}


def row(**changes: Any) -> dict[str, Any]:
  return {
    "prompt_head": "head ",
    "prompt_body": "0123456789",
    "prompt_tail": " end",
    "response_a": "alpha",
    "response_b": "beta",
    "label": 0,
    "prompt_id": "p",
    "prompt_repeats": False,
    "file": "f.jsonl",
    "line": 1,
  } | changes


def convert(
  converter: Any,
  rows: list[dict[str, Any]],
  windows: dict[str, int] | None,
  keep: str = "end",
  features: dict[str, seqio.Feature] = FEATURES,
) -> list[dict[str, Any]]:
  columns = {name: [r[name] for r in rows] for name in rows[0]}
  dataset = preprocessors.tokenize(
    tf.data.Dataset.from_tensor_slices(columns), features
  )
  arguments = {"keep": keep}
  if converter is preprocessors.to_preference:
    arguments["output_features"] = features
  return list(converter(dataset, windows, **arguments).as_numpy_iterator())


def text(tokens: np.ndarray) -> str:
  """Decodes the ids; EOS shows as $."""
  return "".join("$" if t == 1 else chr(t - 3) for t in tokens)


def test_pairs_put_the_preferred_response_first():
  rows = [row(), row(label=1)]
  first, second = convert(preprocessors.to_pairs, rows, None)
  assert text(first["inputs"]) == "head 0123456789 end$"
  assert (text(first["chosen"]), text(first["rejected"])) == ("alpha$", "beta$")
  assert (text(second["chosen"]), text(second["rejected"])) == (
    "beta$",
    "alpha$",
  )
  assert first["truncated"] == 0


@pytest.mark.parametrize(
  ("window", "keep", "prompt", "cut"),
  [
    (20, "end", "head 0123456789 end$", False),
    (19, "end", "head 123456789 end$", True),
    (19, "start", "head 012345678 end$", True),
    (12, "end", "head 89 end$", True),
    (12, "start", "head 01 end$", True),
    (10, "start", "head  end$", True),
    # Head and tail alone no longer fit: the head gives way first.
    (7, "start", "he end$", True),
    (5, "end", " end$", True),
    (3, "end", "nd$", True),
  ],
)
def test_truncation_takes_from_the_body_of_the_prompt(
  window, keep, prompt, cut
):
  windows = {"inputs": window, "targets": 8}
  for converter in (preprocessors.to_pairs, preprocessors.to_sft):
    (example, *_) = convert(converter, [row()], windows, keep)
    assert text(example["inputs"]) == prompt
    assert bool(example["truncated"] & Truncated.PROMPT) == cut
    assert example["prompt_length"] == 19


@pytest.mark.parametrize(
  ("window", "chosen", "rejected", "bits"),
  [
    (6, "alpha$", "beta$", 0),
    # "alpha" fits and its EOS does not: it is not known to end there.
    (5, "alpha", "beta$", Truncated.CHOSEN),
    (3, "alp", "bet", Truncated.CHOSEN | Truncated.REJECTED),
  ],
)
def test_a_response_that_is_too_long_is_cut_flagged_and_lacks_eos(
  window, chosen, rejected, bits
):
  windows = {"inputs": 32, "targets": window}
  (example,) = convert(preprocessors.to_pairs, [row()], windows)
  assert text(example["chosen"]) == chosen
  assert text(example["rejected"]) == rejected
  assert example["truncated"] == bits
  assert example["chosen_length"] == 5
  assert example["rejected_length"] == 4


def test_sft_gives_both_responses_each_with_its_own_flag():
  windows = {"inputs": 32, "targets": 5}
  first, second = convert(preprocessors.to_sft, [row()], windows)
  assert [text(e["targets"]) for e in (first, second)] == ["alpha", "beta$"]
  assert first["truncated"] == Truncated.RESPONSE
  assert second["truncated"] == 0


def test_prompts_come_once():
  rows = [row(), row(prompt_repeats=True), row(prompt_body="x")]
  examples = convert(preprocessors.to_prompts, rows, None)
  assert [text(e["inputs"]) for e in examples] == [
    "head 0123456789 end$",
    "head x end$",
  ]


def test_preference_text_and_its_label():
  rows = [row(), row(label=1)]
  first, second = convert(preprocessors.to_preference, rows, None)
  joined = "head 0123456789 end [RESPONSE A] alpha [RESPONSE B] beta$"
  assert text(first["inputs"]) == text(second["inputs"]) == joined
  assert (text(first["targets"]), text(second["targets"])) == ("A$", "B$")
  assert text(second["chosen"]) == "beta$"


@pytest.mark.parametrize("window", [49, 50, 56, 57, 58])
def test_the_preference_window_shortens_the_prompt_alone(window):
  # Two markers of 14, two responses in windows of 10, EOS: 49 is too small.
  windows = {"inputs": window, "targets": 10}
  if window == 49:
    with pytest.raises(errors.UserError, match="cannot hold two responses"):
      convert(preprocessors.to_preference, [row()], windows)
    return
  (example,) = convert(preprocessors.to_preference, [row()], windows)
  whole = "head 0123456789 end [RESPONSE A] alpha [RESPONSE B] beta$"
  assert len(whole) == 57
  joined = text(example["inputs"])
  assert len(joined) == min(window, 57)
  assert joined.endswith(" end [RESPONSE A] alpha [RESPONSE B] beta$")
  # Whoever joins the stored parts has nothing left to cut.
  assert text(example["prompt"])[:-1] == joined.split(" [RESPONSE A] ")[0]
  assert bool(example["truncated"] & Truncated.PROMPT) == (window < 57)


def test_cut_responses_keep_their_place_in_the_preference_text():
  windows = {"inputs": 64, "targets": 3}
  (example,) = convert(preprocessors.to_preference, [row()], windows)
  assert text(example["inputs"]) == (
    "head 0123456789 end [RESPONSE A] alp [RESPONSE B] bet$"
  )
  assert example["truncated"] == Truncated.CHOSEN | Truncated.REJECTED


def test_labels_of_several_tokens_are_refused(tmp_path):
  class Doubled(seqio.ByteVocabulary):
    """Writes every byte twice."""

    def _encode(self, s: str) -> list[int]:
      return [i for i in super()._encode(s) for _ in range(2)]

  features = {"inputs": seqio.Feature(Doubled())}
  with pytest.raises(errors.UserError, match="one id for each"):
    convert(preprocessors.to_preference, [row()], None, features=features)


def t5_vocabulary() -> seqio.SentencePieceVocabulary:
  model = reference.path("t5_vocabulary/sentencepiece.model")
  return seqio.SentencePieceVocabulary(model, 100)


@pytest.fixture(scope="module")
def t5_features() -> dict[str, seqio.Feature]:
  return {"inputs": seqio.Feature(t5_vocabulary())}


SUMMARY = row(
  prompt_head="SUBREDDIT: r/pets\n\nTITLE: My cat {sat}\n\nPOST: ",
  prompt_body="It's Tuesday;  she won't move.\n\nAny ideas?",
  prompt_tail="\n\nTL;DR:",
)
DIALOGUE = row(
  prompt_head="",
  prompt_body="[HUMAN] Hi\n[ASSISTANT] Hello.\n[HUMAN] Why?\n[ASSISTANT]",
  prompt_tail="",
)


@pytest.mark.parametrize("example", [SUMMARY, DIALOGUE])
def test_parts_joined_as_ids_are_the_ids_of_the_joined_text(
  t5_features, example
):
  whole = "".join(example[f"prompt_{p}"] for p in ("head", "body", "tail"))
  vocabulary = t5_features["inputs"].vocabulary
  (pair,) = convert(
    preprocessors.to_pairs, [example], None, features=t5_features
  )
  assert pair["inputs"].tolist() == [*vocabulary.encode(whole), 1]
  (compared,) = convert(
    preprocessors.to_preference, [example], None, features=t5_features
  )
  joined = f"{whole} [RESPONSE A] alpha [RESPONSE B] beta"
  assert compared["inputs"].tolist() == [*vocabulary.encode(joined), 1]
  # T5's ids of "A" and "B".
  assert compared["targets"].tolist() == [71, 1]


def test_a_response_without_a_token_is_left_out(t5_features):
  # T5's normalizer drops a zero-width space.
  rows = [row(response_b="\u200b"), row(response_a="kept")]
  examples = convert(preprocessors.to_pairs, rows, None, features=t5_features)
  assert len(examples) == 1
  assert examples[0]["chosen_length"] > 0
