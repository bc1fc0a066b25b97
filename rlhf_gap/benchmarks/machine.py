"""Probes of the machine's peak rates: matrix products and memory traffic."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Large enough to hide call overhead: 17 GFLOP take a CPU core half a second.
_CPU_MATRIX, _ACCELERATOR_MATRIX = 2048, 8192
_ELEMENTS = 2**26


class Probe(NamedTuple):
  """A call whose rate measures one of the machine's limits.

  Attributes:
    call: the call.
    amount: floating-point operations, or bytes, per call.
  """

  call: Callable[[], jax.Array]
  amount: int


def matrix_products(dtype: str) -> Probe:
  """Returns a probe of square matrix products of `dtype`, in operations."""
  on_cpu = jax.default_backend() == "cpu"
  size = _CPU_MATRIX if on_cpu else _ACCELERATOR_MATRIX
  matrix = jnp.full((size, size), 1 / size, dtype)
  product = jax.jit(jnp.dot)
  return Probe(lambda: product(matrix, matrix), 2 * size**3)


def memory() -> Probe:
  """Returns a probe that reads and writes 256 MiB, in bytes."""
  # In place, because page faults of a new result cost several times as much.
  add = jax.jit(lambda x: x + 1, donate_argnums=0)
  held = jnp.zeros(_ELEMENTS, jnp.float32)
  amount = 2 * held.nbytes

  def call() -> jax.Array:
    nonlocal held
    held = add(held)
    return held

  return Probe(call, amount)
