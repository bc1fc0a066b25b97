"""The model and batch of `rlhf-gap bench`, from its flags."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from rlhf_gap import errors
from rlhf_gap.cli import applying, flag_types, gin_flags, shared_flags

if TYPE_CHECKING:
  from rlhf_gap.benchmarks import workloads
  from rlhf_gap.models import t5


_SIZES = {
  "batch_size": "prompts or pairs per batch",
  "num_samples": "responses per prompt",
  "input_length": "encoder window in tokens",
  "output_length": "response window in tokens",
}


def add_arguments(parser: argparse.ArgumentParser, **sizes: int) -> None:
  """Declares the flags of the model, the batch and the timing.

  Args:
    parser: the target's.
    **sizes: the batch's flags, with their defaults.
  """
  add = parser.add_argument
  add(
    "--checkpoint",
    type=flag_types.storage,
    metavar="DIR",
    help="a checkpoint to time",
  )
  add(
    "--gin_file",
    action="append",
    type=flag_types.path,
    default=[],
    metavar="FILE",
    help="a model to time with random parameters, such as gin_configs/models/"
    "t5_1_1_small.gin; --gin.NAME=value overrides",
  )
  gin_flags.add_lookup(parser)
  shared_flags.add_dtype(parser, "parameters and activations")
  for name, default in sizes.items():
    sort = flag_types.tokens if "length" in name else flag_types.count
    text = f"{_SIZES[name]} (default: {default})"
    add(f"--{name}", type=sort, default=default, help=text)
  add(
    "--repeats",
    type=flag_types.count,
    default=5,
    help="timed calls (default: 5)",
  )


def add_peer(parser: argparse.ArgumentParser) -> None:
  """Declares --peer."""
  parser.add_argument(
    "--peer", choices=("hf",), help="also time transformers, alternating"
  )


def load(
  arguments: argparse.Namespace,
) -> "tuple[t5.T5Config, t5.Params, workloads.Shape]":
  """Loads the model that the flags name.

  Args:
    arguments: the parsed flags.

  Returns:
    The architecture, its parameters and the batch's shape.

  Raises:
    UserError: no model is given, or two, or a size is below 1.
  """
  from rlhf_gap.benchmarks import workloads

  fields = {
    "batch": arguments.batch_size,
    "responses": getattr(arguments, "num_samples", 1),
    "source": arguments.input_length,
    "target": arguments.output_length,
  }
  return *_model(arguments), workloads.Shape(**fields)


def _model(arguments: argparse.Namespace) -> "tuple[t5.T5Config, t5.Params]":
  if bool(arguments.checkpoint) == bool(arguments.gin_file):
    raise errors.UserError(
      "a model is missing: expected one of --checkpoint=DIR and --gin_file=FILE"
    )
  has_file = bool(arguments.gin_file)
  applying.only_if(
    has_file, arguments, "with --gin_file", "gin_search_paths", "allow_module"
  )
  if arguments.gin_bindings and not has_file:
    raise errors.UserError(
      f"--gin.{arguments.gin_bindings[0]} has an effect only with --gin_file"
    )
  import jax

  from rlhf_gap import checkpoints
  from rlhf_gap.cli import gin_files
  from rlhf_gap.models import t5

  dtype = arguments.dtype
  if arguments.checkpoint:
    checkpoint = checkpoints.load(
      arguments.checkpoint, dtype=dtype, optimizer_state=False
    )
    config = checkpoint.config
    if dtype:
      config = dataclasses.replace(config, dtype=dtype)
    return config, checkpoint.params
  gin_flags.parse(arguments)
  config = gin_files.macro("MODEL")
  if dtype:
    config = dataclasses.replace(config, dtype=dtype)

  def init(key: jax.Array) -> t5.Params:
    params = t5.init(config, key)
    return jax.tree.map(lambda leaf: leaf.astype(config.dtype), params)

  return config, jax.jit(init)(jax.random.key(0))


def described(
  config: "t5.T5Config", shape: "workloads.Shape"
) -> dict[str, float | int | str]:
  """Returns device, architecture and batch, the first rows of the table."""
  import jax

  from rlhf_gap.models import t5

  return {
    "device": jax.devices()[0].device_kind,
    "architecture": t5.architecture_name(config),
    "emb_dim": config.emb_dim,
    "layers": f"{config.num_encoder_layers}+{config.num_decoder_layers}",
    "vocab_size": config.vocab_size,
    "dtype": config.dtype,
    **shape._asdict(),
  }
