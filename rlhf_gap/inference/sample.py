"""Samples responses from a policy in a single jitted loop.

Each prompt is encoded and projected for cross-attention once, for all of its
samples. The loop ends when every response has ended.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rlhf_gap import checks, partitioning
from rlhf_gap.inference import next_token
from rlhf_gap.models import decode, t5, transformer
from rlhf_gap.token_ids import EOS_ID, PAD_ID


class Samples(NamedTuple):
  """Sampled responses.

  Attributes:
    tokens: token ids, right-padded with 0; ends with EOS (1) unless truncated.
    log_probs: log-probability in nats of each token under the policy at
      temperature 1 without truncation, regardless of the sampling distribution;
      0 at padding.
    first_bad_step: the first step with non-finite logits; -1 for none.
  """

  tokens: Int[Array, "batch samples length"]
  log_probs: Float[Array, "batch samples length"]
  first_bad_step: Int[Array, ""]


class Mixture(NamedTuple):
  """A second policy for sampling from a geometric mixture (IPO-MD).

  Tokens are sampled from the distribution proportional to
  policy^(1 - weight) * other^weight, renormalised at every step (Calandriello
  et al. 2024, section 5; `weight` is their beta).

  Attributes:
    params: parameters of the other policy, often the reference, with the same
      architecture.
    weight: weight of the other policy, in [0, 1].
  """

  params: t5.Params
  weight: float | Float[Array, ""]


class _Loop(NamedTuple):
  """The loop's state between two tokens."""

  position: Int[Array, ""]
  last: Int[Array, "batch samples"]
  ended: Bool[Array, "batch samples"]
  samples: Samples
  caches: list[transformer.Caches]  # one list of layers per policy


def sample(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  key: Key[Array, ""],
  *,
  num_samples: int = 2,
  max_length: int = 128,
  min_length: int = 0,
  temperature: float = 1.0,
  top_k: int = 0,
  top_p: float = 1.0,
  row_ids: Int[Array, "batch"] | None = None,
  mixture: Mixture | None = None,
  end_by: Int[Array, "batch samples"] | None = None,
) -> Samples:
  """Samples responses to prompts.

  Token t of sample n of a prompt is a function of (parameters, prompt, key,
  row id, n, t). It does not depend on the rest of the batch, the position in
  it, the amount of padding or the number of devices.

  Args:
    config: the policy's architecture.
    params: the policy's parameters.
    encoder_input_tokens: prompt ids, right-padded with 0.
    key: random key, with the training step folded in.
    num_samples: responses per prompt.
    max_length: maximum response length in tokens, EOS included.
    min_length: number of tokens before a response may end.
    temperature: divides the logits; 0 is greedy decoding.
    top_k: sample from the `top_k` most likely tokens; 0 for all.
    top_p: sample from the most likely tokens with this total probability; 1 for
      all.
    row_ids: an id per prompt that determines its random bits; by default its
      index in the batch.
    mixture: a second policy to mix into the sampling distribution.
    end_by: maximum length per response: if a response has not ended by this
      token, the token is replaced by EOS.

  Returns:
    The responses, with the policy's own log-probabilities.

  Raises:
    UserError: a setting is out of range.
  """
  transform = next_token.Transform(temperature, top_k, top_p, min_length)
  checks.counts(num_samples=num_samples, max_length=max_length)
  return _sample(
    config,
    num_samples,
    max_length,
    transform,
    params,
    encoder_input_tokens,
    key,
    row_ids,
    mixture,
    end_by,
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _sample(
  config: t5.T5Config,
  num_samples: int,
  max_length: int,
  transform: next_token.Transform,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  key: Key[Array, ""],
  row_ids: Int[Array, "batch"] | None,
  mixture: Mixture | None,
  end_by: Int[Array, "batch samples"] | None,
) -> Samples:
  batch = encoder_input_tokens.shape[0]
  if row_ids is None:
    row_ids = jnp.arange(batch)
  keys = _sample_keys(key, row_ids, num_samples)
  policies = [params] if mixture is None else [params, mixture.params]
  policies = [partitioning.without_fsdp(config, p) for p in policies]
  prompts = [decode.prompts(config, p, encoder_input_tokens) for p in policies]

  def unfinished(loop: _Loop) -> Bool[Array, ""]:
    return (loop.position < max_length) & ~loop.ended.all()

  def advance(loop: _Loop) -> _Loop:
    logits, caches = _step_policies(config, policies, prompts, loop)
    uniforms = _uniforms(keys, loop.position)
    tokens = _next_tokens(loop, logits, uniforms, transform, mixture, end_by)
    samples = _record(loop, logits[0], tokens)
    return _Loop(
      loop.position + 1,
      tokens,
      loop.ended | (tokens == EOS_ID),
      samples,
      caches,
    )

  caches = [
    decode.empty_caches(config, batch, num_samples, max_length)
    for _ in policies
  ]
  start = _start((batch, num_samples), max_length, caches)
  return jax.lax.while_loop(unfinished, advance, start).samples


def _start(
  shape: tuple[int, int], max_length: int, caches: list[transformer.Caches]
) -> _Loop:
  """Returns the loop's state before the first token."""
  return _Loop(
    position=jnp.int32(0),
    last=jnp.zeros(shape, jnp.int32),
    ended=jnp.zeros(shape, bool),
    samples=Samples(
      tokens=jnp.zeros((*shape, max_length), jnp.int32),
      log_probs=jnp.zeros((*shape, max_length), jnp.float32),
      first_bad_step=jnp.int32(-1),
    ),
    caches=caches,
  )


def _step_policies(
  config: t5.T5Config,
  policies: list[t5.Params],
  prompts: list[decode.Prompts],
  loop: _Loop,
) -> tuple[list[Float[Array, "batch samples vocab"]], list[transformer.Caches]]:
  """Returns each policy's logits of the next token, and its caches."""
  steps = [
    decode.step(config, params, loop.last, caches, encoded, loop.position)
    for params, caches, encoded in zip(
      policies, loop.caches, prompts, strict=True
    )
  ]
  return [logits for logits, _ in steps], [caches for _, caches in steps]


def _next_tokens(
  loop: _Loop,
  logits: list[Float[Array, "batch samples vocab"]],
  uniforms: Float[Array, "batch samples 2"],
  transform: next_token.Transform,
  mixture: Mixture | None,
  end_by: Int[Array, "batch samples"] | None,
) -> Int[Array, "batch samples"]:
  """Samples the next token of each response; padding after its end."""
  may_end = loop.position >= transform.min_length
  mixed = _mix(logits, mixture)
  tokens = next_token.sample(mixed, uniforms, may_end, transform)
  if end_by is not None:
    tokens = jnp.where(loop.position + 1 >= end_by, EOS_ID, tokens)
  return jnp.where(loop.ended, PAD_ID, tokens)


def _sample_keys(
  key: Key[Array, ""], row_ids: Int[Array, "batch"], num_samples: int
) -> Key[Array, "batch samples"]:
  def row_keys(row_id: Int[Array, ""]) -> Key[Array, "samples"]:
    row_key = jax.random.fold_in(key, row_id)
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return fold(row_key, jnp.arange(num_samples))

  return jax.vmap(row_keys)(row_ids)


def _uniforms(
  keys: Key[Array, "batch samples"], position: Int[Array, ""]
) -> Float[Array, "batch samples 2"]:
  def two_uniforms(key: Key[Array, ""]) -> Float[Array, "2"]:
    return jax.random.uniform(jax.random.fold_in(key, position), (2,))

  return jax.vmap(jax.vmap(two_uniforms))(keys)


def _mix(
  logits: list[Float[Array, "batch samples vocab"]], mixture: Mixture | None
) -> Float[Array, "batch samples vocab"]:
  if mixture is None:
    return logits[0]
  policy, other = map(jax.nn.log_softmax, logits)
  return (1 - mixture.weight) * policy + mixture.weight * other


def _record(
  loop: _Loop,
  logits: Float[Array, "batch samples vocab"],
  tokens: Int[Array, "batch samples"],
) -> Samples:
  normaliser = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
  log_probs = jnp.where(loop.ended, 0.0, chosen - normaliser)
  samples = loop.samples
  is_bad = (samples.first_bad_step < 0) & ~jnp.isfinite(normaliser).all()

  def write(array: Array, column: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(
      array, column[..., None].astype(array.dtype), loop.position, axis=2
    )

  return Samples(
    write(samples.tokens, tokens),
    write(samples.log_probs, log_probs),
    jnp.where(is_bad, loop.position, samples.first_bad_step),
  )


def lengths_tokens(
  tokens: Int[Array, "*batch length"],
) -> Int[Array, "*batch"]:
  """Returns the length of each response in tokens, EOS included."""
  return (tokens > PAD_ID).sum(axis=-1)
