"""Samples the next token from its logits, exactly and cheaply.

The Gumbel trick needs a random number for each of 32,128 tokens, which costs
more than a small model's decoder. Here two uniform numbers per row suffice: one
selects a block of the vocabulary by its probability, the other a token in it.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap import errors
from rlhf_gap.token_ids import EOS_ID, PAD_ID

_BLOCK = 128
_INT_MIN = -(2**31)


@dataclasses.dataclass(frozen=True)
class Transform:
  """Changes to the policy's distribution before sampling.

  Attributes:
    temperature: divides the logits; 0 selects the most likely token (greedy).
    top_k: keep only the `top_k` most likely tokens; 0 keeps all.
    top_p: keep the smallest set of most likely tokens whose total probability,
      after temperature and top-k, reaches `top_p`; 1 keeps all. Ties are kept.
    min_length: number of tokens before a response may end.

  Raises:
    UserError: a value is out of range.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  min_length: int = 0

  def __post_init__(self) -> None:
    _check("temperature", self.temperature, self.temperature >= 0, ">= 0")
    _check("top_k", self.top_k, self.top_k >= 0, ">= 0")
    _check("top_p", self.top_p, 0 < self.top_p <= 1, "in (0, 1]")
    _check("min_length", self.min_length, self.min_length >= 0, ">= 0")

  @property
  def keeps_all(self) -> bool:
    """Whether tokens are sampled from the policy's unchanged distribution."""
    return self.temperature == 1 and self.top_k == 0 and self.top_p == 1


def _check(name: str, value: float | int, holds: bool, expected: str) -> None:
  if not holds:
    raise errors.UserError(f"{name}={value}; expected {expected}")


def sample(
  logits: Float[Array, "*batch vocab"],
  uniforms: Float[Array, "*batch 2"],
  may_end: Bool[Array, ""],
  transform: Transform,
) -> Int[Array, "*batch"]:
  """Samples a token from transformed logits, excluding padding.

  A padding token would end the response for all later code, and no training
  target gives it any probability.

  Args:
    logits: logits of the next token.
    uniforms: two independent uniform numbers in [0, 1) per row.
    may_end: whether EOS is allowed.
    transform: temperature and truncation.

  Returns:
    Token ids.
  """
  forbidden = jnp.zeros(logits.shape[-1], bool).at[PAD_ID].set(True)
  forbidden = forbidden.at[EOS_ID].set(~may_end)
  forbidden = jnp.broadcast_to(forbidden, logits.shape)
  logits = jnp.where(forbidden, -jnp.inf, logits)
  if transform.temperature == 0:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / transform.temperature
  if transform.top_k:
    logits = keep_top_k(logits, transform.top_k)
  if transform.top_p < 1:
    logits = keep_top_p(logits, transform.top_p)
  return inverse_cdf(logits, uniforms)


def inverse_cdf(
  logits: Float[Array, "*batch vocab"], uniforms: Float[Array, "*batch 2"]
) -> Int[Array, "*batch"]:
  """Samples ids by inverting the cumulative distribution, in two stages.

  Args:
    logits: unnormalised log-probabilities; -inf excludes an id.
    uniforms: numbers in [0, 1): the first selects a block of the vocabulary,
      the second an id within the block.

  Returns:
    Ids with probabilities softmax(logits).
  """
  weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
  padding = -weights.shape[-1] % _BLOCK
  widths = [(0, 0)] * (weights.ndim - 1) + [(0, padding)]
  blocks = jnp.pad(weights, widths)
  blocks = blocks.reshape(*weights.shape[:-1], -1, _BLOCK)
  block = _first_above(blocks.sum(axis=-1), uniforms[..., 0])
  chosen = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)
  within = _first_above(chosen[..., 0, :], uniforms[..., 1])
  return block * _BLOCK + within


def _first_above(
  weights: Float[Array, "*batch n"], uniform: Float[Array, "*batch"]
) -> Int[Array, "*batch"]:
  """Returns the first index whose running sum exceeds uniform * total."""
  sums = jnp.cumsum(weights, axis=-1)
  above = sums > uniform[..., None] * sums[..., -1:]
  # If rounding leaves none above, use the last index with a positive weight.
  last = weights.shape[-1] - 1 - jnp.argmax(weights[..., ::-1] > 0, axis=-1)
  first = jnp.argmax(above, axis=-1)
  return jnp.where(above.any(axis=-1), first, last).astype(jnp.int32)


def keep_top_k(
  logits: Float[Array, "*batch vocab"], k: int
) -> Float[Array, "*batch vocab"]:
  """Sets all but the k largest logits to -inf; ties are kept."""
  k = min(k, logits.shape[-1])

  def enough(kept: Bool[Array, "*batch vocab"]) -> Bool[Array, "*batch"]:
    return kept.sum(axis=-1) >= k

  return _keep_from(logits, enough)


def keep_top_p(
  logits: Float[Array, "*batch vocab"], p: float
) -> Float[Array, "*batch vocab"]:
  """Keeps the largest logits whose total probability reaches p."""
  probabilities = jax.nn.softmax(logits, axis=-1)

  def enough(kept: Bool[Array, "*batch vocab"]) -> Bool[Array, "*batch"]:
    return jnp.where(kept, probabilities, 0).sum(axis=-1) >= p

  return _keep_from(logits, enough)


def _keep_from(
  logits: Float[Array, "*batch vocab"],
  enough: Callable[[Bool[Array, "*batch vocab"]], Bool[Array, "*batch"]],
) -> Float[Array, "*batch vocab"]:
  """Masks logits below the highest threshold that keeps `enough` of them.

  The threshold is found by bisection on the floats' order-preserving integer
  representation: 33 passes over the vocabulary cost far less than sorting it.
  """
  bits = jax.lax.bitcast_convert_type(logits, jnp.int32)
  keys = jnp.where(bits < 0, _INT_MIN - bits - 1, bits)

  def kept(threshold: Int[Array, "*batch"]) -> Bool[Array, "*batch vocab"]:
    return keys >= threshold[..., None]

  def halve(_: int | Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = bounds  # low keeps enough logits, high too few
    middle = (low >> 1) + (high >> 1) + (low & high & 1)
    is_enough = enough(kept(middle))
    return jnp.where(is_enough, middle, low), jnp.where(is_enough, high, middle)

  shape = logits.shape[:-1]
  low = jnp.full(shape, _INT_MIN, jnp.int32)
  high = keys.max(axis=-1) + 1
  low, _ = jax.lax.fori_loop(0, 33, halve, (low, high))
  return jnp.where(kept(low), logits, -jnp.inf)
