"""T5's decoder a token at a time, over caches that stay on the device."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.models import attention, t5, transformer
from rlhf_gap.token_ids import PAD_ID


class Prompts(NamedTuple):
  """Encoded prompts, projected once for every layer of the decoder.

  Attributes:
    crosses: keys and values of each layer's cross-attention; one copy a prompt,
      however many samples are drawn.
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
    params: its parameters.
    encoder_input_tokens: prompt ids, padded with 0 on the right.

  Returns:
    What every decoding step reads.
  """
  encoded = t5.encode(config, params, encoder_input_tokens)
  crosses = t5.apply(config, params, encoded, method="cross_keys_values")
  return Prompts(crosses, (encoder_input_tokens > PAD_ID)[:, None, :, None])


def empty_caches(
  config: t5.T5Config, batch: int, num_samples: int, max_length: int
) -> transformer.Caches:
  """Returns the self-attention caches before the first token.

  Args:
    config: the architecture.
    batch: number of prompts.
    num_samples: samples a prompt.
    max_length: number of positions to come.

  Returns:
    A cache for each decoder layer, zeros in the activations' type.
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
    params: its parameters.
    tokens: the token at `position`; 0 at position 0.
    caches: keys and values of the earlier positions.
    encoded: the prompts.
    position: index of the token.

  Returns:
    The logits of the next token, float32, and the caches, written in place.
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
