"""Rows of a miniature: each a pure function of (name, seed, split, index)."""

import collections.abc
from typing import TypedDict

import numpy as np
from jaxtyping import Float64

from rlhf_gap import errors
from rlhf_gap.data.mini import corpora, rater
from rlhf_gap.data.mini.draws import Draws, text_key

# A prompt's split depends on its text alone: of ten parts, by hash, one is for
# validation, one for test and the others for training, whatever the seed.
SPLITS = ("train", "validation", "test")
_SPLIT_OF_PART = {0: "validation", 1: "test"}
_PARTS = 10


class PromptRow(TypedDict):
  """A prompt and its identity, which depends on corpus and text alone."""

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
  """Returns the one split in which a prompt can occur."""
  part = text_key("split", name, prompt) % _PARTS
  return _SPLIT_OF_PART.get(part, "train")


def _draw_prompt(corpus: corpora.Corpus, split: str, draws: Draws) -> PromptRow:
  while True:
    prompt = corpus.write_prompt(draws)
    if split_of(corpus.name, prompt) == split:
      key = text_key("prompt", corpus.name, prompt)
      return {"prompt": prompt, "prompt_id": f"{key:016x}"}


def _pair(corpus: corpora.Corpus, seed: int, split: str, index: int) -> PairRow:
  draws = Draws(text_key("pairs", corpus.name, seed, split, index))
  row = _draw_prompt(corpus, split, draws)
  response_a = corpus.write_response(draws, row["prompt"])
  response_b = corpus.write_response(draws, row["prompt"])
  utility_a = corpus.utility(row["prompt"], response_a)
  utility_b = corpus.utility(row["prompt"], response_b)
  return {
    **row,
    "response_a": response_a,
    "response_b": response_b,
    "utility_a": utility_a,
    "utility_b": utility_b,
    "label": rater.label(draws, utility_a, utility_b, corpus.tie_weight),
  }


def check_range(split: str, start: int, count: int) -> None:
  """Raises for an unknown split (UserError) or a negative range."""
  if split not in SPLITS:
    raise errors.UserError(
      f"a miniature has no split {split!r}, there are {', '.join(SPLITS)}"
    )
  if start < 0 or count < 0:
    raise ValueError(f"{start=} and {count=} must not be negative")


def pairs(
  name: str, seed: int, start: int, count: int, *, split: str = "train"
) -> collections.abc.Iterator[PairRow]:
  """Yields rows `start` to `start + count - 1` of a miniature's comparisons.

  There is no last row, and any row can be had without those before it. Prompts
  recur, as posts do in the published sets; identical responses occur too.

  Output: {"prompt": "sad tom lost a bike at school", "prompt_id": "9a...",
           "response_a": "tom lost a bike", "response_b": "ok",
           "utility_a": 2.2, "utility_b": -0.65, "label": 0}

  Args:
    name: a name in `CORPORA`.
    seed: another seed gives other rows of the same kind.
    start: index of the first row, >= 0.
    count: how many rows, >= 0.
    split: "train", "validation" or "test"; no prompt is in two of them.

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
  """Yields prompts `start` to `start + count - 1`; arguments as of `pairs`.

  They are drawn apart from the prompts of `pairs`, from the same distribution,
  and can recur.

  Args:
    name: a name in `CORPORA`.
    seed: another seed gives other prompts of the same kind.
    start: index of the first prompt, >= 0.
    count: how many prompts, >= 0.
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
    return _draw_prompt(corpus, split, Draws(key))

  return (prompt(index) for index in range(start, start + count))


def utility(name: str, prompt: str, response: str) -> float:
  """Returns what a response is worth to a prompt, in [`FLOOR`, about 4].

  Args:
    name: a name in `CORPORA`.
    prompt: a prompt of that corpus; what cannot be read in it is not asked for.
    response: any text whatever.

  Returns:
    The hidden utility: a difference of 1 is a preference of 73%.

  Raises:
    UserError: unknown name.
  """
  return corpora.named(name).utility(prompt, response)


def utilities(
  name: str,
  prompts: collections.abc.Sequence[str],
  responses: collections.abc.Sequence[str],
) -> Float64[np.ndarray, "batch"]:
  """Returns `utility` of each response to the prompt at its place.

  Args:
    name: a name in `CORPORA`.
    prompts: one prompt a response.
    responses: any texts whatever.

  Returns:
    The hidden utilities.

  Raises:
    UserError: unknown name.
    ValueError: there are not as many prompts as responses.
  """
  worth = corpora.named(name).utility
  both = zip(prompts, responses, strict=True)
  return np.array([worth(prompt, response) for prompt, response in both], float)
