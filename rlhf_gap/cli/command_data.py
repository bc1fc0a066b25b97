"""Builds a pair store from preference data; shows or exports one.

  rlhf-gap data TASK --source=DIR --vocabulary=FILE --output=DIR
  rlhf-gap data own --source=FILES --vocabulary=FILE --output=DIR
  rlhf-gap data show DIR
  rlhf-gap data export DIR --format=jsonl
  rlhf-gap data --list

`rlhf-gap data TASK --help`, and the same with own, show or export, explains the
flags of each.
"""

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

_OWN_MODULES = ("own", "show", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the words of `rlhf-gap data`."""
  parser.usage = "rlhf-gap data {TASK | own | show | export} [flags]"
  parser.add_argument("--list", action="store_true", help="name every task")
  words = parser.add_argument(
    "words",
    action=_Words,
    nargs=argparse.PARSER,
    metavar="TASK, own, show or export",
    help="and flags of its own",
  )
  words.required = False  # --list needs none


def run(arguments: argparse.Namespace) -> int | None:
  """Runs what the first word asks for, or lists the tasks."""
  from rlhf_gap import errors
  from rlhf_gap.data import catalog

  if arguments.list and hasattr(arguments, "module"):
    raise errors.UserError("--list names every task; give no task with it")
  if arguments.list:
    print(catalog.listing())
    return None
  if not hasattr(arguments, "module"):
    raise errors.UserError("name a task; rlhf-gap data --list names all")
  return arguments.module.run(arguments)


class _Words(argparse.Action):
  """Parses the words after the first as its own command's flags."""

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
