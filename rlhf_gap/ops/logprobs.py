"""From logits to log-probabilities of tokens and of sequences, in nats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.token_ids import PAD_ID


@jax.custom_vjp
def of_tokens(
  logits: Float[Array, "*batch vocab"], tokens: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
  """Returns log softmax(logits)[token], natural logarithm.

  Its gradient, onehot(token) - softmax(logits), is formed in one pass over the
  logits: neither a one-hot array nor a scatter over the vocabulary is made.

  Args:
    logits: unnormalised log-probabilities, float32.
    tokens: ids below the size of the vocabulary.

  Returns:
    Log-probabilities in nats, <= 0.
  """
  return _forward(logits, tokens)[0]


def _forward(logits: Array, tokens: Array) -> tuple[Array, tuple[Array, ...]]:
  normaliser = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1, mode="clip")
  return chosen[..., 0] - normaliser, (logits, normaliser, tokens)


def _backward(
  residuals: tuple[Array, ...], cotangent: Array
) -> tuple[Array, None]:
  logits, normaliser, tokens = residuals
  words = jax.lax.broadcasted_iota(tokens.dtype, logits.shape, logits.ndim - 1)
  chosen = words == tokens[..., None]
  softmax = jnp.exp(logits - normaliser[..., None])
  gradient = (chosen - softmax) * cotangent[..., None]
  return gradient.astype(logits.dtype), None


of_tokens.defvjp(_forward, _backward)


def response_mask(
  tokens: Int[Array, "*batch length"],
) -> Bool[Array, "*batch length"]:
  """True at the tokens of a response, EOS included; False at pads (id 0)."""
  return tokens > PAD_ID


def sequence_sum(
  token_log_probs: Float[Array, "*batch length"],
  mask: Bool[Array, "*batch length"],
) -> Float[Array, "*batch"]:
  """Returns the log-probability of each response, summed over its tokens.

  Args:
    token_log_probs: in nats.
    mask: True at the response's tokens.

  Returns:
    Nats a response; 0 for an empty one.
  """
  return jnp.where(mask, token_log_probs, 0.0).sum(axis=-1)


def sequence_mean(
  token_log_probs: Float[Array, "*batch length"],
  mask: Bool[Array, "*batch length"],
) -> Float[Array, "*batch"]:
  """Returns the mean log-probability of each response's tokens.

  The mean is over the response's own tokens, not over the padded width.

  Args:
    token_log_probs: in nats.
    mask: True at the response's tokens.

  Returns:
    Nats a token; 0 for an empty response.
  """
  count = jnp.maximum(mask.sum(axis=-1), 1)
  return sequence_sum(token_log_probs, mask) / count
