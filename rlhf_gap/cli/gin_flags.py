"""T5X's gin flags: --gin_file, --gin_search_paths and --gin.NAME=value."""

import argparse
import os
from collections.abc import Sequence

from rlhf_gap.cli import flag_types

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
    " Python: use files that you trust",
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
    help="folders to look for gin files in, separated by commas",
  )
  parser.add_argument(
    "--allow_module",
    action="append",
    default=[],
    metavar="NAME",
    help="let gin files import this module, which runs its code; may be"
    " repeated (always allowed: rlhf_gap, jax, optax, seqio)",
  )


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Takes the `--gin.NAME=value` words out of a command line.

  Args:
    argv: the command's words.

  Returns:
    The bindings, "NAME = value" each, and the other words.
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
