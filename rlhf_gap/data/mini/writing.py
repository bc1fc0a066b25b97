"""The ways of writing badly that all four corpora share."""

from rlhf_gap.data.mini import reading
from rlhf_gap.data.mini.draws import Draws

MAX_RESPONSE_WORDS = 10


def ramble(draws: Draws, words: list[str]) -> list[str]:
  """Puts one to three fillers before the words."""
  fillers = [draws.one_of(reading.FILLERS) for _ in range(1 + draws.below(3))]
  return fillers + words


def repeat(draws: Draws, words: list[str]) -> list[str]:
  """Says everything twice, or the first or the last word twice."""
  if len(words) <= 4 and draws.chance(0.5):
    return words + words
  if draws.chance(0.5):
    return [words[0], *words]
  return [*words, words[-1]]


def finish(draws: Draws, kind: str, words: list[str]) -> str:
  """Returns the words as a response, spoiled as its kind says.

  Args:
    draws: where chance comes from.
    kind: "ramble", "repeat", "garble" (words in a random order); any other
      kind leaves the words as they are.
    words: a well-formed response.

  Returns:
    At most `MAX_RESPONSE_WORDS` words.
  """
  if kind == "ramble":
    words = ramble(draws, words)
  elif kind == "repeat":
    words = repeat(draws, words)
  elif kind == "garble":
    words = draws.shuffled(words)
  return " ".join(words[:MAX_RESPONSE_WORDS])
