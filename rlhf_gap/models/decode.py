"""Incremental decoding: one token per step, with caches kept on the device."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.models import attention, t5, transformer
from rlhf_gap.token_ids import PAD_ID


class Prompts(NamedTuple):
  """Encoded prompts, projected for the cross-attention of every layer.

  Attributes:
    crosses: each layer's cross-attention keys and values; one copy per prompt,
      shared by all of its samples.
    mask: True where a prompt has a token.
  """

  crosses: list[transformer.KeysValues]
  mask: Bool[Array, "batch 1 source 1"]


def prompts(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
) -> Prompts:
  """Encodes prompts and projects them for cross-attention.

  Args:
    config: the architecture.
    params: the model's parameters.
    encoder_input_tokens: prompt ids, right-padded with 0.

  Returns:
    The encoded prompts that every decoding step reads.
  """
  encoded = t5.encode(config, params, encoder_input_tokens)
  crosses = t5.apply(config, params, encoded, method="cross_keys_values")
  return Prompts(crosses, (encoder_input_tokens > PAD_ID)[:, None, :, None])


def empty_caches(
  config: t5.T5Config, batch: int, num_samples: int, max_length: int
) -> transformer.Caches:
  """Returns empty self-attention caches.

  Args:
    config: the architecture.
    batch: number of prompts.
    num_samples: samples per prompt.
    max_length: number of positions to decode.

  Returns:
    One cache per decoder layer: zeros of the activations' dtype.
  """
  shape = (batch, num_samples, config.num_heads, max_length, config.head_dim)
  axes = ("batch", None, "heads", None, "kv")
  zeros = nn.with_logical_constraint(jnp.zeros(shape, config.dtype), axes)
  cache = attention.KeyValueCache(zeros, zeros)
  return [cache for _ in range(config.num_decoder_layers)]


def step(
  config: t5.T5Config,
  params: t5.Params,
  tokens: Int[Array, "batch samples"],
  caches: transformer.Caches,
  encoded: Prompts,
  position: Int[Array, ""],
) -> tuple[Float[Array, "batch samples vocab"], transformer.Caches]:
  """Reads one token of every sample and predicts the next.

  Args:
    config: the architecture.
    params: the model's parameters.
    tokens: the token at `position`; 0 at position 0.
    caches: keys and values of the earlier positions.
    encoded: the encoded prompts.
    position: index of the token.

  Returns:
    The float32 logits of the next token, and the caches, updated in place.
  """
  x, caches = t5.apply(
    config,
    params,
    tokens,
    caches,
    encoded.crosses,
    encoded.mask,
    position,
    method="step",
  )
  return t5.head(config, params, x), caches
