"""What the miniatures' models are pretrained on: no label, no utility.

Half of the rows are T5's span corruption (Raffel et al. 2020, section 3.1.4) of
a prompt with one response, half a skill in words: to repeat one of two
responses, so that a model has told two segments apart before it compares them.

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
from rlhf_gap.data.mini.draws import Draws, text_key

NAME = "mini_pretrain"
PRETRAINED_SIZES = ("small", "policy", "golden")

_MARKERS = ("[RESPONSE A]", "[RESPONSE B]")
_ANSWERS = ("A", "B")
_SPAN_WORDS = 2
# One span for so many words: 2 of 7 are hidden, where T5 hides 15% of texts
# fifty times as long.
_WORDS_A_SPAN = 7
_FOLDER = pathlib.Path(__file__).parent / "pretrained"


class TextRow(TypedDict):
  """An input and its target, in words of the miniatures' vocabulary."""

  inputs: str
  targets: str


def texts(
  seed: int, start: int, count: int, *, split: str = "train"
) -> collections.abc.Iterator[TextRow]:
  """Yields rows `start` to `start + count - 1`, of all four corpora.

  Args:
    seed: another seed gives other rows of the same kind.
    start: index of the first row, >= 0.
    count: how many rows, >= 0.
    split: "train", "validation" or "test": where the prompts are from.

  Returns:
    The rows, each a pure function of (seed, split, index).

  Raises:
    UserError: unknown split.
    ValueError: `start` or `count` is negative.
  """
  rows.check_range(split, start, count)
  return (_text(seed, split, index) for index in range(start, start + count))


def _text(seed: int, split: str, index: int) -> TextRow:
  draws = Draws(text_key(NAME, seed, split, index))
  corpus = draws.one_of(tuple(corpora.CORPORA))
  # A seed of its own: the comparisons of a study's seeds are other ones.
  (row,) = rows.pairs(corpus, text_key(NAME, seed), index, 1, split=split)
  responses = (row["response_a"], row["response_b"])
  if draws.chance(0.5):
    return _repeat(draws.below(2), row["prompt"], responses)
  words = [*row["prompt"].split(), _MARKERS[0], *responses[0].split()]
  return _corrupt(draws, words)


def _repeat(which: int, prompt: str, responses: tuple[str, str]) -> TextRow:
  sides = zip(_MARKERS, responses, strict=True)
  shown = " ".join(f"{marker} {response}" for marker, response in sides)
  return {
    "inputs": f"repeat {_ANSWERS[which]} {prompt} {shown}",
    "targets": responses[which],
  }


def _corrupt(draws: Draws, words: list[str]) -> TextRow:
  """Hides spans of the words behind sentinels, as T5 does."""
  count = max(1, len(words) // _WORDS_A_SPAN)
  starts = sorted(draws.shuffled(range(len(words) - 1))[:count])
  inputs: list[str] = []
  targets: list[str] = []
  seen = sentinel = 0
  for start in starts:
    if start < seen:  # within the span before it
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
  """Returns the folder of a committed checkpoint, a Hugging Face T5.

  Args:
    size: "small", "policy" (also the proxy's) or "golden", as in
      gin_configs/models.

  Raises:
    UserError: there is no such size.
  """
  if size not in PRETRAINED_SIZES:
    raise errors.UserError(
      f"no pretrained miniature is called {size!r}; there are"
      f" {', '.join(PRETRAINED_SIZES)}"
    )
  return str(_FOLDER / size)
