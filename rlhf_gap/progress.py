"""Progress reporting: a bar on a terminal, plain lines in a log."""

import collections.abc
import contextlib
import sys
import time
from typing import Protocol

import tqdm

_LOG_EVERY_SECONDS = 10.0

_is_silent = False


def silence() -> None:
  """Disables progress output, because another process of the run reports it."""
  global _is_silent
  _is_silent = True


class Progress(Protocol):
  """A counter of completed units of work."""

  def update(self, n: int) -> object:
    """Adds `n` completed units."""

  def note(self, text: str) -> None:
    """Sets the text shown beside the count."""


class _Bar(tqdm.tqdm):
  """A terminal bar followed by a note."""

  def note(self, text: str) -> None:
    """Shows `text` from the next refresh on."""
    self.set_postfix_str(text, refresh=False)


class _Lines:
  """Prints a line about every `_LOG_EVERY_SECONDS`; none for short work."""

  def __init__(self, activity: str, total: int, unit: str):
    self._activity, self._total, self._unit = activity, total, unit
    self._done = 0
    self._note = ""
    self._printed = False
    self._next = time.monotonic() + _LOG_EVERY_SECONDS

  def update(self, n: int) -> None:
    self._done += n
    if time.monotonic() >= self._next:
      self.print()
      self._next = time.monotonic() + _LOG_EVERY_SECONDS

  def note(self, text: str) -> None:
    self._note = text

  def finish(self) -> None:
    if self._printed:
      self.print()

  def print(self) -> None:
    self._printed = True
    percent = 100 * self._done // max(self._total, 1)
    print(
      f"{self._activity}: {self._done:,} of {self._total:,} {self._unit}"
      f" ({percent}%){', ' if self._note else ''}{self._note}",
      file=sys.stderr,
      flush=True,
    )


class _Silent:
  """Reports nothing."""

  def update(self, n: int) -> None:
    """Ignores the count."""

  def note(self, text: str) -> None:
    """Ignores the note."""


@contextlib.contextmanager
def bar(
  activity: str, total: int, unit: str
) -> collections.abc.Iterator[Progress]:
  """Yields a counter of `total` units, shown on standard error.

  Args:
    activity: what is being done, as a present participle: "converting".
    total: total number of units.
    unit: short name of the unit: "rows", "steps", or "B" for bytes, which are
      shown as KiB, MiB and so on.

  Yields:
    The counter; call `update(n)` after every n units.
  """
  if _is_silent:
    yield _Silent()
  elif sys.stderr.isatty():
    scaled = unit == "B"
    with _Bar(
      desc=activity,
      total=total,
      unit=unit,
      unit_scale=scaled,
      unit_divisor=1024,
      file=sys.stderr,
    ) as shown:
      yield shown
  else:
    lines = _Lines(activity, total, unit)
    yield lines
    lines.finish()
