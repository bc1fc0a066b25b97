"""The part of the utilities that all four corpora share: style.

A corpus assigns each word a class and lists which classes may follow each
other. Any text can then be scored: unknown words, ungrammatical joins, fillers
and length are penalized in every corpus.
"""

import collections.abc
import dataclasses
import functools

START, END, UNKNOWN = "^", "$", "unknown"
FILLERS = ("well", "so")
SHORT_ANSWERS = ("ok", "no")
# Lower bound of every utility.
FLOOR = -4.0
# Utility of an empty response, for any prompt.
EMPTY_UTILITY = -1.0

_WORD_COST = 0.05
_FILLER_COST = 0.35
_UNKNOWN_COST = 0.5
_BROKEN_JOIN_COST = 0.4
_SHORT_ANSWER_COST = 0.6
# One word of tone is rewarded; each further one is penalized.
_TONE_VALUE = 0.4
_TONE_EXCESS_COST = 0.6


def tone_value(count: int) -> float:
  """Returns the utility of `count` words of tone: up once, then down."""
  if count == 0:
    return 0.0
  return _TONE_VALUE - _TONE_EXCESS_COST * (count - 1)


@dataclasses.dataclass(frozen=True)
class Reading:
  """A parsed response.

  Attributes:
    words: the response, split at white space.
    classes: the class of each word; `UNKNOWN` if it has none.
    broken_joins: number of adjacent words, including the two ends, whose
      classes may not follow each other.
  """

  words: tuple[str, ...]
  classes: tuple[str, ...]
  broken_joins: int

  def of_class(self, name: str) -> list[str]:
    """Returns the words of one class, in order, with repetitions."""
    return [
      w for w, c in zip(self.words, self.classes, strict=True) if c == name
    ]

  @functools.cached_property
  def manner(self) -> float:
    """The utility of style alone: length, fillers, "ok", grammar, tone."""
    if not self.words:
      return EMPTY_UTILITY
    count = self.classes.count
    return (
      -_WORD_COST * len(self.words)
      - _FILLER_COST * count("filler")
      - _SHORT_ANSWER_COST * count("short")
      - _UNKNOWN_COST * count(UNKNOWN)
      - _BROKEN_JOIN_COST * self.broken_joins
      + tone_value(count("tone"))
    )


@dataclasses.dataclass(frozen=True)
class Lexicon:
  """A corpus's word classes and allowed joins.

  Attributes:
    classes: word to class.
    joins: pairs of classes that may be adjacent; `START` and `END` stand for
      the ends of a response.
  """

  classes: collections.abc.Mapping[str, str]
  joins: frozenset[tuple[str, str]]

  def read(self, response: str) -> Reading:
    """Parses any text."""
    words = tuple(response.split())
    classes = tuple(self.classes.get(word, UNKNOWN) for word in words)
    # A filler may occur anywhere without breaking a join.
    spoken = [START, *(c for c in classes if c != "filler"), END]
    pairs = zip(spoken[:-1], spoken[1:], strict=True)
    broken = sum(pair not in self.joins for pair in pairs)
    return Reading(words, classes, broken)


def classes(**words_by_class: collections.abc.Iterable[str]) -> dict[str, str]:
  """Inverts class to words into word to class, and adds the fillers.

  Raises:
    ValueError: a word has two classes.
  """
  by_word: dict[str, str] = dict.fromkeys(FILLERS, "filler")
  for name, words in words_by_class.items():
    for word in words:
      if word in by_word:
        raise ValueError(f"{word!r} is both {by_word[word]} and {name}")
      by_word[word] = name
  return by_word


def joins(*chains: str) -> frozenset[tuple[str, str]]:
  """Returns the adjacent pairs of each chain of classes.

  "^ who verb|was" gives (^, who), (who, verb) and (who, was).
  """
  pairs: set[tuple[str, str]] = set()
  for chain in chains:
    links = [link.split("|") for link in chain.split()]
    for left, right in zip(links[:-1], links[1:], strict=True):
      pairs.update((a, b) for a in left for b in right)
  return frozenset(pairs)
