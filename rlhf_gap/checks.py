"""Checks of settings, from gin or flags, before anything rests on them."""

import math
import numbers
from collections.abc import Iterable
from typing import Any

from rlhf_gap import errors


def counts(*, at_least: int = 1, **values: Any) -> None:
  """Checks whole numbers.

  Args:
    at_least: the smallest that may be.
    **values: by the name that the user knows them by, such as
      "--batch_size"; None is passed over.

  Raises:
    UserError: one is no whole number, or too small.
  """
  for name, value in values.items():
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if value is not None and not (whole and value >= at_least):
      raise errors.UserError(
        f"{name}={value!r}; expected a whole number, {at_least} or more"
      )


def positive(**values: Any) -> None:
  """Checks finite numbers above 0, such as learning rates.

  Args:
    **values: by the name that the user knows them by.

  Raises:
    UserError: one is no such number.
  """
  for name, value in values.items():
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
      raise errors.UserError(
        f"{name}={value!r}; expected a finite number above 0"
      )


def below_one(**values: Any) -> None:
  """Checks shares from 0 to below 1, such as dropout rates.

  Args:
    **values: by the name that the user knows them by.

  Raises:
    UserError: one is no such number.
  """
  for name, value in values.items():
    number = isinstance(value, numbers.Real)
    if not (number and 0 <= value < 1):
      raise errors.UserError(
        f"{name}={value!r}; expected a number from 0 to below 1"
      )


def several(**values: object) -> None:
  """Checks that values are tuples, which a lone text or number is not.

  Args:
    **values: by the name that the user knows them by.

  Raises:
    UserError: one is no tuple.
  """
  for name, value in values.items():
    if isinstance(value, str) or not isinstance(value, Iterable):
      raise errors.UserError(
        f"{name}={value!r}; expected several in parentheses, such as"
        f" ({value!r},)"
      )


def one_of(choices: Iterable[str], **values: object) -> None:
  """Checks words.

  Args:
    choices: that there are.
    **values: by the name that the user knows them by.

  Raises:
    UserError: one is none of the choices.
  """
  known = tuple(choices)
  for name, value in values.items():
    if value not in known:
      raise errors.UserError(
        f"{name}={value!r}; expected one of {', '.join(known)}"
      )
