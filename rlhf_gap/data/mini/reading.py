"""What the utilities of all four corpora share: words, joins and manner.

A corpus gives each of its words a class and lists which classes may follow one
another. Whatever a policy writes can then be read: unknown words, broken joins,
fillers and length cost something everywhere.
"""

import collections.abc
import dataclasses
import functools

START, END, UNKNOWN = "^", "$", "unknown"
FILLERS = ("well", "so")
SHORT_ANSWERS = ("ok", "no")
# No response is worse than this, however long it rambles on.
FLOOR = -4.0
# What saying nothing at all is worth, whatever was asked.
EMPTY_UTILITY = -1.0

_WORD_COST = 0.05
_FILLER_COST = 0.35
_UNKNOWN_COST = 0.5
_BROKEN_JOIN_COST = 0.4
_SHORT_ANSWER_COST = 0.6
# The first word of warmth pleases; each further one grates.
_TONE_VALUE = 0.4
_TONE_EXCESS_COST = 0.6


def tone_value(count: int) -> float:
  """Returns what `count` words of tone are worth: rises once, then falls."""
  if count == 0:
    return 0.0
  return _TONE_VALUE - _TONE_EXCESS_COST * (count - 1)


@dataclasses.dataclass(frozen=True)
class Reading:
  """A response seen word by word.

  Attributes:
    words: the response split at white space.
    classes: the class of each word; `UNKNOWN` for a word of no class.
    broken_joins: adjacent words, the two ends included, that no sentence of
      the corpus puts side by side.
  """

  words: tuple[str, ...]
  classes: tuple[str, ...]
  broken_joins: int

  def of_class(self, name: str) -> list[str]:
    """Returns the words of one class, in order, repeats included."""
    return [
      w for w, c in zip(self.words, self.classes, strict=True) if c == name
    ]

  @functools.cached_property
  def manner(self) -> float:
    """What form alone is worth: length, fillers, "ok", grammar, tone."""
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
  """The classes of a corpus's response words and the joins it allows.

  Attributes:
    classes: word to class.
    joins: pairs of classes that may stand side by side; `START` and `END` are
      the ends of a response.
  """

  classes: collections.abc.Mapping[str, str]
  joins: frozenset[tuple[str, str]]

  def read(self, response: str) -> Reading:
    """Reads any text whatever."""
    words = tuple(response.split())
    classes = tuple(self.classes.get(word, UNKNOWN) for word in words)
    # A filler is dropped into a sentence anywhere and costs only itself.
    spoken = [START, *(c for c in classes if c != "filler"), END]
    pairs = zip(spoken[:-1], spoken[1:], strict=True)
    broken = sum(pair not in self.joins for pair in pairs)
    return Reading(words, classes, broken)


def classes(**words_by_class: collections.abc.Iterable[str]) -> dict[str, str]:
  """Returns word to class from class to words, fillers included.

  Raises:
    ValueError: a word has two classes.
  """
  found: dict[str, str] = dict.fromkeys(FILLERS, "filler")
  for name, words in words_by_class.items():
    for word in words:
      if word in found:
        raise ValueError(f"{word!r} is both {found[word]} and {name}")
      found[word] = name
  return found


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
