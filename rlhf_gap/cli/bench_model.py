"""The model and the batch that `rlhf-gap bench` measures, from its flags."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from rlhf_gap import errors
from rlhf_gap.cli import applying, flag_types, gin_flags

if TYPE_CHECKING:
  from rlhf_gap.benchmarks import workloads
  from rlhf_gap.models import t5


def add_arguments(parser: argparse.ArgumentParser, **sizes: int) -> None:
  """Declares the flags of a model, of its batch and of the timing.

  Args:
    parser: the target's.
    **sizes: the batch's flags and their defaults.
  """
  add = parser.add_argument
  add(
    "--checkpoint",
    type=flag_types.storage,
    metavar="DIR",
    help="time this model",
  )
  add(
    "--gin_file",
    action="append",
    type=flag_types.path,
    default=[],
    metavar="FILE",
    help="time a model drawn at random, such as gin_configs/models/"
    "t5_1_1_small.gin; --gin.NAME=value overrides",
  )
  gin_flags.add_lookup(parser)
  add(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="of parameters and activations (default: the model's own)",
  )
  for name, default in sizes.items():
    sort = flag_types.tokens if "length" in name else flag_types.count
    add(f"--{name}", type=sort, default=default, help=f"(default: {default})")
  add(
    "--repeats",
    type=flag_types.count,
    default=5,
    help="timed calls (default: 5)",
  )


def add_peer(parser: argparse.ArgumentParser) -> None:
  """Declares --peer."""
  parser.add_argument(
    "--peer", choices=("hf",), help="time transformers too, in turn"
  )


def load(
  arguments: argparse.Namespace,
) -> "tuple[t5.T5Config, t5.Params, workloads.Shape]":
  """Returns the model that the flags name and the batch's shape.

  Args:
    arguments: the parsed flags.

  Returns:
    The architecture, its parameters and the shape.

  Raises:
    UserError: no model or two, or a size below 1.
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
      "expected a model: one of --checkpoint=DIR and --gin_file=FILE"
    )
  has_file = bool(arguments.gin_file)
  only_if = applying.only_if
  only_if(
    has_file, arguments, "with --gin_file", "gin_search_paths", "allow_module"
  )
  if arguments.gin_bindings and not has_file:
    raise errors.UserError(
      f"--gin.{arguments.gin_bindings[0]}: only with --gin_file"
    )
  import jax

  from rlhf_gap import checkpoints
  from rlhf_gap.cli import gin_files
  from rlhf_gap.models import t5

  dtype = arguments.dtype
  if arguments.checkpoint:
    loaded = checkpoints.load(
      arguments.checkpoint, dtype=dtype, optimizer_state=False
    )
    config = loaded.config
    if dtype:
      config = dataclasses.replace(config, dtype=dtype)
    return config, loaded.params
  gin_files.parse(
    arguments.gin_file,
    arguments.gin_bindings,
    gin_flags.search_paths(arguments),
    arguments.allow_module,
  )
  config = gin_files.macro("MODEL")
  if dtype:
    config = dataclasses.replace(config, dtype=dtype)

  def draw(key: jax.Array) -> t5.Params:
    params = t5.init(config, key)
    return jax.tree.map(lambda leaf: leaf.astype(config.dtype), params)

  return config, jax.jit(draw)(jax.random.key(0))


def described(
  config: "t5.T5Config", shape: "workloads.Shape"
) -> dict[str, float | int | str]:
  """Returns what was measured, as the first figures of a table."""
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
