"""T5 1.0 and 1.1 (also Flan-T5, mT5 and ByT5) with T5X's parameter names.

Raffel et al. (2020), "Exploring the limits of transfer learning"; T5 1.1 is the
gated variant of Shazeer (2020) with a separate output head.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlhf_gap.models.config import T5Config as T5Config
from rlhf_gap.models.transformer import Transformer

# Nested dictionaries of arrays under T5X's names.
Params = Mapping[str, Any]


def architecture_name(config: T5Config) -> str:
  """Returns "t5_1_1" or "t5_1_0", or describes any other combination."""
  variant = (config.mlp_activations, config.logits_via_embedding)
  if variant == (("gelu", "linear"), False):
    return "t5_1_1"
  if variant == (("relu",), True):
    return "t5_1_0"
  head = "tied" if config.logits_via_embedding else "separate"
  return f"t5 ({'*'.join(config.mlp_activations)}, {head} head)"


def apply(
  config: T5Config,
  params: Params,
  *arguments: Any,
  method: str = "__call__",
  dropout_key: Array | None = None,
) -> Any:
  """Calls a method of `Transformer`.

  Args:
    config: the architecture.
    params: the model's parameters, under T5X's names.
    *arguments: the method's arguments.
    method: the method's name.
    dropout_key: random key for dropout; None disables dropout.

  Returns:
    The method's result.
  """
  rngs = {} if dropout_key is None else {"dropout": dropout_key}
  model = Transformer(config)
  return model.apply({"params": params}, *arguments, rngs=rngs, method=method)


def init(config: T5Config, key: Array) -> Params:
  """Returns random float32 parameters from T5X's initializers.

  Args:
    config: the architecture.
    key: random key.

  Returns:
    Nested dictionaries under T5X's names.
  """
  return nn.unbox(_init_boxed(config, key))


def _init_boxed(config: T5Config, key: Array) -> Params:
  token = jnp.ones((1, 1), jnp.int32)
  return Transformer(config).init(key, token, token)["params"]


def param_shapes(config: T5Config) -> Params:
  """Returns the `jax.ShapeDtypeStruct` of every parameter; computes nothing."""
  # Not nn.unbox, which on a mesh would try to place these abstract values.
  return jax.tree.map(
    lambda box: box.unbox(apply_constraint=False),
    _abstract(config),
    is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned),
  )


def logical_axes(config: T5Config) -> Params:
  """Returns every parameter's logical axis names, as a `PartitionSpec`."""
  return nn.get_partition_spec(_abstract(config))


@functools.cache
def _abstract(config: T5Config) -> Params:
  # Cached because every checkpoint that is opened needs it.
  return jax.eval_shape(lambda: _init_boxed(config, jax.random.key(0)))


def logits(
  config: T5Config,
  params: Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_input_tokens: Int[Array, "batch target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch target vocab"]:
  """Returns the logits of the token after each decoder input.

  Args:
    config: the architecture.
    params: the model's parameters, under T5X's names.
    encoder_input_tokens: prompt ids, right-padded with 0.
    decoder_input_tokens: target ids shifted right: 0, then the response.
    dropout_key: random key for dropout; None disables dropout.

  Returns:
    Unnormalised float32 log-probabilities, in nats. Values at padding positions
    are meaningless.
  """
  return apply(
    config,
    params,
    encoder_input_tokens,
    decoder_input_tokens,
    dropout_key=dropout_key,
  )


def encode(
  config: T5Config,
  params: Params,
  encoder_input_tokens: Int[Array, "batch source"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch source embed"]:
  """Returns the encoder's output for prompts right-padded with 0."""
  return apply(
    config,
    params,
    encoder_input_tokens,
    method="encode",
    dropout_key=dropout_key,
  )


def decode(
  config: T5Config,
  params: Params,
  encoded: Float[Array, "batch source embed"],
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_input_tokens: Int[Array, "batch responses target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch responses target embed"]:
  """Returns the head's input at each position of each prompt's responses.

  Args:
    config: the architecture.
    params: the model's parameters.
    encoded: the encoder's output.
    encoder_input_tokens: the prompts, which determine the padding mask.
    decoder_input_tokens: responses shifted right (see `logits`). A prompt's
      responses share its encoding and do not attend to each other.
    dropout_key: random key for dropout; None disables dropout.

  Returns:
    Activations of dtype `config.dtype`.
  """
  return apply(
    config,
    params,
    encoded,
    encoder_input_tokens,
    decoder_input_tokens,
    method="decode",
    dropout_key=dropout_key,
  )


def head(
  config: T5Config, params: Params, x: Float[Array, "*batch embed"]
) -> Float[Array, "*batch vocab"]:
  """Returns the float32 logits for the output of `decode`."""
  return apply(config, params, x, method="head")
