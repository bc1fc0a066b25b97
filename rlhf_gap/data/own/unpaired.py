"""Pairs made from single labelled completions, if the user requests them.

The n-th good completion of a prompt and its n-th bad one make a pair, in file
order; no completion is used twice.
"""

import collections
import dataclasses
from collections.abc import Iterator

from rlhf_gap import errors
from rlhf_gap.data.own import comparing, interpreting

Place = tuple[str, int]
"""File and line of a row."""

MAX_WAITING_BYTES = 512 << 20
"""Maximum text of unpaired completions held in memory."""


class Pairer:
  """Holds completions until they can be paired."""

  def __init__(self) -> None:
    self._waiting: dict[
      tuple[str, int, bool], collections.deque[tuple[Place, str]]
    ] = collections.defaultdict(collections.deque)
    self._left: dict[Place, str] = {}
    self._bytes = 0

  def add(
    self, place: Place, split: str, reading: interpreting.Reading
  ) -> interpreting.Reading | None:
    """Pairs a completion with one that was held, or holds it.

    Args:
      place: file and line of the row.
      split: its split; pairs are made within one.
      reading: an unpaired completion.

    Returns:
      The pair, or None if the completion is held.

    Raises:
      UserError: more than `MAX_WAITING_BYTES` would be held.
    """
    response, key = reading.responses[0], reading.prompt_key
    others = self._waiting[split, key, not reading.is_good]
    while others:
      other_place, other = others.popleft()
      self._bytes -= len(other)
      if other.strip() == response.strip():
        continue  # The other completion stays unpaired.
      del self._left[other_place]
      sides = (response, other) if reading.is_good else (other, response)
      return dataclasses.replace(
        reading,
        responses=sides,
        comparisons=(comparing.Comparison(0, 1),),
        is_good=None,
      )
    self._waiting[split, key, bool(reading.is_good)].append((place, response))
    self._left[place] = split
    self._bytes += len(response)
    if self._bytes > MAX_WAITING_BYTES:
      raise errors.UserError(
        f"more than {MAX_WAITING_BYTES:,} bytes of unpaired completions would"
        " be held in memory; sort the rows by prompt"
      )
    return None

  def left(self) -> Iterator[tuple[Place, str]]:
    """Yields the place and split of each completion that was not paired."""
    yield from self._left.items()
