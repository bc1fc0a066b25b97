"""argparse types of the commands' flags.

`_Parser` of `main` prefixes their messages with the flag's name, as in
`--seed=-1; expected ...`.
"""

import argparse
import math
import re
from collections.abc import Callable

from rlhf_gap import checks
from rlhf_gap.cli import setting_types

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Supported by TensorStore, which reads and writes stores and checkpoints.
_SCHEMES = ("gs", "s3", "memory", "file")


def whole(low: int, high: int = checks.LARGEST) -> Callable[[str], int]:
  """Returns the type of whole numbers from `low` to `high`, inclusive."""

  def parse(text: str) -> int:
    if not _WHOLE.fullmatch(text) or int(text) < low:
      raise _mismatch(text, f"a whole number, {low} or more")
    if int(text) > high:
      raise _mismatch(text, f"a whole number, at most {high:,}")
    return int(text)

  return parse


count = whole(1)
"""A whole number of at least 1."""

seed = whole(0, checks.LARGEST_SEED)
"""A seed of at most 32 bits; JAX would drop higher ones."""

tokens = whole(1, checks.LONGEST)
"""A length in tokens."""


def real(
  low: float | int, high: float | int = math.inf, *, above: bool = False
) -> Callable[[str], float]:
  """Returns the type of finite numbers.

  Args:
    low: the smallest value allowed.
    high: the largest value allowed.
    above: whether `low` itself is excluded.
  """
  lowest = f"above {low:g}" if above else f"of at least {low:g}"
  highest = "" if high == math.inf else f" and at most {high:g}"

  def parse(text: str) -> float:
    try:
      value = float(text)
    except ValueError:
      value = math.nan
    holds = math.isfinite(value) and low <= value <= high
    if not holds or (above and value == low):
      raise _mismatch(text, f"a finite number {lowest}{highest}")
    return value

  return parse


positive = real(0, above=True)
"""A finite number above 0."""


def name(text: str) -> str:
  """Accepts any non-empty string."""
  try:
    setting_types.conformed(text.replace("~", "_"), str)
  except setting_types.MismatchError as mismatch:
    raise _mismatch(text, str(mismatch)) from mismatch
  return text


def words(*known: str) -> Callable[[str], tuple[str, ...]]:
  """Returns the type of comma-separated lists of known words."""

  def parse(text: str) -> tuple[str, ...]:
    given = tuple(text.split(","))
    if not set(given) <= set(known):
      raise _mismatch(text, f"one or more of {', '.join(known)}, with commas")
    return given

  return parse


def path(text: str) -> str:
  """Accepts a path or URL; expands "~"."""
  try:
    return str(setting_types.conformed(text, str))
  except setting_types.MismatchError as mismatch:
    raise _mismatch(text, str(mismatch)) from mismatch


def storage(text: str) -> str:
  """Accepts a path or URL of a store or checkpoint."""
  scheme = _SCHEME.match(text)
  if scheme is not None and scheme[1].lower() not in _SCHEMES:
    raise _mismatch(text, "a local path or a URL such as gs://bucket/folder")
  return path(text)


def local(text: str) -> str:
  """Accepts a local path."""
  if _SCHEME.match(text):
    raise _mismatch(text, "a local path, not a URL")
  return path(text)


def _mismatch(text: str, expected: str) -> argparse.ArgumentTypeError:
  return argparse.ArgumentTypeError(f"={text}; expected {expected}")
