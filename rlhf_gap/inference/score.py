"""Log-probabilities of given responses, and the exact KL along them.

Responses of one prompt share its encoding. The head is applied to a few
positions at a time where all logits together would be large.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlhf_gap.models import t5
from rlhf_gap.ops import kl, logprobs

# Logits held at once, over all devices. Larger ones are made a chunk of
# positions at a time, and made again for the gradient.
MAX_LOGIT_BYTES = 2**30


def shift_right(
  tokens: Int[Array, "*batch target"],
) -> Int[Array, "*batch target"]:
  """Returns decoder inputs: the start token (0), then all targets but the last.

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
  """Returns the log-probability of every token of one response a prompt.

  Args:
    config: the architecture.
    params: its parameters.
    encoder_input_tokens: prompt ids, padded with 0 on the right.
    decoder_target_tokens: response ids; EOS (1), then pads (0).
    dropout_key: a random key that turns dropout on; None turns it off.

  Returns:
    log pi(token | prompt, earlier tokens) at temperature 1, in nats, float32;
    0 at pads. EOS is scored.
  """
  scored = response_log_probs(
    config,
    params,
    encoder_input_tokens,
    decoder_target_tokens[:, None],
    dropout_key=dropout_key,
  )
  return scored[:, 0]


def response_log_probs(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_target_tokens: Int[Array, "batch responses target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch responses target"]:
  """As `token_log_probs`, for several responses over one encoding.

  Args:
    config: the architecture.
    params: its parameters.
    encoder_input_tokens: prompt ids, padded with 0 on the right.
    decoder_target_tokens: the responses of each prompt, such as chosen and
      rejected.
    dropout_key: a random key that turns dropout on; None turns it off.

  Returns:
    Log-probabilities in nats, float32; 0 at pads.
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

  Summed over t along y ~ pi (temperature 1, no truncation) it is an unbiased
  estimate of the sequences' KL (Tang et al. 2024, Appendix D).

  Args:
    config: the architecture, of policy and reference alike.
    params: the policy's parameters.
    reference_params: the reference's.
    encoder_input_tokens: prompt ids, padded with 0 on the right.
    decoder_target_tokens: responses y, sampled from the policy.

  Returns:
    Exact over the whole vocabulary, in nats, float32; the EOS step is counted,
    pads are 0.
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
  """Applies `function` to at least `num_chunks` equal parts of the last axis.

  Args:
    function: maps (part, part) to the values of the part's positions.
    arrays: [batch, responses, target, ...] each.
    num_chunks: into how many parts to cut the target axis; 1 for none.

  Returns:
    The values of all positions.
  """
  length = arrays[0].shape[2]
  if num_chunks <= 1:
    return function(arrays)
  # Equal parts keep one compiled body: the next number that divides.
  parts = next(
    n for n in range(min(num_chunks, length), length + 1) if length % n == 0
  )

  def split(x: Array) -> Array:
    cut = x.reshape(*x.shape[:2], parts, length // parts, *x.shape[3:])
    return jnp.moveaxis(cut, 2, 0)

  chunks = jax.lax.map(jax.checkpoint(function), tuple(map(split, arrays)))
  return jnp.moveaxis(chunks, 0, 2).reshape(arrays[0].shape[:3])
