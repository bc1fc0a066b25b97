"""Log-probabilities of tokens and sequences, in nats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.token_ids import PAD_ID


@jax.custom_vjp
def from_logits(
  logits: Float[Array, "*batch vocab"], tokens: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
  """Returns log softmax(logits)[token].

  The gradient, onehot(token) - softmax(logits), takes one pass over the logits
  and needs neither a one-hot array nor a scatter over the vocabulary.

  Args:
    logits: unnormalised log-probabilities, float32.
    tokens: token ids, below the vocabulary size.

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
  ids = jax.lax.broadcasted_iota(tokens.dtype, logits.shape, logits.ndim - 1)
  chosen = ids == tokens[..., None]
  softmax = jnp.exp(logits - normaliser[..., None])
  gradient = (chosen - softmax) * cotangent[..., None]
  return gradient.astype(logits.dtype), None


from_logits.defvjp(_forward, _backward)


def response_mask(
  tokens: Int[Array, "*batch length"],
) -> Bool[Array, "*batch length"]:
  """Returns True for response tokens, EOS included, and False for padding."""
  return tokens > PAD_ID


def sequence_sum(
  token_log_probs: Float[Array, "*batch length"],
  mask: Bool[Array, "*batch length"],
) -> Float[Array, "*batch"]:
  """Returns the log-probability of each response, summed over its tokens.

  Args:
    token_log_probs: log-probability of each token, in nats.
    mask: True at response tokens.

  Returns:
    Nats per response; 0 for an empty response.
  """
  return jnp.where(mask, token_log_probs, 0.0).sum(axis=-1)


def sequence_mean(
  token_log_probs: Float[Array, "*batch length"],
  mask: Bool[Array, "*batch length"],
) -> Float[Array, "*batch"]:
  """Returns the mean log-probability per token of each response.

  The mean is over the response's own tokens, not over the padded length.

  Args:
    token_log_probs: log-probability of each token, in nats.
    mask: True at response tokens.

  Returns:
    Nats per token; 0 for an empty response.
  """
  count = jnp.maximum(mask.sum(axis=-1), 1)
  return sequence_sum(token_log_probs, mask) / count
