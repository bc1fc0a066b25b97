"""Responses sampled from a policy: one jitted loop, no step in Python.

The prompt is encoded once and projected once for cross-attention; all samples
of a prompt share both. The loop ends when every response has ended.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rlhf_gap import checks, partitioning
from rlhf_gap.inference import draw
from rlhf_gap.models import decode, t5, transformer


class Samples(NamedTuple):
  """Sampled responses.

  Attributes:
    tokens: ids; EOS (1) ends a response that ended, pads (0) follow it.
    log_probs: log-probability of each token under the policy at temperature 1
      and without truncation, whatever was drawn from, in nats; 0 at pads.
    first_bad_step: the first step whose logits were not finite, -1 for none.
  """

  tokens: Int[Array, "batch samples length"]
  log_probs: Float[Array, "batch samples length"]
  first_bad_step: Int[Array, ""]


class Mixture(NamedTuple):
  """A second policy that tokens are drawn from as well (IPO-MD).

  Tokens come from the distribution proportional to
  policy^(1 - weight) * other^weight, renormalised at every step (Calandriello
  et al. 2024, section 5; `weight` is its beta).

  Attributes:
    params: the other policy's parameters, of the same architecture; often the
      reference.
    weight: in [0, 1].
  """

  params: t5.Params
  weight: float | Float[Array, ""]


class _Loop(NamedTuple):
  """What a step of the loop hands to the next."""

  position: Int[Array, ""]
  last: Int[Array, "batch samples"]
  ended: Bool[Array, "batch samples"]
  samples: Samples
  caches: list[transformer.Caches]  # one list of layers a policy


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
  the prompt's row id, n, t): not of the batch it is in, its place there, the
  padding, or the number of devices.

  Args:
    config: the policy's architecture.
    params: its parameters.
    encoder_input_tokens: prompt ids, padded with 0 on the right.
    key: a random key: fold the step of training into it.
    num_samples: responses a prompt.
    max_length: tokens a response has at most, EOS included.
    min_length: tokens before which no response ends.
    temperature: divides the logits; 0 is greedy.
    top_k: number of most likely tokens drawn from; 0 for all.
    top_p: probability of the most likely tokens drawn from; 1 for all.
    row_ids: a number for each prompt that sets its random bits; by default its
      place in the batch.
    mixture: a second policy to draw from as well.
    end_by: number of tokens of each response at which EOS is put, whatever
      was drawn, if none came before.

  Returns:
    The responses, with the policy's own log-probabilities.

  Raises:
    UserError: a setting outside its range.
  """
  transform = draw.Transform(temperature, top_k, top_p, min_length)
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
  transform: draw.Transform,
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
  encoded = [decode.prompts(config, p, encoder_input_tokens) for p in policies]

  def going_on(loop: _Loop) -> Bool[Array, ""]:
    return (loop.position < max_length) & ~loop.ended.all()

  def advance(loop: _Loop) -> _Loop:
    steps = [
      decode.step(config, p, loop.last, caches, prompts, loop.position)
      for p, caches, prompts in zip(policies, loop.caches, encoded, strict=True)
    ]
    logits = [step[0] for step in steps]
    uniforms = _uniforms(keys, loop.position)
    may_end = loop.position >= transform.min_length
    mixed = _mix(logits, mixture)
    tokens = draw.token(mixed, uniforms, may_end, transform)
    if end_by is not None:
      tokens = jnp.where(loop.position + 1 >= end_by, draw.EOS, tokens)
    tokens = jnp.where(loop.ended, draw.PAD, tokens)
    samples = _record(loop, logits[0], tokens)
    return _Loop(
      loop.position + 1,
      tokens,
      loop.ended | (tokens == draw.EOS),
      samples,
      [step[1] for step in steps],
    )

  caches = [
    decode.empty_caches(config, batch, num_samples, max_length)
    for _ in policies
  ]
  shape = (batch, num_samples)
  start = _Loop(
    jnp.int32(0),
    jnp.zeros(shape, jnp.int32),
    jnp.zeros(shape, bool),
    Samples(
      jnp.zeros((*shape, max_length), jnp.int32),
      jnp.zeros((*shape, max_length), jnp.float32),
      jnp.int32(-1),
    ),
    caches,
  )
  return jax.lax.while_loop(going_on, advance, start).samples


def _sample_keys(
  key: Key[Array, ""], row_ids: Int[Array, "batch"], num_samples: int
) -> Key[Array, "batch samples"]:
  def of_row(row_id: Int[Array, ""]) -> Key[Array, "samples"]:
    row_key = jax.random.fold_in(key, row_id)
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return fold(row_key, jnp.arange(num_samples))

  return jax.vmap(of_row)(row_ids)


def _uniforms(
  keys: Key[Array, "batch samples"], position: Int[Array, ""]
) -> Float[Array, "batch samples 2"]:
  def draw_two(key: Key[Array, ""]) -> Float[Array, "2"]:
    return jax.random.uniform(jax.random.fold_in(key, position), (2,))

  return jax.vmap(jax.vmap(draw_two))(keys)


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
  seen = loop.samples
  bad = (seen.first_bad_step < 0) & ~jnp.isfinite(normaliser).all()

  def put(array: Array, column: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(
      array, column[..., None].astype(array.dtype), loop.position, axis=2
    )

  return Samples(
    put(seen.tokens, tokens),
    put(seen.log_probs, log_probs),
    jnp.where(bad, loop.position, seen.first_bad_step),
  )


def lengths_tokens(
  tokens: Int[Array, "*batch length"],
) -> Int[Array, "*batch"]:
  """Returns the number of tokens of each response, EOS included, pads not."""
  return (tokens > draw.PAD).sum(axis=-1)
