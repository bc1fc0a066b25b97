"""T5X's gin flags: --gin_file, --gin_search_paths and --gin.NAME=value."""

import argparse
import os
from collections.abc import Sequence
from typing import TypeVar

from rlhf_gap.cli import flag_types

Described = TypeVar("Described")

_PREFIX = "--gin."


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of a command that reads gin files.

  Args:
    parser: the command's; its module sets `TAKES_GIN = True`.
  """
  parser.add_argument(
    "--gin_file",
    action="append",
    required=True,
    metavar="FILE",
    type=flag_types.path,
    help="a gin file; may be repeated, later ones override. A gin file can run"
    " Python, so use only files that you trust",
  )
  add_lookup(parser)
  parser.epilog = (
    "--gin.NAME=value sets a macro or a binding, such as"
    " --gin.MODEL_DIR=runs/a or --gin.TRAIN_STEPS=100."
  )


def add_lookup(parser: argparse.ArgumentParser) -> None:
  """Declares --gin_search_paths and --allow_module."""
  parser.add_argument(
    "--gin_search_paths",
    default="",
    metavar="DIRS",
    help="folders to search for gin files, separated by commas",
  )
  parser.add_argument(
    "--allow_module",
    action="append",
    default=[],
    metavar="NAME",
    help="allow gin files to import this module, which runs its code; may be"
    " repeated (always allowed: rlhf_gap, jax, optax, seqio)",
  )


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Separates `--gin.NAME=value` from a command's other arguments.

  Args:
    argv: the command's arguments.

  Returns:
    The bindings, "NAME = value" each, and the other arguments.
  """
  bindings = [
    word.removeprefix(_PREFIX).replace("=", " = ", 1)
    for word in argv
    if word.startswith(_PREFIX)
  ]
  return bindings, [word for word in argv if not word.startswith(_PREFIX)]


def search_paths(arguments: argparse.Namespace) -> list[str]:
  """Returns the folders of --gin_search_paths."""
  paths = [path for path in arguments.gin_search_paths.split(",") if path]
  return [os.path.expanduser(path) for path in paths]


def parse(
  arguments: argparse.Namespace, more_bindings: Sequence[str] = ()
) -> None:
  """Parses the gin files and bindings of a command line.

  Args:
    arguments: the flags of `add_arguments`, and `gin_bindings`.
    more_bindings: further bindings, "NAME = value" each.

  Raises:
    UserError: as `gin_files.parse`.
  """
  from rlhf_gap.cli import gin_files  # only here: --help does not need gin

  gin_files.parse(
    arguments.gin_file,
    [*arguments.gin_bindings, *more_bindings],
    search_paths(arguments),
    arguments.allow_module,
  )


def construct(
  described: type[Described], arguments: argparse.Namespace
) -> Described:
  """Constructs what the parsed gin files describe.

  Args:
    described: a dataclass whose fields the files bind.
    arguments: the flags of `add_arguments`, and `gin_bindings`.

  Raises:
    UserError: as `gin_files.construct`.
  """
  from rlhf_gap.cli import gin_files

  return gin_files.construct(
    described,
    arguments.gin_file,
    arguments.gin_bindings,
    search_paths(arguments),
  )
