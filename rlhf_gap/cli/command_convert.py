"""Converts a checkpoint to another format, then reads it back and compares.

The source's format is detected, and the source is not modified. Parameters keep
their bits unless --dtype is given; "hf" keeps neither step nor optimizer state,
and gets a tokenizer, a generation config and a model card.
The destination must not exist. Arrays and architecture are compared, and up to
300 million parameters also the logits of a small batch. Assumptions about the
source are printed.
"""

import argparse
import os
import time
from typing import TYPE_CHECKING

from rlhf_gap.cli import applying, flag_types, shared_flags

if TYPE_CHECKING:
  from rlhf_gap import stores


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
    help="a SentencePiece model, a Hugging Face folder or `bytes`, to check"
    " against the embedding; hf gets its tokenizer (default: the source's own,"
    " or that of the store it was trained on)",
  )
  parser.add_argument(
    "--records",
    action="append",
    default=[],
    type=flag_types.local,
    metavar="FILE",
    help="evaluations for hf's model card (default: those of the study that the"
    " checkpoint is in); may be repeated",
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
  from rlhf_gap import checkpoints, errors, stores
  from rlhf_gap.checkpoints import files, verifying
  from rlhf_gap.models import t5

  start = time.monotonic()
  is_hf = arguments.format == "hf"
  applying.only_if(is_hf, arguments, "with --format=hf", "records")
  vocabulary, companions = _companions(arguments) if is_hf else (None, {})
  if not is_hf and arguments.vocabulary is not None:
    vocabulary = stores.named(arguments.vocabulary)
  written = checkpoints.convert(
    arguments.source,
    arguments.destination,
    format=arguments.format,
    dtype=arguments.dtype,
    vocabulary=vocabulary,
    companions=companions,
    mlp_activations=arguments.mlp_activations,
    max_distance=arguments.max_distance,
  )
  size = files.size_bytes(arguments.destination) or 0
  if is_hf and vocabulary is None:
    print(
      f"{arguments.destination}: without a tokenizer, because none is known;"
      " give --vocabulary to add one"
    )
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


def _companions(
  arguments: argparse.Namespace,
) -> "tuple[stores.Vocabulary | None, dict[str, bytes]]":
  """Returns the vocabulary and the files that go with hf's weights."""
  from rlhf_gap import checkpoints
  from rlhf_gap.checkpoints import files
  from rlhf_gap.evaluation import publishing

  source = arguments.source
  files.check_new(arguments.destination)
  checkpoints.open(source)  # says best what is wrong with it
  known = publishing.origin(source)
  vocabulary = publishing.vocabulary(source, arguments.vocabulary, known)
  name = os.path.basename(os.path.abspath(arguments.destination))
  measured = publishing.records_of(source, arguments.records)
  return vocabulary, publishing.companions(
    source, name, vocabulary, known, measured
  )
