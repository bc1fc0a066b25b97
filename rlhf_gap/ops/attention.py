"""Softmax attention with a custom gradient that makes few passes over scores.

The scores [batch, heads, query, key] are far larger than the inputs and the
output, so on most machines their memory traffic sets the running time. The
exponentials are never divided by their sum; the much smaller output and its
cotangent are divided instead. A CPU processes a few examples at a time so that
their scores stay in cache.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Replaces the scores of masked positions; their softmax is exactly zero. T5X
# uses the same number, so even a fully masked row agrees with it.
MASKED_SCORE = -1e10

# Scores held at a time on a CPU: 2 MiB of float32, about one core's cache.
_CPU_SCORES = 2**19

_Mask = Bool[Array, "batch 1 #query key"]
_Bias = Float[Array, "1 heads query key"]


class _Inputs(NamedTuple):
  """Query, key and value, heads before positions; also their gradients."""

  query: Float[Array, "batch heads query head_dim"]
  key: Float[Array, "batch heads key head_dim"]
  value: Float[Array, "batch heads key head_dim"]


class _Saved(NamedTuple):
  """Forward results that the gradient needs besides the inputs."""

  exponentials: Float[Array, "batch heads query key"]
  sums: Float[Array, "batch heads query 1"]
  output: Float[Array, "batch heads query head_dim"]


class _Chunking(NamedTuple):
  """Examples per chunk of the batch, and whether only CPUs use chunks."""

  size: int
  cpu_only: bool


def attend(
  query: Float[Array, "batch query heads head_dim"],
  key: Float[Array, "batch key heads head_dim"],
  value: Float[Array, "batch key heads head_dim"],
  mask: Bool[Array, "#batch 1 #query key"],
  bias: Float[Array, "1 heads query key"] | None = None,
  *,
  chunk_size: int | None = None,
) -> Float[Array, "batch query heads head_dim"]:
  """Returns softmax(query key^T + bias, masked) value for each head.

  Scores, softmax and the bias's gradient are float32; matrix products use the
  dtype of the inputs.

  Args:
    query: queries, not scaled by 1/sqrt(head_dim).
    key: keys.
    value: values.
    mask: True where a query may attend to a key.
    bias: added to the scores, in nats; None for no bias.
    chunk_size: number of examples whose scores are held at a time; must divide
      the batch. By default a few on a single CPU device and the whole batch
      everywhere else: a loop over the batch would undo its sharding.

  Returns:
    The attended values, in the dtype of `value`.
  """
  batch = query.shape[0]
  if chunk_size is None:
    scores_per_example = query.shape[2] * query.shape[1] * key.shape[1]
    chunking = _default_chunking(batch, scores_per_example)
  else:
    chunking = _Chunking(chunk_size, cpu_only=False)
  inputs = _Inputs(*(x.swapaxes(1, 2) for x in (query, key, value)))
  mask = jnp.broadcast_to(mask, (batch, *mask.shape[1:]))
  return _attend(chunking, inputs, mask, bias).swapaxes(1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
  chunking: _Chunking | None, inputs: _Inputs, mask: _Mask, bias: _Bias | None
) -> Float[Array, "batch heads query head_dim"]:
  return _forward(chunking, inputs, mask, bias)[0]


def _forward(
  chunking: _Chunking | None, inputs: _Inputs, mask: _Mask, bias: _Bias | None
) -> tuple[Array, tuple[_Inputs, _Mask, _Bias | None, _Saved]]:
  def chunked(size: int, bias: _Bias | None, *operands: Any) -> _Saved:
    chunks = _split(operands, size)
    return _merge(
      jax.lax.map(lambda chunk: _attend_whole(bias, *chunk), chunks)
    )

  saved = _dispatch(chunking, _attend_whole, chunked, bias, inputs, mask)
  return saved.output, (inputs, mask, bias, saved)


def _backward(
  chunking: _Chunking | None,
  residuals: tuple[_Inputs, _Mask, _Bias | None, _Saved],
  cotangent: Float[Array, "batch heads query head_dim"],
) -> tuple[_Inputs, None, _Bias | None]:
  inputs, mask, bias, saved = residuals

  def whole(bias: _Bias | None, *operands: Any) -> tuple[_Inputs, Any]:
    gradients, scores = _gradients(*operands)
    bias_gradient = jax.tree.map(
      lambda _: scores.sum(axis=0, keepdims=True), bias
    )
    return gradients, bias_gradient

  def chunked(size: int, bias: _Bias | None, *operands: Any) -> Any:
    def add_chunk(total: Any, operands: Any) -> tuple[Any, _Inputs]:
      gradients, bias_gradient = whole(bias, *operands)
      return jax.tree.map(jnp.add, total, bias_gradient), gradients

    zeros = jax.tree.map(jnp.zeros_like, bias)
    total, gradients = jax.lax.scan(add_chunk, zeros, _split(operands, size))
    return _merge(gradients), total

  operands = (bias, inputs, mask, saved, cotangent)
  gradients, bias_gradient = _dispatch(chunking, whole, chunked, *operands)
  return gradients, None, bias_gradient


_attend.defvjp(_forward, _backward)


def _attend_whole(bias: _Bias | None, inputs: _Inputs, mask: _Mask) -> _Saved:
  scores = _product("bhqd,bhkd->bhqk", inputs.query, inputs.key)
  if bias is not None:
    scores = scores + bias
  scores = jnp.where(mask, scores, MASKED_SCORE)
  exponentials = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
  sums = exponentials.sum(axis=-1, keepdims=True)
  exponentials = exponentials.astype(inputs.value.dtype)
  output = _product("bhqk,bhkd->bhqd", exponentials, inputs.value) / sums
  return _Saved(exponentials, sums, output.astype(inputs.value.dtype))


def _gradients(
  inputs: _Inputs,
  mask: _Mask,
  saved: _Saved,
  cotangent: Float[Array, "batch heads query head_dim"],
) -> tuple[_Inputs, Float[Array, "batch heads query key"]]:
  """Returns the gradients of the inputs and, in float32, of the scores.

  With weights w = e / s, output o and its cotangent g, the gradient of the
  scores is w (g v^T - g.o) = e ((g/s) v^T - (g/s).o).
  """
  dtype = inputs.value.dtype
  scaled = (cotangent / saved.sums).astype(dtype)
  projection = scaled.astype(jnp.float32) * saved.output.astype(jnp.float32)
  projection = projection.sum(axis=-1, keepdims=True)
  weights = _product("bhqd,bhkd->bhqk", scaled, inputs.value)
  scores = jnp.where(mask, saved.exponentials * (weights - projection), 0)
  narrow = scores.astype(dtype)
  query = _product("bhqk,bhkd->bhqd", narrow, inputs.key)
  key = _product("bhqk,bhqd->bhkd", narrow, inputs.query)
  value = _product("bhqk,bhqd->bhkd", saved.exponentials, scaled)
  gradients = _Inputs(*(x.astype(dtype) for x in (query, key, value)))
  return gradients, scores


def _product(subscripts: str, left: Array, right: Array) -> Array:
  return jnp.einsum(subscripts, left, right, preferred_element_type=jnp.float32)


def _default_chunking(batch: int, scores_per_example: int) -> _Chunking | None:
  """Returns the chunking for a CPU; None where chunks would gain nothing."""
  if jax.device_count() > 1:
    return None
  limit = max(1, _CPU_SCORES // scores_per_example)
  size = max(n for n in range(1, min(limit, batch) + 1) if batch % n == 0)
  return _Chunking(size, cpu_only=True) if size < batch else None


def _dispatch(
  chunking: _Chunking | None,
  whole: Callable[..., Any],
  chunked: Callable[..., Any],
  *operands: Any,
) -> Any:
  if chunking is None:
    return whole(*operands)
  sized = functools.partial(chunked, chunking.size)
  if not chunking.cpu_only:
    return sized(*operands)
  # Decided at lowering, when the platform is known: programs for a pod are
  # lowered on a CPU too.
  return jax.lax.platform_dependent(*operands, cpu=sized, default=whole)


def _split(tree: Any, size: int) -> Any:
  """[batch, ...] -> [batch / size, size, ...]."""
  return jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), tree)


def _merge(tree: Any) -> Any:
  """[chunks, size, ...] -> [chunks * size, ...]."""
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
