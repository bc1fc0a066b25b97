"""A random stream that is the same on every machine.

Bits come from SplitMix64 (Steele, Lea and Flood 2014) in plain integers, so no
library update can change a corpus.
"""

import collections.abc
import hashlib
from typing import TypeVar

_MASK = (1 << 64) - 1
_STRIDE = 0x9E3779B97F4A7C15

T = TypeVar("T")


def text_key(*parts: str | int) -> int:
  """Returns a 64-bit hash of the parts, in order."""
  text = "\x1f".join(map(str, parts))
  return int.from_bytes(
    hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"
  )


class RandomStream:
  """A random number generator, seeded by a 64-bit key."""

  def __init__(self, key: int):
    self._state = key & _MASK

  def bits(self) -> int:
    """Returns the next 64 bits."""
    self._state = state = (self._state + _STRIDE) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)

  def below(self, bound: int) -> int:
    """Returns an integer in [0, bound); the bias is below bound / 2^64."""
    return (self.bits() * bound) >> 64

  def uniform(self) -> float:
    """Returns a number in [0, 1) with 53 random bits."""
    return (self.bits() >> 11) * 2.0**-53

  def chance(self, probability: float) -> bool:
    """Returns True with the given probability."""
    return self.uniform() < probability

  def choice(self, options: collections.abc.Sequence[T]) -> T:
    """Returns one of the options, chosen uniformly."""
    return options[self.below(len(options))]

  def weighted_choice(
    self, options: collections.abc.Sequence[tuple[T, int]]
  ) -> T:
    """Returns one option of (option, integer weight) pairs."""
    remaining = self.below(sum(weight for _, weight in options))
    for option, weight in options:
      remaining -= weight
      if remaining < 0:
        return option
    raise AssertionError("below() returned the sum of the weights or more")

  def shuffled(self, items: collections.abc.Iterable[T]) -> list[T]:
    """Returns the items in a random order (Fisher-Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
      other = self.below(last + 1)
      order[last], order[other] = order[other], order[last]
    return order
