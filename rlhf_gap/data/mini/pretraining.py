"""Pretraining texts for the miniatures' models, without labels or utilities.

Half of the rows are T5's span corruption (Raffel et al. 2020, section 3.1.4) of
a prompt with one response. The other half ask to repeat one of two responses,
so that a model has learned to tell them apart before it compares them.

  tom <extra_id_0> bike at school [RESPONSE A] <extra_id_1> lost a bike
  -> <extra_id_0> lost a <extra_id_1> sad tom <extra_id_2>
  repeat B tom lost a bike at school [RESPONSE A] ok [RESPONSE B] tom lost it
  -> tom lost it
"""

import collections.abc
import pathlib
from typing import TypedDict

from rlhf_gap import errors
from rlhf_gap.data.mini import corpora, rows
from rlhf_gap.data.mini.random_stream import RandomStream, text_key

NAME = "mini_pretrain"
PRETRAINED_SIZES = ("small", "policy", "golden")

_MARKERS = ("[RESPONSE A]", "[RESPONSE B]")
_ANSWERS = ("A", "B")
_SPAN_WORDS = 2
# Words per masked span: 2 of 7 words are masked. T5 masks 15%, but of texts
# fifty times as long.
_WORDS_PER_SPAN = 7
_FOLDER = pathlib.Path(__file__).parent / "pretrained"


class TextRow(TypedDict):
  """An input and its target, in the miniatures' vocabulary."""

  inputs: str
  targets: str


def texts(
  seed: int, start: int, count: int, *, split: str = "train"
) -> collections.abc.Iterator[TextRow]:
  """Yields rows `start` to `start + count - 1`, from all four corpora.

  Args:
    seed: seed of the rows.
    start: index of the first row, >= 0.
    count: number of rows, >= 0.
    split: the prompts' split: "train", "validation" or "test".

  Returns:
    The rows, each a pure function of (seed, split, index).

  Raises:
    UserError: unknown split.
    ValueError: `start` or `count` is negative.
  """
  rows.check_range(split, start, count)
  return (_text(seed, split, index) for index in range(start, start + count))


def _text(seed: int, split: str, index: int) -> TextRow:
  rng = RandomStream(text_key(NAME, seed, split, index))
  corpus = rng.choice(tuple(corpora.CORPORA))
  # A derived seed, so that a study with the same seed sees different rows.
  (row,) = rows.pairs(corpus, text_key(NAME, seed), index, 1, split=split)
  responses = (row["response_a"], row["response_b"])
  if rng.chance(0.5):
    return _repeat(rng.below(2), row["prompt"], responses)
  words = [*row["prompt"].split(), _MARKERS[0], *responses[0].split()]
  return _corrupt(rng, words)


def _repeat(which: int, prompt: str, responses: tuple[str, str]) -> TextRow:
  sides = zip(_MARKERS, responses, strict=True)
  shown = " ".join(f"{marker} {response}" for marker, response in sides)
  return {
    "inputs": f"repeat {_ANSWERS[which]} {prompt} {shown}",
    "targets": responses[which],
  }


def _corrupt(rng: RandomStream, words: list[str]) -> TextRow:
  """Replaces spans of words by sentinels, like T5."""
  count = max(1, len(words) // _WORDS_PER_SPAN)
  starts = sorted(rng.shuffled(range(len(words) - 1))[:count])
  inputs: list[str] = []
  targets: list[str] = []
  seen = sentinel = 0
  for start in starts:
    if start < seen:  # overlaps the previous span
      continue
    end = start + _SPAN_WORDS
    inputs += [*words[seen:start], f"<extra_id_{sentinel}>"]
    targets += [f"<extra_id_{sentinel}>", *words[start:end]]
    seen, sentinel = end, sentinel + 1
  return {
    "inputs": " ".join([*inputs, *words[seen:]]),
    "targets": " ".join([*targets, f"<extra_id_{sentinel}>"]),
  }


def pretrained(size: str) -> str:
  """Returns the folder of a committed Hugging Face T5 checkpoint.

  Args:
    size: "small", "policy" (also for the proxy) or "golden"; see
      gin_configs/models.

  Raises:
    UserError: an unknown size.
  """
  if size not in PRETRAINED_SIZES:
    raise errors.UserError(
      f"size={size!r}: no such pretrained miniature; expected one of"
      f" {', '.join(PRETRAINED_SIZES)}"
    )
  return str(_FOLDER / size)
