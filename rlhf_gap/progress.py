"""Progress of long work: a bar on a terminal, plain lines in a log."""

import collections.abc
import contextlib
import sys
import time
from typing import Protocol

import tqdm

_LOG_EVERY_SECONDS = 10.0


_is_silent = False


def silence() -> None:
  """Draws nothing from now on: another process of the same run does."""
  global _is_silent
  _is_silent = True


class Progress(Protocol):
  """Counts units of work done."""

  def update(self, n: int) -> object:
    """Adds `n` units."""

  def note(self, text: str) -> None:
    """Says how it goes, beside the count."""


class _Bar(tqdm.tqdm):
  """A bar with a note behind it."""

  def note(self, text: str) -> None:
    """Shows `text` from the next redrawing on."""
    self.set_postfix_str(text, refresh=False)


class _Lines:
  """Prints a line every `_LOG_EVERY_SECONDS` or so; none for short work."""

  def __init__(self, what: str, total: int, unit: str):
    self._what, self._total, self._unit = what, total, unit
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
      f"{self._what}: {self._done:,} of {self._total:,} {self._unit}"
      f" ({percent}%){', ' if self._note else ''}{self._note}",
      file=sys.stderr,
      flush=True,
    )


class _Nothing:
  """Counts for nobody."""

  def update(self, n: int) -> None:
    """Ignores the count."""

  def note(self, text: str) -> None:
    """Ignores the note."""


@contextlib.contextmanager
def bar(what: str, total: int, unit: str) -> collections.abc.Iterator[Progress]:
  """Yields a counter of `total` units, drawn on standard error.

  Args:
    what: what is being done, as a present participle: "converting".
    total: how many units there are in all.
    unit: the unit's short name: "B", "rows", "steps". Bytes are scaled.

  Yields:
    The counter; call `update(n)` after each n units.
  """
  if _is_silent:
    yield _Nothing()
  elif sys.stderr.isatty():
    scaled = unit == "B"
    with _Bar(
      desc=what,
      total=total,
      unit=unit,
      unit_scale=scaled,
      unit_divisor=1024,
      file=sys.stderr,
    ) as drawn:
      yield drawn
  else:
    lines = _Lines(what, total, unit)
    yield lines
    lines.finish()
