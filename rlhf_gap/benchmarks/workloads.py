"""Benchmark workloads: sampling, scoring, judging and gradients."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from rlhf_gap import errors
from rlhf_gap.benchmarks import work
from rlhf_gap.inference import judge, sample, score
from rlhf_gap.models import decode, t5
from rlhf_gap.token_ids import PAD_ID

# Median response length of the summarization data.
_MEDIAN_TOKENS = 37
_LOG_DEVIATION = 0.5
_FIRST_WORD = 16  # smaller ids are padding, EOS and the judge's markers
WORDS = judge.Words(response_a=(3, 4, 5), response_b=(3, 6, 5), a=7, b=8)
"""Placeholder markers and answers of a preference model."""


class Shape(NamedTuple):
  """The shape of a batch.

  Attributes:
    batch: number of prompts.
    responses: responses per prompt.
    source: prompt length in tokens.
    target: response length in tokens.
  """

  batch: int
  responses: int
  source: int
  target: int


class Workload(NamedTuple):
  """A call to time, with its size.

  Attributes:
    call: runs the workload once.
    work: its counted arithmetic.
    steps: decoding steps or examples per call; see each function.
    tokens: tokens sampled, scored or read by the judge per call.
  """

  call: Callable[[], object]
  work: work.Work
  steps: int
  tokens: int


def tokens(
  config: t5.T5Config, shape: tuple[int, ...], seed: int
) -> Int[np.ndarray, "..."]:
  """Returns random token ids, excluding padding, EOS and markers."""
  generator = np.random.default_rng(seed)
  if config.vocab_size <= _FIRST_WORD:
    raise errors.UserError(
      f"vocab_size={config.vocab_size}; expected more than {_FIRST_WORD}"
    )
  return generator.integers(
    _FIRST_WORD, config.vocab_size, shape, dtype=np.int32
  )


def response_lengths(shape: Shape, seed: int) -> Int[np.ndarray, "batch n"]:
  """Returns random log-normal lengths with the median of real summaries."""
  generator = np.random.default_rng(seed)
  size = (shape.batch, shape.responses)
  lengths = generator.lognormal(np.log(_MEDIAN_TOKENS), _LOG_DEVIATION, size)
  return np.clip(np.rint(lengths), 1, shape.target).astype(np.int32)


def sampling(
  config: t5.T5Config,
  params: t5.Params,
  shape: Shape,
  lengths: Int[np.ndarray, "batch n"] | None = None,
) -> Workload:
  """Samples from the policy, with a different key for every call.

  Args:
    config: the architecture.
    params: the policy's parameters.
    shape: the batch's shape.
    lengths: length of each response; by default all have the full length.

  Returns:
    The workload; its steps are decoding steps.
  """
  prompts = jnp.asarray(tokens(config, (shape.batch, shape.source), 0))
  end_by = None if lengths is None else jnp.asarray(lengths)
  keys = itertools.cycle([jax.random.key(seed) for seed in range(8)])
  run = functools.partial(
    sample.sample,
    num_samples=shape.responses,
    max_length=shape.target,
    min_length=shape.target,
    end_by=end_by,
  )
  steps = shape.target if lengths is None else int(lengths.max())
  counted = work.count(
    functools.partial(run, config),
    *(params, prompts, jax.random.key(0)),
    while_steps=steps,
  )
  sampled = shape.batch * shape.responses * steps
  return Workload(
    lambda: run(config, params, prompts, next(keys)).tokens,
    counted,
    steps,
    sampled if lengths is None else int(lengths.sum()),
  )


def scoring(config: t5.T5Config, params: t5.Params, shape: Shape) -> Workload:
  """Scores every response; the workload's steps are responses."""
  return _of_responses(score.response_log_probs, config, params, shape)


def gradient(config: t5.T5Config, params: t5.Params, shape: Shape) -> Workload:
  """Computes the gradient of the mean log-probability, without an update."""

  def loss(
    config: t5.T5Config, params: t5.Params, prompts: Array, responses: Array
  ) -> Array:
    scores = score.response_log_probs(config, params, prompts, responses)
    return -scores.mean()

  step = jax.value_and_grad(loss, argnums=1)
  return _of_responses(step, config, params, shape)


def _of_responses(
  function: Callable[..., object],
  config: t5.T5Config,
  params: t5.Params,
  shape: Shape,
) -> Workload:
  prompts = jnp.asarray(tokens(config, (shape.batch, shape.source), 0))
  size = (shape.batch, shape.responses, shape.target)
  responses = jnp.asarray(tokens(config, size, 1))
  compiled = jax.jit(function, static_argnums=0)
  return Workload(
    lambda: compiled(config, params, prompts, responses),
    work.count(functools.partial(function, config), params, prompts, responses),
    shape.batch * shape.responses,
    responses.size,
  )


def judging(config: t5.T5Config, params: t5.Params, shape: Shape) -> Workload:
  """Judges pairs in both orders; the workload's steps are pairs.

  Args:
    config: the preference model's architecture.
    params: the preference model's parameters.
    shape: `batch` pairs with responses of length `target`. `source` is the
      length of the model's input; prompts fill the remaining space.

  Returns:
    The workload; its tokens are those that the encoder reads.

  Raises:
    UserError: the input has no space for a prompt.
  """
  markers = judge.marker_tokens(WORDS)
  room = shape.source - 2 * shape.target - markers
  if room < 1:
    raise errors.UserError(
      f"an input of {shape.source} tokens; expected more than"
      f" {2 * shape.target + markers}: two responses of {shape.target} tokens"
      f" and {markers} marker tokens"
    )
  arrays = [
    jnp.asarray(tokens(config, (shape.batch, length), seed))
    for seed, length in enumerate((room, shape.target, shape.target))
  ]

  def compare(params: t5.Params, *arrays: Array) -> judge.Comparison:
    return judge.compare(config, params, WORDS, *arrays, length=shape.source)

  compiled = jax.jit(compare)
  return Workload(
    lambda: compiled(params, *arrays),
    work.count(compare, params, *arrays),
    shape.batch,
    2 * shape.batch * shape.source,
  )


def one_judging_pass(
  config: t5.T5Config, params: t5.Params, rows: int, length: int
) -> work.Work:
  """Counts an encoder pass over `rows` inputs plus a decoder step for each."""
  inputs = jax.ShapeDtypeStruct((rows, length), jnp.int32)

  def read_and_answer(params: t5.Params, inputs: Array) -> Array:
    prompts = decode.prompts(config, params, inputs)
    caches = decode.empty_caches(config, rows, 1, 1)
    start = jnp.full((rows, 1), PAD_ID)
    position = jnp.int32(0)
    return decode.step(config, params, start, caches, prompts, position)[0]

  return work.count(read_and_answer, params, inputs)
