"""Rewrites a checkpoint in another format, then reads it back and compares.

The source's format is detected and the source is not touched. Parameters keep
their bits unless --dtype says otherwise; "hf" keeps no step and no optimizer
state. The destination must not exist.
"""

import argparse
import time

from rlhf_gap.cli import flag_types


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap convert`."""
  parser.add_argument(
    "source",
    type=flag_types.storage,
    metavar="SRC",
    help="a checkpoint's folder",
  )
  parser.add_argument(
    "destination",
    type=flag_types.storage,
    metavar="DST",
    help="the folder to write; must not exist",
  )
  parser.add_argument(
    "--format", required=True, help="what to write: t5x, t5x_orbax or hf"
  )
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="cast the parameters (default: keep their bits)",
  )
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="a SentencePiece model that the embedding must have rows for; hf"
    " keeps it beside the model, as spiece.model",
  )


def run(arguments: argparse.Namespace) -> None:
  """Converts the checkpoint and prints what was written."""
  from rlhf_gap import checkpoints
  from rlhf_gap.checkpoints import files
  from rlhf_gap.models import t5

  start = time.monotonic()
  written = checkpoints.convert(
    arguments.source,
    arguments.destination,
    format=arguments.format,
    dtype=arguments.dtype,
    vocabulary=arguments.vocabulary,
  )
  size = files.size_bytes(arguments.destination) or 0
  print(
    f"{arguments.destination}: {t5.architecture_name(written.config)},"
    f" {len(written.arrays)} parameters as {written.format},"
    f" {size / 1e6:,.1f} MB, every array read back and equal,"
    f" {time.monotonic() - start:.1f} s"
  )
