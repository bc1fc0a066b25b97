"""Softmax attention with a gradient of its own, in few passes over the scores.

Scores [batch, heads, query, key] are far larger than what goes in and comes
out, so that on most machines their traffic sets the time. The exponentials are
never divided by their sum: the much smaller output and its cotangent are. On a
CPU a few examples are done at a time, so that their scores stay in its caches.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Added to the scores of masked positions; their softmax is exactly zero. The
# same number as T5X's, so that even a fully masked row agrees with it.
MASKED_SCORE = -1e10

# Scores held at once on a CPU: two MiB of float32, about its cores' caches.
_CPU_SCORES = 2**19

_Mask = Bool[Array, "batch 1 #query key"]
_Bias = Float[Array, "1 heads query key"]


class _Inputs(NamedTuple):
  """What attention mixes, heads before positions; also their gradients."""

  query: Float[Array, "batch heads query head_dim"]
  key: Float[Array, "batch heads key head_dim"]
  value: Float[Array, "batch heads key head_dim"]


class _Kept(NamedTuple):
  """What the gradient needs besides the inputs."""

  exponentials: Float[Array, "batch heads query key"]
  sums: Float[Array, "batch heads query 1"]
  mixed: Float[Array, "batch heads query head_dim"]


class _Parts(NamedTuple):
  """How many examples to take at once, and whether on a CPU only."""

  size: int
  only_on_cpu: bool


def attend(
  query: Float[Array, "batch query heads head_dim"],
  key: Float[Array, "batch key heads head_dim"],
  value: Float[Array, "batch key heads head_dim"],
  mask: Bool[Array, "#batch 1 #query key"],
  bias: Float[Array, "1 heads query key"] | None = None,
  *,
  at_once: int | None = None,
) -> Float[Array, "batch query heads head_dim"]:
  """Returns softmax(query key^T + bias, masked) value, for each head.

  Scores, their softmax and the bias's gradient are float32; products are taken
  in the type of the inputs.

  Args:
    query: what asks; not divided by sqrt(head_dim).
    key: what is asked.
    value: what is mixed.
    mask: True where a query may see a key.
    bias: added to the scores, in nats; None for none.
    at_once: number of examples whose scores are held at once; a divisor of the
      batch. By default a few on a CPU that is the only device, elsewhere all:
      a loop over the batch would undo its sharding.

  Returns:
    The mixed values, in the type of `value`.
  """
  batch = query.shape[0]
  if at_once is None:
    scores_each = query.shape[2] * query.shape[1] * key.shape[1]
    parts = _parts(batch, scores_each)
  else:
    parts = _Parts(at_once, only_on_cpu=False)
  inputs = _Inputs(*(x.swapaxes(1, 2) for x in (query, key, value)))
  mask = jnp.broadcast_to(mask, (batch, *mask.shape[1:]))
  return _attend(parts, inputs, mask, bias).swapaxes(1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
  parts: _Parts | None, inputs: _Inputs, mask: _Mask, bias: _Bias | None
) -> Float[Array, "batch heads query head_dim"]:
  return _forward(parts, inputs, mask, bias)[0]


def _forward(
  parts: _Parts | None, inputs: _Inputs, mask: _Mask, bias: _Bias | None
) -> tuple[Array, tuple[_Inputs, _Mask, _Bias | None, _Kept]]:
  def in_parts(size: int, bias: _Bias | None, *operands: Any) -> _Kept:
    split = _split(operands, size)
    return _joined(jax.lax.map(lambda part: _mix(bias, *part), split))

  kept = _dispatch(parts, _mix, in_parts, bias, inputs, mask)
  return kept.mixed, (inputs, mask, bias, kept)


def _backward(
  parts: _Parts | None,
  residuals: tuple[_Inputs, _Mask, _Bias | None, _Kept],
  cotangent: Float[Array, "batch heads query head_dim"],
) -> tuple[_Inputs, None, _Bias | None]:
  inputs, mask, bias, kept = residuals

  def whole(bias: _Bias | None, *operands: Any) -> tuple[_Inputs, Any]:
    gradients, scores = _gradients(*operands)
    of_bias = jax.tree.map(lambda _: scores.sum(axis=0, keepdims=True), bias)
    return gradients, of_bias

  def in_parts(size: int, bias: _Bias | None, *operands: Any) -> Any:
    def part(total: Any, operands: Any) -> tuple[Any, _Inputs]:
      gradients, of_bias = whole(bias, *operands)
      return jax.tree.map(jnp.add, total, of_bias), gradients

    zeros = jax.tree.map(jnp.zeros_like, bias)
    total, gradients = jax.lax.scan(part, zeros, _split(operands, size))
    return _joined(gradients), total

  operands = (bias, inputs, mask, kept, cotangent)
  gradients, of_bias = _dispatch(parts, whole, in_parts, *operands)
  return gradients, None, of_bias


_attend.defvjp(_forward, _backward)


def _mix(bias: _Bias | None, inputs: _Inputs, mask: _Mask) -> _Kept:
  scores = _product("bhqd,bhkd->bhqk", inputs.query, inputs.key)
  if bias is not None:
    scores = scores + bias
  scores = jnp.where(mask, scores, MASKED_SCORE)
  exponentials = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
  sums = exponentials.sum(axis=-1, keepdims=True)
  exponentials = exponentials.astype(inputs.value.dtype)
  mixed = _product("bhqk,bhkd->bhqd", exponentials, inputs.value) / sums
  return _Kept(exponentials, sums, mixed.astype(inputs.value.dtype))


def _gradients(
  inputs: _Inputs,
  mask: _Mask,
  kept: _Kept,
  cotangent: Float[Array, "batch heads query head_dim"],
) -> tuple[_Inputs, Float[Array, "batch heads query key"]]:
  """Returns the gradients of the inputs, and of the scores, float32.

  With weights w = e / s, output o and its cotangent g, the scores' gradient is
  w (g v^T - g.o) = e ((g/s) v^T - (g/s).o).
  """
  dtype = inputs.value.dtype
  scaled = (cotangent / kept.sums).astype(dtype)
  along = scaled.astype(jnp.float32) * kept.mixed.astype(jnp.float32)
  along = along.sum(axis=-1, keepdims=True)
  of_weights = _product("bhqd,bhkd->bhqk", scaled, inputs.value)
  scores = jnp.where(mask, kept.exponentials * (of_weights - along), 0)
  narrow = scores.astype(dtype)
  query = _product("bhqk,bhkd->bhqd", narrow, inputs.key)
  key = _product("bhqk,bhqd->bhkd", narrow, inputs.query)
  value = _product("bhqk,bhqd->bhkd", kept.exponentials, scaled)
  gradients = _Inputs(*(x.astype(dtype) for x in (query, key, value)))
  return gradients, scores


def _product(subscripts: str, left: Array, right: Array) -> Array:
  return jnp.einsum(subscripts, left, right, preferred_element_type=jnp.float32)


def _parts(batch: int, scores_each: int) -> _Parts | None:
  """How many examples at once a CPU does; None where all is as good."""
  if jax.device_count() > 1:
    return None
  fitting = max(1, _CPU_SCORES // scores_each)
  size = max(n for n in range(1, min(fitting, batch) + 1) if batch % n == 0)
  return _Parts(size, only_on_cpu=True) if size < batch else None


def _dispatch(
  parts: _Parts | None,
  whole: Callable[..., Any],
  in_parts: Callable[..., Any],
  *operands: Any,
) -> Any:
  if parts is None:
    return whole(*operands)
  sized = functools.partial(in_parts, parts.size)
  if not parts.only_on_cpu:
    return sized(*operands)
  # Chosen where the platform is known: a pod's program is lowered on a CPU too.
  return jax.lax.platform_dependent(*operands, cpu=sized, default=whole)


def _split(tree: Any, size: int) -> Any:
  """[batch, ...] -> [batch / size, size, ...]."""
  return jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), tree)


def _joined(tree: Any) -> Any:
  """[parts, size, ...] -> [parts * size, ...]."""
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
