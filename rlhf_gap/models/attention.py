"""How T5 attends: heads, their relative-position bias, and the decoder's cache.

Scores and softmax are float32, the rest is `dtype`. There is no 1/sqrt(d): it
lives in the initializer of the query kernel.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.models import layers
from rlhf_gap.ops import attention

_attention_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_relative_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


def relative_position_buckets(
  relative_position: Int[np.ndarray, "..."],
  *,
  bidirectional: bool,
  num_buckets: int,
  max_distance: int,
) -> Int[np.ndarray, "..."]:
  """Maps a distance in tokens to its bucket (Raffel et al. 2020, section 2.1).

  Half of the buckets are single distances; the others grow logarithmically up
  to `max_distance`, beyond which all share the last one.

  Args:
    relative_position: key position minus query position.
    bidirectional: whether keys after the query have buckets of their own (the
      upper half); otherwise they share bucket 0.
    num_buckets: number of buckets in all.
    max_distance: distance, in tokens, from which the last bucket is used.

  Returns:
    Bucket numbers in [0, num_buckets).
  """
  distance = -np.asarray(relative_position)
  offset = np.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    offset = np.where(distance < 0, num_buckets, 0)
    distance = np.abs(distance)
  else:
    distance = np.maximum(distance, 0)
  exact = num_buckets // 2
  # float32 and its epsilon, as T5X computes it: in float64 some distances on
  # the edge of a bucket fall into its neighbour.
  ratio = distance.astype(np.float32) / np.float32(exact)
  steps = np.log(ratio + np.finfo(np.float32).eps) / np.log(
    max_distance / exact
  )
  logarithmic = exact + (steps * (num_buckets - exact)).astype(np.int32)
  logarithmic = np.minimum(logarithmic, num_buckets - 1)
  return offset + np.where(distance < exact, distance, logarithmic)


class RelativePositionBias(nn.Module):
  """A learned bias for each head and distance bucket; one table a stack.

  Attributes:
    num_heads: number of attention heads.
    num_buckets: number of distance buckets.
    max_distance: distance, in tokens, from which the last bucket is used.
  """

  num_heads: int
  num_buckets: int
  max_distance: int

  def setup(self) -> None:
    """Declares the table [heads, buckets]."""
    self.rel_embedding = layers.declare(
      self,
      "rel_embedding",
      _relative_init,
      ("heads", "relpos_buckets"),
      (self.num_heads, self.num_buckets),
    )

  def __call__(
    self, query_length: int, key_length: int, *, bidirectional: bool
  ) -> Float[Array, "1 heads query key"]:
    """Returns the bias of every query and key position, float32."""
    buckets = relative_position_buckets(
      np.arange(key_length)[None, :] - np.arange(query_length)[:, None],
      bidirectional=bidirectional,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )
    return jnp.take(self.rel_embedding, buckets, axis=1, mode="clip")[None]

  def row(
    self, position: Int[Array, ""], key_length: int
  ) -> Float[Array, "heads key"]:
    """Returns the causal bias of one query position over a cache of keys.

    Args:
      position: index of the query, below `key_length`.
      key_length: length of the cache.

    Returns:
      The bias, and `MASKED_SCORE` for keys after `position`, float32.
    """
    # The bias depends on the distance alone: with distances falling from
    # key_length - 1 to 0, then masked ones, a row is one slice of that table.
    buckets = relative_position_buckets(
      -np.arange(key_length - 1, -1, -1),
      bidirectional=False,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )
    seen = jnp.take(self.rel_embedding, buckets, axis=1, mode="clip")
    shape = (self.num_heads, key_length - 1)
    later = jnp.full(shape, attention.MASKED_SCORE)
    table = jnp.concatenate([seen, later], axis=1)
    start = key_length - 1 - position
    return jax.lax.dynamic_slice_in_dim(table, start, key_length, axis=1)


class KeyValueCache(NamedTuple):
  """Keys and values of the positions that a sample has so far.

  Attributes:
    key: one row a position, zeros where there is none yet.
    value: likewise.
  """

  key: Float[Array, "batch samples heads key head_dim"]
  value: Float[Array, "batch samples heads key head_dim"]


class Attention(nn.Module):
  """Multi-head attention without biases; 1/sqrt(d) lives in the initializer.

  Attributes:
    num_heads: number of heads.
    head_dim: size of a head.
    emb_dim: size of the output.
    dropout_rate: of the attention weights.
    dtype: type of queries, keys, values and the output.
  """

  num_heads: int
  head_dim: int
  emb_dim: int
  dropout_rate: float
  dtype: jnp.dtype

  def setup(self) -> None:
    """Declares the four kernels."""

    def query_init(*args: Any) -> Array:
      return _attention_init(*args) / math.sqrt(self.head_dim)

    joined = self.num_heads * self.head_dim
    into, out = ("embed", "joined_kv"), ("joined_kv", "embed")
    self.query = layers.Dense(joined, into, self.dtype, query_init)
    self.key = layers.Dense(joined, into, self.dtype, _attention_init)
    self.value = layers.Dense(joined, into, self.dtype, _attention_init)
    self.out = layers.Dense(self.emb_dim, out, self.dtype, _attention_init)
    self.dropout = layers.Dropout(self.dropout_rate)

  def split_heads(
    self, x: Float[Array, "batch length joined"]
  ) -> Float[Array, "batch length heads head_dim"]:
    """Names the heads of a projection."""
    split = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return nn.with_logical_constraint(split, ("batch", "length", "heads", "kv"))

  def keys_values(
    self, attended: Float[Array, "batch key embed"]
  ) -> tuple[
    Float[Array, "batch key heads head_dim"],
    Float[Array, "batch key heads head_dim"],
  ]:
    """Projects what is attended to."""
    key = self.split_heads(self.key(attended))
    return key, self.split_heads(self.value(attended))

  def __call__(
    self,
    x: Float[Array, "batch query embed"],
    key: Float[Array, "batch key heads head_dim"],
    value: Float[Array, "batch key heads head_dim"],
    mask: Bool[Array, "#batch 1 #query key"],
    bias: Float[Array, "1 heads query key"] | None = None,
  ) -> Float[Array, "batch query embed"]:
    """Attends from `x` to projected keys and values where `mask` allows.

    Args:
      x: what asks.
      key: keys of what is asked (see `keys_values`).
      value: values of what is asked.
      mask: True where a query may see a key.
      bias: added to the scores, in nats; None for cross-attention.

    Returns:
      The attended values through the output kernel.
    """
    query = self.split_heads(self.query(x))
    if self.dropout_rate and self.has_rng("dropout"):
      mixed = self.mix_with_dropout(query, key, value, mask, bias)
    else:
      mixed = attention.attend(query, key, value, mask, bias)
    return self.out(mixed.reshape(*x.shape[:-1], -1))

  def mix_with_dropout(
    self,
    query: Float[Array, "batch query heads head_dim"],
    key: Float[Array, "batch key heads head_dim"],
    value: Float[Array, "batch key heads head_dim"],
    mask: Bool[Array, "#batch 1 #query key"],
    bias: Float[Array, "1 heads query key"] | None,
  ) -> Float[Array, "batch query heads head_dim"]:
    """As `attention.attend`, with the weights thinned out."""
    scores = jnp.einsum(
      "bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32
    )
    if bias is not None:
      scores = scores + bias
    scores = jnp.where(mask, scores, attention.MASKED_SCORE)
    weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", self.dropout(weights), value)

  def step(
    self,
    x: Float[Array, "batch samples embed"],
    cache: KeyValueCache,
    position: Int[Array, ""],
    bias: Float[Array, "heads key"],
  ) -> tuple[Float[Array, "batch samples embed"], KeyValueCache]:
    """Attends from one new position to itself and all earlier ones.

    Args:
      x: the new position of every sample.
      cache: keys and values of the earlier positions.
      position: index of the new one.
      bias: added to the scores of every cached position, in nats; at or below
        `MASKED_SCORE` for those after `position`.

    Returns:
      The attended values through the output kernel, and the cache with the new
      position written in place.
    """
    query, new_key, new_value = (
      self.split_heads(project(x))
      for project in (self.query, self.key, self.value)
    )
    cache = KeyValueCache(
      _write(cache.key, new_key, position),
      _write(cache.value, new_value, position),
    )
    scores = jnp.einsum(
      "bnhkd,bnhd->bnhk", cache.key, query, preferred_element_type=jnp.float32
    )
    weights, sums = _unnormalised(scores + bias[None, None], axis=-1)
    mixed = jnp.einsum(
      "bnhkd,bnhk->bnhd", cache.value, weights.astype(self.dtype)
    )
    mixed = (mixed / sums[..., None]).astype(self.dtype)
    return self.out(mixed.reshape(*x.shape[:-1], -1)), cache

  def cross_step(
    self,
    x: Float[Array, "batch samples embed"],
    key: Float[Array, "batch heads key head_dim"],
    value: Float[Array, "batch heads key head_dim"],
    mask: Bool[Array, "batch 1 key 1"],
  ) -> Float[Array, "batch samples embed"]:
    """Attends from one position of every sample to its prompt.

    As `__call__`, with the few samples of a prompt as the last axis of the
    scores: the large operand is then read in its own order, which made this
    five times as fast on a CPU at 1,024 keys.

    Args:
      x: the new position of every sample.
      key: the prompt's keys, heads first.
      value: its values, heads first.
      mask: True where the prompt has a token.

    Returns:
      The attended values through the output kernel.
    """
    query = self.split_heads(self.query(x))
    scores = jnp.einsum(
      "bhkd,bnhd->bhkn", key, query, preferred_element_type=jnp.float32
    )
    scores = jnp.where(mask, scores, attention.MASKED_SCORE)
    weights, sums = _unnormalised(scores, axis=2)
    mixed = jnp.einsum("bhkd,bhkn->bnhd", value, weights.astype(self.dtype))
    mixed = (mixed / sums.swapaxes(1, 2)[..., None]).astype(self.dtype)
    return self.out(mixed.reshape(*x.shape[:-1], -1))


def _unnormalised(
  scores: Float[Array, "..."], axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
  """Returns softmax's numerators and, without the axis, their sums.

  Dividing what they mix, rather than them, is a pass less over the scores.
  """
  weights = jnp.exp(scores - scores.max(axis=axis, keepdims=True))
  return weights, weights.sum(axis=axis)


def _write(
  cache: Float[Array, "batch samples heads key head_dim"],
  new: Float[Array, "batch samples heads head_dim"],
  position: Int[Array, ""],
) -> Float[Array, "batch samples heads key head_dim"]:
  return jax.lax.dynamic_update_slice_in_dim(
    cache, new[:, :, :, None], position, axis=3
  )
