"""Builds a pair store from preference data, or shows or exports one.

  rlhf-gap data TASK --source=DIR --vocabulary=FILE --output=DIR
  rlhf-gap data own --source=FILES --vocabulary=FILE --output=DIR
  rlhf-gap data show DIR
  rlhf-gap data export DIR --format=jsonl
  rlhf-gap data --list

`rlhf-gap data TASK --help`, and likewise for own, show and export, explain the
flags.
"""

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

_OWN_MODULES = ("own", "show", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the positional arguments of `rlhf-gap data`, and --list."""
  parser.usage = "rlhf-gap data {TASK | own | show | export} [flags]"
  parser.add_argument("--list", action="store_true", help="name every task")
  words = parser.add_argument(
    "words",
    action=_Words,
    nargs=argparse.PARSER,
    metavar="TASK, own, show or export",
    help="followed by its own flags",
  )
  words.required = False  # --list needs none


def run(arguments: argparse.Namespace) -> int | None:
  """Runs the command named by the first argument, or lists the tasks."""
  from rlhf_gap import errors
  from rlhf_gap.data import catalog

  if arguments.list and hasattr(arguments, "module"):
    raise errors.UserError("--list takes no task: it lists all of them")
  if arguments.list:
    print(catalog.listing())
    return None
  if not hasattr(arguments, "module"):
    raise errors.UserError("a task is missing; rlhf-gap data --list lists all")
  return arguments.module.run(arguments)


class _Words(argparse.Action):
  """Parses the remaining arguments with the parser of the first one."""

  def __call__(
    self,
    parser: argparse.ArgumentParser,
    namespace: argparse.Namespace,
    values: str | Sequence[Any] | None,
    option_string: str | None = None,
  ) -> None:
    del option_string
    if not values:
      return
    first, rest = values[0], list(values[1:])
    name = first if first in _OWN_MODULES else "build"
    module = importlib.import_module(f"rlhf_gap.cli.data_{name}")
    own = type(parser)(
      prog=f"{parser.prog} {first}",
      description=module.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    module.add_arguments(own)
    own.set_defaults(task=first, module=module)
    own.parse_args(rest, namespace)
