"""Gradients of a batch, computed at once or by microbatches."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Batch = TypeVar("Batch")
Params = TypeVar("Params")
Totals = TypeVar("Totals")

# (params, rows, dropout key or None) -> (sum of losses, other sums)
Objective = Callable[
  [Params, Batch, Array | None], tuple[Float[Array, ""], Totals]
]


def sum_and_gradient(
  objective: Objective,
  params: Params,
  batch: Batch,
  *,
  dropout_key: Array | None = None,
  num_microbatches: int = 1,
) -> tuple[tuple[Float[Array, ""], Totals], Params]:
  """Returns an objective's sums over a batch, and the gradient of the loss sum.

  Sums, unlike means, add up exactly over microbatches with different weights;
  the caller divides once. Microbatch i takes rows i, i + n, i + 2n..., so every
  device keeps its own rows.

  Args:
    objective: sums the losses of its rows; returns (sum, other sums).
    params: parameters to differentiate with respect to.
    batch: a tree of arrays whose first axis is rows.
    dropout_key: random key, folded per microbatch; None disables dropout.
    num_microbatches: number of sequential parts.

  Returns:
    ((sum, other sums), gradient), as `jax.value_and_grad(has_aux=True)` does.

  Raises:
    ValueError: the number of rows is not divisible.
  """
  value_and_grad = jax.value_and_grad(objective, has_aux=True)
  if num_microbatches == 1:
    return value_and_grad(params, batch, dropout_key)
  rows = jax.tree.leaves(batch)[0].shape[0]
  if rows % num_microbatches:
    raise ValueError(
      f"a batch of {rows} rows does not divide into {num_microbatches}"
      " microbatches"
    )

  def deal(x: Array) -> Array:
    dealt = x.reshape(rows // num_microbatches, num_microbatches, *x.shape[1:])
    return jnp.swapaxes(dealt, 0, 1)

  def add(sums: Any, numbered: tuple[Array, Batch]) -> tuple[Any, None]:
    number, microbatch = numbered
    key = (
      None if dropout_key is None else jax.random.fold_in(dropout_key, number)
    )
    part = value_and_grad(params, microbatch, key)
    return jax.tree.map(jnp.add, sums, part), None

  dealt = jax.tree.map(deal, batch)
  first = jax.tree.map(lambda x: x[0], dealt)
  shapes = jax.eval_shape(value_and_grad, params, first, dropout_key)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  sums, _ = jax.lax.scan(add, zeros, (jnp.arange(num_microbatches), dealt))
  return sums
