"""What the machine itself does at best: matrix products and memory traffic."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Large enough that starting costs nothing: 17 GFLOP take a core half a second.
_CPU_MATRIX, _ACCELERATOR_MATRIX = 2048, 8192
_ELEMENTS = 2**26


class Probe(NamedTuple):
  """A call whose rate is one of the machine's limits.

  Attributes:
    call: runs it.
    amount: what one call does: floating-point operations, or bytes.
  """

  call: Callable[[], jax.Array]
  amount: int


def matrix_products(dtype: str) -> Probe:
  """Returns a square matrix product of `dtype`, in operations."""
  on_cpu = jax.default_backend() == "cpu"
  size = _CPU_MATRIX if on_cpu else _ACCELERATOR_MATRIX
  matrix = jnp.full((size, size), 1 / size, dtype)
  product = jax.jit(jnp.dot)
  return Probe(lambda: product(matrix, matrix), 2 * size**3)


def memory() -> Probe:
  """Returns a pass over 256 MiB that reads and writes all, in bytes."""
  # In place: a fresh result's pages cost several times the traffic.
  add = jax.jit(lambda x: x + 1, donate_argnums=0)
  held = jnp.zeros(_ELEMENTS, jnp.float32)
  amount = 2 * held.nbytes

  def call() -> jax.Array:
    nonlocal held
    held = add(held)
    return held

  return Probe(call, amount)
