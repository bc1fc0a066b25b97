"""Flaws that all four corpora add to responses."""

from rlhf_gap.data.mini import reading
from rlhf_gap.data.mini.random_stream import RandomStream

MAX_RESPONSE_WORDS = 10


def ramble(rng: RandomStream, words: list[str]) -> list[str]:
  """Prepends one to three fillers."""
  fillers = [rng.choice(reading.FILLERS) for _ in range(1 + rng.below(3))]
  return fillers + words


def repeat(rng: RandomStream, words: list[str]) -> list[str]:
  """Repeats everything, the first word or the last word."""
  if len(words) <= 4 and rng.chance(0.5):
    return words + words
  if rng.chance(0.5):
    return [words[0], *words]
  return [*words, words[-1]]


def finish(rng: RandomStream, kind: str, words: list[str]) -> str:
  """Joins words to a response, with the flaw that its kind calls for.

  Args:
    rng: the random stream.
    kind: "ramble", "repeat" or "garble" (words in random order); any other
      kind leaves the words unchanged.
    words: a well-formed response.

  Returns:
    At most `MAX_RESPONSE_WORDS` words.
  """
  if kind == "ramble":
    words = ramble(rng, words)
  elif kind == "repeat":
    words = repeat(rng, words)
  elif kind == "garble":
    words = rng.shuffled(words)
  return " ".join(words[:MAX_RESPONSE_WORDS])
