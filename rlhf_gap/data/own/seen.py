"""A set of 63-bit keys in 8 bytes a key, for prompts seen before."""

import numpy as np

_RECENT = 1 << 17


class SeenKeys:
  """Keys added so far: sorted in an array, the latest in a set."""

  def __init__(self) -> None:
    self._sorted = np.empty(0, np.int64)
    self._recent: set[int] = set()

  def __contains__(self, key: int) -> bool:
    if key in self._recent:
      return True
    place = int(np.searchsorted(self._sorted, key))
    return place < len(self._sorted) and bool(self._sorted[place] == key)

  def __len__(self) -> int:
    return len(self._sorted) + len(self._recent)

  def add(self, key: int) -> bool:
    """Adds a key; returns whether it is new."""
    if key in self:
      return False
    self._recent.add(key)
    if len(self._recent) == _RECENT:
      recent = np.fromiter(self._recent, np.int64, len(self._recent))
      self._sorted = np.sort(np.concatenate([self._sorted, recent]))
      self._recent.clear()
    return True
