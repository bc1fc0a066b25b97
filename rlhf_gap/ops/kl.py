"""The exact Kullback-Leibler divergence between two next-token policies."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def categorical(
  logits: Float[Array, "*batch vocab"],
  reference_logits: Float[Array, "*batch vocab"],
) -> Float[Array, "*batch"]:
  """Returns sum_v p(v) (log p(v) - log q(v)) over the whole vocabulary.

  Args:
    logits: logits of p, the policy, float32.
    reference_logits: logits of q, the reference, float32.

  Returns:
    KL(p || q) in nats; exactly 0 where the logits are equal.
  """
  log_p = jax.nn.log_softmax(logits, axis=-1)
  log_q = jax.nn.log_softmax(reference_logits, axis=-1)
  return (jnp.exp(log_p) * (log_p - log_q)).sum(axis=-1)
