"""T5's multi-head attention, relative-position bias and decoder cache.

Scores and softmax are float32; everything else is `dtype`. Scores are not
scaled by 1/sqrt(head_dim): the query kernel's initializer includes the factor.
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

  Half of the buckets hold a single distance each; the others grow
  logarithmically up to `max_distance`. All larger distances share the last.

  Args:
    relative_position: key position minus query position.
    bidirectional: whether keys after the query use the upper half of the
      buckets; if False they share bucket 0.
    num_buckets: total number of buckets.
    max_distance: distance in tokens from which the last bucket is used.

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
  # float32 with its epsilon, like T5X: in float64 some distances at the edge of
  # a bucket would fall into its neighbour.
  ratio = distance.astype(np.float32) / np.float32(exact)
  steps = np.log(ratio + np.finfo(np.float32).eps) / np.log(
    max_distance / exact
  )
  logarithmic = exact + (steps * (num_buckets - exact)).astype(np.int32)
  logarithmic = np.minimum(logarithmic, num_buckets - 1)
  return offset + np.where(distance < exact, distance, logarithmic)


class RelativePositionBias(nn.Module):
  """A learned bias per head and distance bucket, shared by a stack's layers.

  Attributes:
    num_heads: number of attention heads.
    num_buckets: number of distance buckets.
    max_distance: distance in tokens from which the last bucket is used.
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
    """Returns the float32 bias for every query and key position."""
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
      The float32 bias, with `MASKED_SCORE` for keys after `position`.
    """
    # The bias depends only on the distance, so a row is one slice of a table
    # of distances from key_length - 1 down to 0, followed by masked keys.
    buckets = relative_position_buckets(
      -np.arange(key_length - 1, -1, -1),
      bidirectional=False,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )
    earlier = jnp.take(self.rel_embedding, buckets, axis=1, mode="clip")
    shape = (self.num_heads, key_length - 1)
    later = jnp.full(shape, attention.MASKED_SCORE)
    table = jnp.concatenate([earlier, later], axis=1)
    start = key_length - 1 - position
    return jax.lax.dynamic_slice_in_dim(table, start, key_length, axis=1)


class KeyValueCache(NamedTuple):
  """Self-attention keys and values of the positions decoded so far.

  Attributes:
    key: one row per position; zeros for positions not decoded yet.
    value: values, in the same layout.
  """

  key: Float[Array, "batch samples heads key head_dim"]
  value: Float[Array, "batch samples heads key head_dim"]


class Attention(nn.Module):
  """Multi-head attention without bias terms or score scaling.

  Attributes:
    num_heads: number of heads.
    head_dim: size of each head.
    emb_dim: size of the output.
    dropout_rate: dropout rate of the attention weights.
    dtype: dtype of queries, keys, values and the output.
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
    """Splits a projection into heads."""
    split = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return nn.with_logical_constraint(split, ("batch", "length", "heads", "kv"))

  def keys_values(
    self, attended: Float[Array, "batch key embed"]
  ) -> tuple[
    Float[Array, "batch key heads head_dim"],
    Float[Array, "batch key heads head_dim"],
  ]:
    """Returns the keys and values of the attended positions."""
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
    """Attends from `x` to projected keys and values.

    Args:
      x: activations that the queries are computed from.
      key: projected keys (see `keys_values`).
      value: projected values.
      mask: True where a query may attend to a key.
      bias: added to the scores, in nats; None for cross-attention.

    Returns:
      The attended values after the output projection.
    """
    query = self.split_heads(self.query(x))
    if self.dropout_rate and self.has_rng("dropout"):
      attended = self.attend_with_dropout(query, key, value, mask, bias)
    else:
      attended = attention.attend(query, key, value, mask, bias)
    return self.out(attended.reshape(*x.shape[:-1], -1))

  def attend_with_dropout(
    self,
    query: Float[Array, "batch query heads head_dim"],
    key: Float[Array, "batch key heads head_dim"],
    value: Float[Array, "batch key heads head_dim"],
    mask: Bool[Array, "#batch 1 #query key"],
    bias: Float[Array, "1 heads query key"] | None,
  ) -> Float[Array, "batch query heads head_dim"]:
    """Like `attention.attend`, with dropout on the attention weights."""
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
    """Attends from one new position to itself and all earlier positions.

    Args:
      x: activations of each sample's new position.
      cache: keys and values of the earlier positions.
      position: index of the new position.
      bias: added to the scores of every cached position, in nats; at most
        `MASKED_SCORE` for positions after `position`.

    Returns:
      The attended values after the output projection, and the cache with the
      new position written in place.
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
    weights, sums = _unnormalised_softmax(scores + bias[None, None], axis=-1)
    attended = jnp.einsum(
      "bnhkd,bnhk->bnhd", cache.value, weights.astype(self.dtype)
    )
    attended = (attended / sums[..., None]).astype(self.dtype)
    return self.out(attended.reshape(*x.shape[:-1], -1)), cache

  def cross_step(
    self,
    x: Float[Array, "batch samples embed"],
    key: Float[Array, "batch heads key head_dim"],
    value: Float[Array, "batch heads key head_dim"],
    mask: Bool[Array, "batch 1 key 1"],
  ) -> Float[Array, "batch samples embed"]:
    """Attends from one position of every sample to its prompt.

    Equivalent to `__call__`, with a prompt's few samples as the last axis of
    the scores. The keys are then read in memory order, which is five times
    faster on a CPU at 1,024 keys.

    Args:
      x: activations of each sample's new position.
      key: the prompt's keys, heads first.
      value: the prompt's values, heads first.
      mask: True where the prompt has a token.

    Returns:
      The attended values after the output projection.
    """
    query = self.split_heads(self.query(x))
    scores = jnp.einsum(
      "bhkd,bnhd->bhkn", key, query, preferred_element_type=jnp.float32
    )
    scores = jnp.where(mask, scores, attention.MASKED_SCORE)
    weights, sums = _unnormalised_softmax(scores, axis=2)
    attended = jnp.einsum("bhkd,bhkn->bnhd", value, weights.astype(self.dtype))
    attended = (attended / sums.swapaxes(1, 2)[..., None]).astype(self.dtype)
    return self.out(attended.reshape(*x.shape[:-1], -1))


def _unnormalised_softmax(
  scores: Float[Array, "..."], axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
  """Returns the softmax's numerators and their sums over `axis`.

  Dividing the attended values by the sums, instead of dividing the weights,
  saves one pass over the scores.
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
