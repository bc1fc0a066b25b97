"""Refuses flags that would have no effect together with the others."""

import argparse
from typing import Any

from rlhf_gap import errors


def only_if(
  applies: bool,
  arguments: argparse.Namespace,
  when: str,
  *names: str,
  **defaults: Any,
) -> None:
  """Refuses flags that would be ignored.

  Args:
    applies: whether the flags have an effect.
    arguments: the parsed command line.
    when: the condition for an effect, such as "with --follow".
    *names: flags whose default is None, 0, False or empty.
    **defaults: other flags, with their defaults.

  Raises:
    UserError: a flag is given that has no effect.
  """
  if applies:
    return
  given = [name for name in names if getattr(arguments, name)]
  given += [k for k, v in defaults.items() if getattr(arguments, k) != v]
  if given:
    raise errors.UserError(f"--{given[0]} only applies {when}")
