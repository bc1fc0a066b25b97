"""A linear map whose gradient is laid out for the matrix product."""

import string

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def project(
  x: Float[Array, "*batch inputs"], kernel: Float[Array, "inputs outputs"]
) -> Float[Array, "*batch outputs"]:
  """Returns x @ kernel.

  Only the gradient differs from `jnp.dot`'s. The kernel's is formed as x^T g:
  JAX forms (g^T x)^T, for which XLA computes g, and the activation functions
  fused into it, in a transposed order, which took five times as long on a CPU.

  Args:
    x: activations.
    kernel: of the same type.

  Returns:
    The product, in that type.
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
