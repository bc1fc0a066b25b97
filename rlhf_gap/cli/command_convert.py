"""Converts a checkpoint to another format, then reads it back and compares.

The source's format is detected, and the source is not modified. Parameters keep
their bits unless --dtype is given; "hf" keeps neither step nor optimizer state.
The destination must not exist. Arrays and architecture are compared, and up to
300 million parameters also the logits of a small batch. Assumptions about the
source are printed.
"""

import argparse
import time

from rlhf_gap.cli import flag_types, shared_flags


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
    "--format", required=True, help="format to write: t5x, t5x_orbax or hf"
  )
  shared_flags.add_dtype(parser, "the parameters written")
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="a SentencePiece model, or `bytes`, to check against the embedding; hf"
    " gets a copy of the model as spiece.model",
  )
  add_unrecorded_arguments(parser)


def add_unrecorded_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares settings that names and shapes do not determine."""
  parser.add_argument(
    "--mlp_activations",
    metavar="NAMES",
    type=flag_types.words("relu", "gelu", "silu", "linear"),
    help="activations of the source's feed-forward layer, such as silu,linear"
    " (default: what the checkpoint records, else relu or gelu,linear)",
  )
  parser.add_argument(
    "--max_distance",
    metavar="N",
    type=flag_types.count,
    help="relative_attention_max_distance of the source (default: what the"
    " checkpoint records, else 128)",
  )


def run(arguments: argparse.Namespace) -> None:
  """Converts the checkpoint and prints a summary."""
  from rlhf_gap import checkpoints, errors
  from rlhf_gap.checkpoints import files, verifying
  from rlhf_gap.models import t5

  start = time.monotonic()
  written = checkpoints.convert(
    arguments.source,
    arguments.destination,
    format=arguments.format,
    dtype=arguments.dtype,
    vocabulary=arguments.vocabulary,
    mlp_activations=arguments.mlp_activations,
    max_distance=arguments.max_distance,
  )
  size = files.size_bytes(arguments.destination) or 0
  for note in written.notes:
    print(errors.printable(f"{arguments.source}: {note}"))
  logits = "and the logits of a small batch "
  if not verifying.is_probed(written):
    logits = ""
  print(
    f"{arguments.destination}: {t5.architecture_name(written.config)},"
    f" {len(written.arrays)} parameters as {written.format},"
    f" {size / 1e6:,.1f} MB, every array {logits}read back and equal,"
    f" {time.monotonic() - start:.1f} s"
  )
