"""Flags that several commands have in common."""

import argparse
from collections.abc import Sequence

from rlhf_gap.cli import flag_types


def add_storage(
  parser: argparse.ArgumentParser,
  flags: Sequence[tuple[str, str, str | None]],
  *,
  required: bool = True,
) -> None:
  """Declares flags whose values are paths or URLs of stores or checkpoints.

  Args:
    parser: the command's.
    flags: name, metavar and help of each.
    required: whether all of them must be given.
  """
  for name, metavar, text in flags:
    parser.add_argument(
      name,
      required=required,
      type=flag_types.storage,
      metavar=metavar,
      help=text,
    )


def add_keep(parser: argparse.ArgumentParser) -> None:
  """Declares --keep, which applies to prompts longer than a judge's window."""
  parser.add_argument(
    "--keep",
    choices=("end", "start"),
    default="end",
    help="which end of an overlong prompt to keep: end for dialogues (default),"
    " start for posts",
  )


def add_dtype(
  parser: argparse.ArgumentParser, of: str, default: str | None = None
) -> None:
  """Declares --dtype.

  Args:
    parser: the command's parser.
    of: what the dtype applies to, such as "the parameters".
    default: the default; None keeps the checkpoint's own type.
  """
  shown = default or "the checkpoint's"
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default=default,
    help=f"type of {of} (default: {shown})",
  )


def add_moved_vocabulary(parser: argparse.ArgumentParser) -> None:
  """Declares --vocabulary of a command that decodes a store."""
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="the SentencePiece model, if it has moved since the store was built",
  )
