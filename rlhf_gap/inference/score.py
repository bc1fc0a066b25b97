"""Log-probabilities of given responses, and the exact KL along them.

A prompt's responses share its encoding. If the logits of all positions would be
large, the output head is applied to a few positions at a time.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlhf_gap.models import t5
from rlhf_gap.ops import kl, logprobs

# Size limit of materialised logits, over all devices. Beyond it they are
# computed in chunks of positions, and recomputed for the gradient.
MAX_LOGIT_BYTES = 2**30


def shift_right(
  tokens: Int[Array, "*batch target"],
) -> Int[Array, "*batch target"]:
  """Returns decoder inputs: the start token (0), then all but the last target.

  Args:
    tokens: target ids.

  Returns:
    Decoder input ids of the same shape.
  """
  widths = [(0, 0)] * (tokens.ndim - 1) + [(1, 0)]
  return jnp.pad(tokens[..., :-1], widths)


def token_log_probs(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_target_tokens: Int[Array, "batch target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch target"]:
  """Returns the log-probability of every token of one response per prompt.

  Args:
    config: the architecture.
    params: the model's parameters.
    encoder_input_tokens: prompt ids, right-padded with 0.
    decoder_target_tokens: response ids, EOS (1), then padding (0).
    dropout_key: random key for dropout; None disables dropout.

  Returns:
    log pi(token | prompt, earlier tokens) at temperature 1, in nats, float32;
    0 at padding. EOS is scored.
  """
  log_probs = response_log_probs(
    config,
    params,
    encoder_input_tokens,
    decoder_target_tokens[:, None],
    dropout_key=dropout_key,
  )
  return log_probs[:, 0]


def response_log_probs(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_target_tokens: Int[Array, "batch responses target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch responses target"]:
  """Like `token_log_probs`, for several responses per prompt.

  Args:
    config: the architecture.
    params: the model's parameters.
    encoder_input_tokens: prompt ids, right-padded with 0.
    decoder_target_tokens: the responses to each prompt, such as chosen and
      rejected.
    dropout_key: random key for dropout; None disables dropout.

  Returns:
    Log-probabilities in nats, float32; 0 at padding.
  """
  hidden = _hidden(
    config, params, encoder_input_tokens, decoder_target_tokens, dropout_key
  )

  def score(chunk: tuple[Array, Array]) -> Array:
    x, tokens = chunk
    return logprobs.from_logits(t5.head(config, params, x), tokens)

  scores = _by_chunks(
    score, (hidden, decoder_target_tokens), _num_chunks(config, hidden)
  )
  mask = logprobs.response_mask(decoder_target_tokens)
  return jnp.where(mask, scores, 0.0)


def per_step_kl(
  config: t5.T5Config,
  params: t5.Params,
  reference_params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_target_tokens: Int[Array, "batch responses target"],
) -> Float[Array, "batch responses target"]:
  """Returns KL(pi(.|x, y_<t) || pi_ref(.|x, y_<t)) at every step of y.

  Its sum over t along y ~ pi (temperature 1, no truncation) is an unbiased
  estimate of the sequence-level KL (Tang et al. 2024, Appendix D).

  Args:
    config: the architecture of both policy and reference.
    params: the policy's parameters.
    reference_params: the reference's parameters.
    encoder_input_tokens: prompt ids, right-padded with 0.
    decoder_target_tokens: responses y, sampled from the policy.

  Returns:
    The KL in nats over the whole vocabulary, float32; includes the EOS step and
    is 0 at padding.
  """
  both = (params, reference_params)
  policy, reference = (
    _hidden(config, p, encoder_input_tokens, decoder_target_tokens, None)
    for p in both
  )

  def divergence(chunk: tuple[Array, Array]) -> Array:
    heads = (t5.head(config, p, x) for p, x in zip(both, chunk, strict=True))
    return kl.categorical(*heads)

  num_chunks = 2 * _num_chunks(config, policy)
  steps = _by_chunks(divergence, (policy, reference), num_chunks)
  mask = logprobs.response_mask(decoder_target_tokens)
  return jnp.where(mask, steps, 0.0)


def _hidden(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Array,
  decoder_target_tokens: Array,
  dropout_key: Array | None,
) -> Float[Array, "batch responses target embed"]:
  encoder_key = decoder_key = None
  if dropout_key is not None:
    encoder_key, decoder_key = jax.random.split(dropout_key)
  encoded = t5.encode(
    config, params, encoder_input_tokens, dropout_key=encoder_key
  )
  return t5.decode(
    config,
    params,
    encoded,
    encoder_input_tokens,
    shift_right(decoder_target_tokens),
    dropout_key=decoder_key,
  )


def _num_chunks(config: t5.T5Config, hidden: Array) -> int:
  positions = hidden.size // hidden.shape[-1]
  return -(-positions * config.vocab_size * 4 // MAX_LOGIT_BYTES)


def _by_chunks(
  function: Callable[[tuple[Array, Array]], Array],
  arrays: tuple[Array, Array],
  num_chunks: int,
) -> Float[Array, "batch responses target"]:
  """Applies `function` to equal chunks of the target axis.

  Args:
    function: maps a pair of chunks to a value per position.
    arrays: two arrays [batch, responses, target, ...].
    num_chunks: minimum number of chunks; 1 to apply it to the whole.

  Returns:
    The values of all positions.
  """
  length = arrays[0].shape[2]
  if num_chunks <= 1:
    return function(arrays)
  # The next divisor of the length: equal chunks share one compiled body.
  num_chunks = next(
    n for n in range(min(num_chunks, length), length + 1) if length % n == 0
  )

  def split(x: Array) -> Array:
    size = length // num_chunks
    chunked = x.reshape(*x.shape[:2], num_chunks, size, *x.shape[3:])
    return jnp.moveaxis(chunked, 2, 0)

  chunks = jax.lax.map(jax.checkpoint(function), tuple(map(split, arrays)))
  return jnp.moveaxis(chunks, 0, 2).reshape(arrays[0].shape[:3])
