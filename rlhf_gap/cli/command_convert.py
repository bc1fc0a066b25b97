"""Rewrites a checkpoint in another format, then reads it back and compares.

The source's format is detected and the source is not touched. Parameters keep
their bits unless --dtype says otherwise; "hf" keeps no step and no optimizer
state. The destination must not exist. Arrays, architecture and, up to 300
million parameters, the logits of a small batch are compared. What the source's
files do not say is assumed and printed.
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
    help="a SentencePiece model, or `bytes`, that the embedding must have rows"
    " for; hf keeps the model's file beside the parameters, as spiece.model",
  )
  add_untold_arguments(parser)


def add_untold_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares what the names and shapes of a checkpoint do not tell."""
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
    help="largest distance of the source's relative positions (default: what"
    " the checkpoint records, else 128)",
  )


def run(arguments: argparse.Namespace) -> None:
  """Converts the checkpoint and prints what was written."""
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
