"""Flags that have no effect on the input that they are given with."""

import argparse
from typing import Any

from rlhf_gap import errors


def only_if(
  applies: bool,
  arguments: argparse.Namespace,
  where: str,
  *names: str,
  **defaults: Any,
) -> None:
  """Refuses flags that would be ignored.

  Args:
    applies: whether the flags have an effect.
    arguments: the parsed command line.
    where: when they have, such as "with --follow".
    *names: flags whose default is nothing: None, 0, False or empty.
    **defaults: further flags with their defaults.

  Raises:
    UserError: one of them is given.
  """
  if applies:
    return
  given = [name for name in names if getattr(arguments, name)]
  given += [k for k, v in defaults.items() if getattr(arguments, k) != v]
  if given:
    raise errors.UserError(f"--{given[0]} has an effect only {where}")
