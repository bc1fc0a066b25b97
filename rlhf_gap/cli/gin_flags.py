"""T5X's gin flags: --gin_file, --gin_search_paths and --gin.NAME=value."""

import argparse
from collections.abc import Sequence

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
    help="a gin file; may be repeated, later ones override",
  )
  parser.add_argument(
    "--gin_search_paths",
    default="",
    metavar="DIRS",
    help="folders to look for gin files in, separated by commas",
  )
  parser.epilog = (
    "--gin.NAME=value sets a macro or a binding, such as"
    " --gin.MODEL_DIR=runs/a or --gin.TRAIN_STEPS=100."
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
  return [path for path in arguments.gin_search_paths.split(",") if path]
