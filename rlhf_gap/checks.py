"""Checks of settings from gin or flags, before any work begins."""

import math
import numbers
import sys
from collections.abc import Iterable
from typing import Any

from rlhf_gap import errors

LARGEST = 2**31 - 1
"""Largest count: steps, rows and sizes are 32-bit integers on a device."""

LARGEST_SEED = 2**32 - 1
"""Largest seed: JAX drops higher bits, so a larger one would repeat another."""

LONGEST = 2**16
"""Longest window in tokens; anything longer is taken for a mistake."""


def counts(*, at_least: int = 1, at_most: int = LARGEST, **values: Any) -> None:
  """Checks whole numbers.

  Args:
    at_least: the smallest value allowed.
    at_most: the largest value allowed.
    **values: by the user's name for them, such as "--batch_size"; None is
      ignored.

  Raises:
    UserError: a value is not a whole number, or out of range.
  """
  for name, value in values.items():
    if value is None:
      continue
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not (whole and value >= at_least):
      raise errors.UserError(
        f"{name}={value!r}; expected a whole number, {at_least} or more"
      )
    if value > at_most:
      raise errors.UserError(
        f"{name}={value!r}; expected a whole number, at most {at_most:,}"
      )


def required(**values: Any) -> None:
  """Checks settings that must not be None.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is None.
  """
  for name, value in values.items():
    if value is None:
      raise errors.UserError(f"{name}=None; expected a value")


def lengths(**values: Any) -> None:
  """Checks lengths in tokens; None is ignored.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is not a whole number, or out of range.
  """
  counts(at_most=LONGEST, **values)


def seeds(**values: Any) -> None:
  """Checks seeds.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is not a whole number from 0 to `LARGEST_SEED`.
  """
  required(**values)
  for name, value in values.items():
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not (whole and 0 <= value <= LARGEST_SEED):
      raise errors.UserError(
        f"{name}={value!r}; expected a whole number from 0 to {LARGEST_SEED:,}"
      )


def positive(**values: Any) -> None:
  """Checks finite numbers above 0, such as learning rates.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is not such a number.
  """
  for name, value in values.items():
    if not (_is_finite(value) and value > 0):
      raise errors.UserError(
        f"{name}={value!r}; expected a finite number above 0"
      )


def between(
  low: float | int, high: float | int = math.inf, **values: Any
) -> None:
  """Checks finite numbers in a closed interval.

  Args:
    low: the smallest value allowed.
    high: the largest value allowed.
    **values: by the user's name for them.

  Raises:
    UserError: a value is not such a number.
  """
  highest = "" if high == math.inf else f" and at most {high:g}"
  for name, value in values.items():
    if not (_is_finite(value) and low <= value <= high):
      raise errors.UserError(
        f"{name}={value!r}; expected a finite number of at least {low:g}"
        f"{highest}"
      )


def _is_finite(value: Any) -> bool:
  number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  return number and abs(value) <= sys.float_info.max


def below_one(**values: Any) -> None:
  """Checks rates in [0, 1), such as dropout.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is not such a number.
  """
  for name, value in values.items():
    if not (_is_finite(value) and 0 <= value < 1):
      raise errors.UserError(
        f"{name}={value!r}; expected a number from 0 to below 1"
      )


def several(**values: object) -> None:
  """Checks that values are tuples or lists.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is neither.
  """
  for name, value in values.items():
    if not isinstance(value, (tuple, list)):
      raise errors.UserError(
        f"{name}={value!r}; expected several in parentheses, such as"
        f" ({value!r},)"
      )


def texts(**values: object) -> None:
  """Checks strings, such as paths; None is ignored.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is not a string, or empty.
  """
  for name, value in values.items():
    if value is not None and not (isinstance(value, str) and value):
      raise errors.UserError(f"{name}={value!r}; expected a non-empty string")


def flags(**values: object) -> None:
  """Checks that values are True or False.

  Args:
    **values: by the user's name for them.

  Raises:
    UserError: a value is neither.
  """
  for name, value in values.items():
    if not isinstance(value, bool):
      raise errors.UserError(f"{name}={value!r}; expected True or False")


def one_of(choices: Iterable[str], **values: object) -> None:
  """Checks that values are among the choices.

  Args:
    choices: the allowed words.
    **values: by the user's name for them.

  Raises:
    UserError: a value is not among them.
  """
  known = tuple(choices)
  for name, value in values.items():
    if value not in known:
      raise errors.UserError(
        f"{name}={value!r}; expected one of {', '.join(known)}"
      )
