"""A linear map with a faster gradient."""

import string

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def project(
  x: Float[Array, "*batch inputs"], kernel: Float[Array, "inputs outputs"]
) -> Float[Array, "*batch outputs"]:
  """Returns x @ kernel.

  Only the gradient differs from that of `jnp.dot`: the kernel's is computed as
  x^T g. JAX computes (g^T x)^T, for which XLA evaluates g, and the activation
  functions fused into it, in transposed order; on a CPU that was five times
  slower.

  Args:
    x: activations.
    kernel: weights, of the same dtype as `x`.

  Returns:
    The product, in the same dtype.
  """
  return jnp.dot(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return jnp.dot(x, kernel), (x, kernel)


def _backward(
  residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
  x, kernel = residuals
  batch = string.ascii_lowercase[: x.ndim - 1]
  return (
    jnp.einsum("...o,io->...i", cotangent, kernel),
    jnp.einsum(f"{batch}I,{batch}O->IO", x, cotangent),
  )


project.defvjp(_forward, _backward)
