"""Describes a checkpoint: format, architecture, parameters, step and size.

Only names and shapes are read, so even an 11B checkpoint takes no time. Notes
state what they do not determine and had to be assumed.
"""

import argparse
import json
from typing import TYPE_CHECKING, Any

from rlhf_gap.cli import command_convert, flag_types

if TYPE_CHECKING:
  from rlhf_gap import checkpoints


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap inspect`."""
  parser.add_argument(
    "path",
    type=flag_types.storage,
    metavar="PATH",
    help="the checkpoint's folder",
  )
  parser.add_argument("--json", action="store_true", help="print one object")
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="a SentencePiece model, or `bytes`, to check against the embedding",
  )
  command_convert.add_unrecorded_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
  """Prints the facts about the checkpoint at `arguments.path`."""
  from rlhf_gap import checkpoints, errors, stores

  checkpoint = checkpoints.open(
    arguments.path,
    mlp_activations=arguments.mlp_activations,
    max_distance=arguments.max_distance,
  )
  if arguments.vocabulary:
    size = stores.size(stores.named(arguments.vocabulary))
    checkpoints.check_vocabulary(checkpoint.config, size, arguments.path)
  summary = describe(arguments.path, checkpoint)
  if arguments.json:
    print(json.dumps(summary, indent=2))
    return
  notes = summary.pop("notes")
  width = max(map(len, summary))
  for name, value in summary.items():
    print(f"{name:<{width}}  {_readable(value)}")
  for note in notes:
    print(errors.printable(f"{'note':<{width}}  {note}"))


def describe(
  path: str, checkpoint: "checkpoints.StoredCheckpoint"
) -> dict[str, Any]:
  """Returns the facts that `rlhf-gap inspect` prints.

  Args:
    path: the checkpoint's folder.
    checkpoint: the opened checkpoint.

  Returns:
    Facts by name. Sizes are in bytes, None if unknown.
  """
  from rlhf_gap.checkpoints import architecture_file, files
  from rlhf_gap.models import t5

  config = checkpoint.config
  arrays = checkpoint.arrays.values()
  return {
    "path": path,
    "format": checkpoint.format,
    "architecture": t5.architecture_name(config),
    "parameters": sum(array.size for array in arrays),
    "step": checkpoint.step,
    "dtype": "+".join(sorted({array.dtype.name for array in arrays})),
    "parameter_bytes": sum(array.nbytes for array in arrays),
    "size_bytes": files.size_bytes(path),
    **{name: getattr(config, name) for name in architecture_file.COMPUTED},
    "optimizer_state": optimizer_kind(checkpoint),
    "notes": list(checkpoint.notes),
  }


def optimizer_kind(checkpoint: "checkpoints.StoredCheckpoint") -> str:
  """Returns the name of the optimizer whose state a checkpoint holds."""
  leaves = {name.rsplit("/", 1)[1] for name in checkpoint.optimizer_arrays}
  if not leaves:
    return "none"
  if leaves == {"v_row", "v_col", "v", "m"}:
    return "adafactor"
  return f"unknown ({', '.join(sorted(leaves))})"


def _readable(value: Any) -> str:
  if isinstance(value, bool) or not isinstance(value, int):
    return ", ".join(value) if isinstance(value, tuple) else str(value)
  return f"{value:,}"
