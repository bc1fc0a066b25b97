"""Samples two responses per prompt, judges them and scores the reference."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from rlhf_gap import checks, errors, partitioning
from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.inference import judge, next_token, sample
from rlhf_gap.models import precision, t5
from rlhf_gap.pairs import reference as references


@dataclasses.dataclass(frozen=True)
class Sampling:
  """Settings of sampling and judging.

  Attributes:
    max_length: maximum response length in tokens, EOS included.
    min_length: number of tokens before a response may end.
    temperature: divides the logits; the paper's is 1.
    top_k: sample from the `top_k` most likely tokens; 0 for all.
    top_p: sample from the most likely tokens with this total probability; 1
      for all.
    mixture_weight: weight of the reference in the geometric mixture that tokens
      are sampled from (IPO-MD); 0 samples from the policy alone.
    judge_length: length of the judge's input in tokens; by default it fits the
      longest prompt, two responses and the markers.
    keep: which end of a prompt to keep if it is truncated for the judge, "end"
      or "start".

  Raises:
    UserError: a value is out of range.
  """

  max_length: int = 128
  min_length: int = 0
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  mixture_weight: float = 0.0
  judge_length: int | None = None
  keep: str = "end"

  def __post_init__(self) -> None:
    checks.required(max_length=self.max_length)
    checks.lengths(max_length=self.max_length, judge_length=self.judge_length)
    checks.one_of(("end", "start"), keep=self.keep)
    transform = (self.temperature, self.top_k, self.top_p, self.min_length)
    next_token.Transform(*transform)
    checks.between(0, 1, mixture_weight=self.mixture_weight)


class Static(NamedTuple):
  """The static arguments of `draw_pairs`.

  Attributes:
    policy: the architecture of policy and reference.
    judge: the architecture of the preference model.
    words: token ids of its markers and answers.
    sampling: the settings, with `judge_length` filled in.
  """

  policy: t5.T5Config
  judge: t5.T5Config
  words: judge.Words
  sampling: Sampling


def with_judge_length(
  sampling: Sampling, words: judge.Words, prompt_length: int
) -> Sampling:
  """Fills in `judge_length`; by default prompt, responses and markers fit.

  Args:
    sampling: the settings.
    words: token ids of the judge's markers.
    prompt_length: maximum prompt length in tokens.

  Returns:
    The settings with `judge_length` set.

  Raises:
    UserError: the given length cannot hold both responses.
  """
  markers = judge.marker_tokens(words)
  needed = 2 * sampling.max_length + markers
  length = sampling.judge_length or prompt_length + needed
  if length < needed:
    raise errors.UserError(
      f"judge_length={length} cannot hold two responses of"
      f" {sampling.max_length} tokens and {markers} of markers; expected at"
      f" least {needed}"
    )
  return dataclasses.replace(sampling, judge_length=length)


# `gin_configs/runs/plans.json` holds fingerprints of the program, which contain
# this name.
@functools.partial(jax.jit, static_argnums=0)
def draw_pairs(
  static: Static,
  policies: tuple[t5.Params, ...],
  reference: t5.Params,
  judge_params: t5.Params,
  prompt: Int[Array, "batch source"],
  key: Key[Array, ""],
) -> tuple[PreferenceBatch, Int[Array, "batch"], Int[Array, ""]]:
  """Samples two responses per prompt, judges them and scores the reference.

  Args:
    static: architectures and settings.
    policies: one policy for both samples, or one per sample.
    reference: the reference's parameters.
    judge_params: the preference model's parameters.
    prompt: token ids, padded with 0 on the right.
    key: random key of the step.

  Returns:
    The pairs, with the judge's winner as chosen (a tie keeps the samples' order
    and has weight 0); the index of the chosen sample; and the first decoding
    step with non-finite logits, or -1.
  """
  with jax.named_scope("sampling"):
    responses, bad = _two_samples(static, policies, reference, prompt, key)
  first, second = responses[:, 0], responses[:, 1]
  sampling = static.sampling
  with jax.named_scope("judging"), partitioning.computing(static.judge):
    verdict = judge.compare(
      static.judge,
      judge_params,
      static.words,
      prompt,
      first,
      second,
      length=sampling.judge_length or 0,
      keep=sampling.keep,
    )
  with jax.named_scope("reference"):
    scores = references.sequence_log_probs(
      static.policy, reference, prompt, responses
    )
  swapped = verdict.label < 0.5

  def ordered(one: Array, other: Array) -> tuple[Array, Array]:
    where = swapped.reshape(-1, *[1] * (one.ndim - 1))
    return jnp.where(where, other, one), jnp.where(where, one, other)

  chosen, rejected = ordered(first, second)
  chosen_reference, rejected_reference = ordered(scores[:, 0], scores[:, 1])
  r12, r21 = ordered(verdict.first_order, verdict.second_order)
  batch = PreferenceBatch(
    prompt=prompt,
    chosen=chosen,
    rejected=rejected,
    chosen_reference=chosen_reference,
    rejected_reference=rejected_reference,
    judge_r12=r12,
    judge_r21=r21,
    weight=(verdict.label != 0.5).astype(jnp.float32),
  )
  # Sharded like a stored batch, so that the training step is the same program.
  batch, chosen_sample = partitioning.constrain_rows(
    (batch, swapped.astype(jnp.int32))
  )
  return batch, chosen_sample, bad


def _two_samples(
  static: Static,
  policies: tuple[t5.Params, ...],
  reference: t5.Params,
  prompt: Int[Array, "batch source"],
  key: Key[Array, ""],
) -> tuple[Int[Array, "batch 2 length"], Int[Array, ""]]:
  sampling = static.sampling
  weight = sampling.mixture_weight
  mixture = sample.Mixture(reference, weight) if weight else None
  each = 2 // len(policies)
  sampled = [
    sample.sample(
      static.policy,
      # Cast once instead of for every token.
      precision.as_computed(static.policy, params),
      prompt,
      # A key per policy, or two equal policies would sample equal responses.
      jax.random.fold_in(key, number),
      num_samples=each,
      max_length=sampling.max_length,
      min_length=sampling.min_length,
      temperature=sampling.temperature,
      top_k=sampling.top_k,
      top_p=sampling.top_p,
      mixture=mixture,
    )
    for number, params in enumerate(policies)
  ]
  responses = jnp.concatenate([s.tokens for s in sampled], axis=1)
  return responses, functools.reduce(
    jnp.maximum, [s.first_bad_step for s in sampled]
  )
