"""Rows of a miniature: each a pure function of (name, seed, split, index)."""

import collections.abc
from typing import TypedDict

import numpy as np
from jaxtyping import Float64

from rlhf_gap import errors
from rlhf_gap.data.mini import corpora, rater
from rlhf_gap.data.mini.random_stream import RandomStream, text_key

# A prompt's split is a hash of its text, independent of the seed: a tenth of
# the prompts for validation, a tenth for test and the rest for training.
SPLITS = ("train", "validation", "test")
_HELD_OUT_SPLITS = {0: "validation", 1: "test"}
_NUM_BUCKETS = 10


class PromptRow(TypedDict):
  """A prompt and its id, which depends only on the corpus and the text."""

  prompt: str
  prompt_id: str


class PairRow(PromptRow):
  """A comparison; `label` is the index of the better response, or `TIE`."""

  response_a: str
  response_b: str
  utility_a: float
  utility_b: float
  label: int


def split_of(name: str, prompt: str) -> str:
  """Returns the only split in which a prompt can occur."""
  bucket = text_key("split", name, prompt) % _NUM_BUCKETS
  return _HELD_OUT_SPLITS.get(bucket, "train")


def _sample_prompt(
  corpus: corpora.Corpus, split: str, rng: RandomStream
) -> PromptRow:
  while True:
    prompt = corpus.write_prompt(rng)
    if split_of(corpus.name, prompt) == split:
      key = text_key("prompt", corpus.name, prompt)
      return {"prompt": prompt, "prompt_id": f"{key:016x}"}


def _pair(corpus: corpora.Corpus, seed: int, split: str, index: int) -> PairRow:
  rng = RandomStream(text_key("pairs", corpus.name, seed, split, index))
  row = _sample_prompt(corpus, split, rng)
  response_a = corpus.write_response(rng, row["prompt"])
  response_b = corpus.write_response(rng, row["prompt"])
  utility_a = corpus.utility(row["prompt"], response_a)
  utility_b = corpus.utility(row["prompt"], response_b)
  return {
    **row,
    "response_a": response_a,
    "response_b": response_b,
    "utility_a": utility_a,
    "utility_b": utility_b,
    "label": rater.label(rng, utility_a, utility_b, corpus.tie_weight),
  }


def check_range(split: str, start: int, count: int) -> None:
  """Raises for an unknown split (UserError) or a negative range."""
  if split not in SPLITS:
    raise errors.UserError(
      f"a miniature has no split {split!r}; there are {', '.join(SPLITS)}"
    )
  if start < 0 or count < 0:
    raise ValueError(f"{start=} and {count=} must not be negative")


def pairs(
  name: str, seed: int, start: int, count: int, *, split: str = "train"
) -> collections.abc.Iterator[PairRow]:
  """Yields rows `start` to `start + count - 1` of a miniature's comparisons.

  There is no last row, and rows can be generated in any order. Prompts recur,
  as posts do in the published datasets; identical responses occur too.

  Output: {"prompt": "sad tom lost a bike at school", "prompt_id": "9a...",
           "response_a": "tom lost a bike", "response_b": "ok",
           "utility_a": 2.2, "utility_b": -0.65, "label": 0}

  Args:
    name: a name in `CORPORA`.
    seed: seed of the rows.
    start: index of the first row, >= 0.
    count: number of rows, >= 0.
    split: "train", "validation" or "test"; they share no prompt.

  Returns:
    The rows, in order.

  Raises:
    UserError: unknown name or split.
    ValueError: `start` or `count` is negative.
  """
  corpus = corpora.named(name)
  check_range(split, start, count)
  return (_pair(corpus, seed, split, i) for i in range(start, start + count))


def prompts(
  name: str, seed: int, start: int, count: int, *, split: str = "train"
) -> collections.abc.Iterator[PromptRow]:
  """Yields prompts `start` to `start + count - 1` of a miniature.

  They are independent of the prompts of `pairs`, with the same distribution,
  and may recur.

  Args:
    name: a name in `CORPORA`.
    seed: seed of the prompts.
    start: index of the first prompt, >= 0.
    count: number of prompts, >= 0.
    split: "train", "validation" or "test".

  Returns:
    The prompts, in order.

  Raises:
    UserError: unknown name or split.
    ValueError: `start` or `count` is negative.
  """
  corpus = corpora.named(name)
  check_range(split, start, count)

  def prompt(index: int) -> PromptRow:
    key = text_key("prompts", name, seed, split, index)
    return _sample_prompt(corpus, split, RandomStream(key))

  return (prompt(index) for index in range(start, start + count))


def utility(name: str, prompt: str, response: str) -> float:
  """Returns the hidden utility of a response, in [`FLOOR`, about 4].

  Args:
    name: a name in `CORPORA`.
    prompt: a prompt of that corpus; unknown text in it is ignored.
    response: any text.

  Returns:
    The utility. The rater prefers a response that is better by 1 in 73% of
    comparisons.

  Raises:
    UserError: unknown name.
  """
  return corpora.named(name).utility(prompt, response)


def utilities(
  name: str,
  prompts: collections.abc.Sequence[str],
  responses: collections.abc.Sequence[str],
) -> Float64[np.ndarray, "batch"]:
  """Returns the `utility` of each response to its prompt.

  Args:
    name: a name in `CORPORA`.
    prompts: one prompt per response.
    responses: any texts.

  Returns:
    The hidden utilities.

  Raises:
    UserError: unknown name.
    ValueError: the numbers of prompts and responses differ.
  """
  score = corpora.named(name).utility
  both = zip(prompts, responses, strict=True)
  return np.array([score(prompt, response) for prompt, response in both], float)
