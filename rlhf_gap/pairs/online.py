"""Pairs sampled by a policy and labelled by a judge, all on the device."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from rlhf_gap import (
  checkpoints,
  checks,
  errors,
  partitioning,
  processes,
  stores,
)
from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.inference import judge, next_token, sample
from rlhf_gap.models import precision, t5
from rlhf_gap.pairs import reference as references
from rlhf_gap.pairs.sources import (
  CHECKPOINT,
  STORE,
  Context,
  FetchedBatch,
  Provenance,
)

# What each process reads of its own rows, and of all rows to record them.
_TOKENS, _NAMES = ("prompt_tokens",), ("prompt_id", "truncated")


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How responses are drawn and judged.

  Attributes:
    max_length: tokens of a response at most, EOS included.
    min_length: tokens before which no response ends.
    temperature: divides the logits; the paper's is 1.
    top_k: most likely tokens drawn from; 0 for all.
    top_p: probability of the most likely tokens drawn from; 1 for all.
    mixture_weight: IPO-MD: the reference's weight in the log-space mixture that
      tokens are drawn from; 0 draws from the policy alone.
    judge_length: tokens of the judge's input; None for the prompts' window plus
      two responses and the markers.
    keep: end of a prompt that the judge keeps, "end" or "start".

  Raises:
    UserError: responses can have no token.
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


@dataclasses.dataclass(frozen=True)
class Online:
  """Two samples a prompt from the policy being trained, judged at once.

  Attributes:
    prompts: a store with prompts.
    judge: the proxy preference model's checkpoint.
    sampling: how to draw and judge.
    sync_every_steps: steps after which the sampling parameters are replaced by
      the policy's: 1 is online; more is semi-online; None never does, so that
      all pairs come from the initial policy.
    passes: how often the batches drawn between two synchronisations are
      trained on; `sync_every_steps` must be a multiple.
  """

  prompts: str = dataclasses.field(metadata=STORE)
  judge: str = dataclasses.field(metadata=CHECKPOINT)
  sampling: Sampling = Sampling()
  sync_every_steps: int | None = 1
  passes: int = 1

  def __post_init__(self) -> None:
    every = self.sync_every_steps
    checks.required(prompts=self.prompts, judge=self.judge, passes=self.passes)
    checks.texts(prompts=self.prompts, judge=self.judge)
    checks.counts(sync_every_steps=every, passes=self.passes)
    if self.passes > 1 and (every or 1) % self.passes:
      raise errors.UserError(
        f"passes={self.passes} does not divide sync_every_steps={every}"
      )

  def open(self, context: Context, *, start_step: int = 0) -> "_Online":
    """Opens prompts and judge."""
    return _Online(self, _PairSampler(self, context), start_step)

  def stores(self) -> list[stores.Store]:
    """Returns the store of prompts."""
    return [stores.open(self.prompts)]


@dataclasses.dataclass(frozen=True)
class Generated:
  """Each side sampled from a checkpoint of its own, labelled by a judge.

  Attributes:
    first: the checkpoint that draws the first response of a pair.
    second: the checkpoint that draws the second; may be the same.
    prompts: a store with prompts.
    judge: the golden preference model's checkpoint.
    sampling: how to draw and judge.
  """

  first: str = dataclasses.field(metadata=CHECKPOINT)
  second: str = dataclasses.field(metadata=CHECKPOINT)
  prompts: str = dataclasses.field(metadata=STORE)
  judge: str = dataclasses.field(metadata=CHECKPOINT)
  sampling: Sampling = Sampling()

  def __post_init__(self) -> None:
    names = ("first", "second", "prompts", "judge")
    paths = {name: getattr(self, name) for name in names}
    checks.required(**paths)
    checks.texts(**paths)

  def open(self, context: Context, *, start_step: int = 0) -> "_Generated":
    """Opens prompts, judge and both policies."""
    del start_step  # a batch is a function of the step
    return _Generated(self, _PairSampler(self, context), context)

  def stores(self) -> list[stores.Store]:
    """Returns the store of prompts."""
    return [stores.open(self.prompts)]


class Static(NamedTuple):
  """What a compiled draw is specialised to.

  Attributes:
    policy: architecture of policy and reference.
    judge: the preference model's.
    words: the preference model's.
    sampling: how to draw and judge, with a judge's window.
  """

  policy: t5.T5Config
  judge: t5.T5Config
  words: judge.Words
  sampling: Sampling


class _PairSampler:
  """Prompts, judge and reference, ready to make pairs of any policy."""

  def __init__(self, spec: Online | Generated, context: Context):
    reference = context.reference
    if reference is None:
      raise errors.UserError("sampled pairs need a reference policy")
    self.reference = reference
    self.context = context
    self.prompts = stores.open(spec.prompts)
    manifest = self.prompts.manifest
    places = partitioning.parameters_on(context.mesh)
    # The judge's activations are of the run's type, as the reference's are.
    dtype = context.config.dtype
    loaded = checkpoints.load(
      spec.judge, shardings=places, activations=dtype, optimizer_state=False
    )
    identity = context.fingerprint(spec.judge)
    self.judge_identity = stores.Checkpoint(spec.judge, identity, loaded.step)
    words = judge.words_of(manifest.vocabulary)
    sampling = with_judge_length(
      spec.sampling, words, manifest.feature_lengths["prompt"]
    )
    judging = dataclasses.replace(loaded.config, dtype=dtype)
    self.judge = loaded.params
    self.static = Static(context.config, judging, words, sampling)
    self._key = jax.random.key(context.seed)
    self._is_compiled = False
    self._next_step = -1
    self._tokens: Iterator[dict[str, np.ndarray]] = iter(())
    self._names: Iterator[dict[str, np.ndarray]] = iter(())

  def _prompts_of(self, step: int) -> dict[str, np.ndarray]:
    if step != self._next_step:
      self._tokens = self._from(step, _TOKENS, self.context.rows_held)
      self._names = self._from(step, _NAMES, None)
    self._next_step = step + 1
    return {**next(self._tokens), **next(self._names)}

  def _from(
    self, step: int, columns: tuple[str, ...], places: np.ndarray | None
  ) -> Iterator[dict[str, np.ndarray]]:
    return self.prompts.batches(
      stores.Epochs(),
      seed=self.context.seed,
      batch_size=self.context.batch_size,
      start_step=step,
      places=places,
      columns=columns,
    )

  def manifest(self, spec: Online | Generated) -> stores.Manifest:
    """Describes a store of the pairs that are drawn."""
    prompts = self.prompts.manifest
    lengths = {
      "prompt": prompts.feature_lengths["prompt"],
      "response": self.static.sampling.max_length,
    }
    settings: dict[str, str | int | float] = {
      "prompts": spec.prompts,
      "seed": self.context.seed,
      "judge_length": self.static.sampling.judge_length or 0,
      "temperature": self.static.sampling.temperature,
      "source": type(spec).__name__,
    }
    return stores.Manifest(
      task=prompts.task,
      schema="pairs",
      columns=stores.PAIRS,
      feature_lengths=lengths,
      vocabulary=prompts.vocabulary,
      chunk_rows=self.context.batch_size,
      label=stores.Label("judge", self.judge_identity),
      reference=self.reference.identity,
      source=settings,
    )

  def fetch(
    self, step: int, policies: tuple[t5.Params, ...], policy_step: int
  ) -> FetchedBatch:
    """Samples, judges and scores the pairs of a step."""
    values = self._prompts_of(step)
    prompt = self.context.place(values["prompt_tokens"])
    arguments = (
      self.static,
      policies,
      self.reference.params,
      self.judge,
      prompt,
      jax.random.fold_in(self._key, step),
    )
    if not self._is_compiled:
      processes.compile_together(draw_pairs, *arguments)
      self._is_compiled = True
    batch, chosen_sample, bad = draw_pairs(*arguments)
    provenance = Provenance(
      values["prompt_id"],
      values["truncated"],
      step,
      policy_step,
      chosen_sample,
      bad,
    )
    return FetchedBatch(batch, provenance)


def with_judge_length(
  sampling: Sampling, words: judge.Words, prompt_length: int
) -> Sampling:
  """Fills in `judge_length`: by default prompt, responses and markers all fit.

  Args:
    sampling: the settings.
    words: the judge's.
    prompt_length: the prompts' window in tokens.

  Returns:
    The settings with a judge's window.

  Raises:
    UserError: the given window cannot hold both responses.
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


@functools.partial(jax.jit, static_argnums=0)
def draw_pairs(
  static: Static,
  policies: tuple[t5.Params, ...],
  reference: t5.Params,
  judge_params: t5.Params,
  prompt: Int[Array, "batch source"],
  key: Key[Array, ""],
) -> tuple[PreferenceBatch, Int[Array, "batch"], Int[Array, ""]]:
  """Samples two responses a prompt, judges them and scores the reference.

  Args:
    static: architectures and settings.
    policies: one policy for both samples, or one for each.
    reference: the reference's parameters.
    judge_params: the preference model's.
    prompt: token ids, padded with 0 on the right.
    key: of the step.

  Returns:
    The pairs, the judge's winner as chosen (a tie keeps the samples' order and
    has weight 0); which sample was chosen; the first step of decoding with
    logits that were not finite, or -1.
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
  # As a stored batch lies: the training step then is the same program.
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
  drawn = [
    sample.sample(
      static.policy,
      # Once, and not for every token.
      precision.as_computed(static.policy, params),
      prompt,
      # A policy's own key: two equal policies must not draw equal responses.
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
  responses = jnp.concatenate([d.tokens for d in drawn], axis=1)
  return responses, functools.reduce(
    jnp.maximum, [d.first_bad_step for d in drawn]
  )


class _Online:
  """Draws from the policy, as it is or as it was at the last sync."""

  def __init__(self, spec: Online, pair_sampler: _PairSampler, start_step: int):
    self._spec, self._pair_sampler = spec, pair_sampler
    self._sampler: t5.Params | None = None
    self._sync_step = start_step

  def fetch(self, step: int, params: t5.Params) -> FetchedBatch:
    """Samples, judges and scores the pairs of `step`."""
    every = self._spec.sync_every_steps
    if every == 1:
      return self._pair_sampler.fetch(step, (params,), step)
    # The policy's own arrays are donated to the next training step.
    if self._sampler is None or (every and step % every == 0):
      self._sampler = jax.tree.map(jnp.copy, params)
    synced = step - step % every if every else 0
    return self._pair_sampler.fetch(
      self._sampling_step(step), (self._sampler,), synced
    )

  def _sampling_step(self, step: int) -> int:
    """Later passes draw the block's batches again: equal keys, equal pairs."""
    every, passes = self._spec.sync_every_steps, self._spec.passes
    if every is None or passes == 1:
      return step
    fresh = every // passes
    block, within = divmod(step, every)
    return block * fresh + within % fresh

  def manifest(self) -> stores.Manifest:
    """Describes a store of the pairs that are drawn."""
    return self._pair_sampler.manifest(self._spec)

  def state(self) -> dict[str, Any]:
    """Returns the sampler's parameters where they lag behind the policy's."""
    return {} if self._sampler is None else {"sampler": self._sampler}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Takes over the sampler's parameters."""
    self._sampler = state.get("sampler")


class _Generated:
  """Draws from two fixed policies."""

  def __init__(
    self, spec: Generated, pair_sampler: _PairSampler, context: Context
  ):
    self._spec, self._pair_sampler = spec, pair_sampler
    paths = (
      [spec.first] if spec.first == spec.second else [spec.first, spec.second]
    )
    places = partitioning.parameters_on(context.mesh)
    loaded = [
      checkpoints.load(path, shardings=places, optimizer_state=False)
      for path in paths
    ]
    for path, policy in zip(paths, loaded, strict=True):
      if not same_architecture(policy.config, context.config):
        raise errors.UserError(
          f"{path} is another architecture than the run's policy; both sides"
          " of generated pairs share it"
        )
    self._policies = tuple(policy.params for policy in loaded)
    steps = {policy.step for policy in loaded}
    self._policy_step = steps.pop() if len(steps) == 1 else stores.NO_POLICY

  def fetch(self, step: int, params: t5.Params) -> FetchedBatch:
    """Samples, judges and scores the pairs of `step`."""
    del params
    return self._pair_sampler.fetch(step, self._policies, self._policy_step)

  def manifest(self) -> stores.Manifest:
    """Describes a store of the pairs that are drawn."""
    return self._pair_sampler.manifest(self._spec)

  def state(self) -> dict[str, Any]:
    """Nothing: the batch is a function of the step."""
    return {}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Nothing to restore."""


def same_architecture(one: t5.T5Config, other: t5.T5Config) -> bool:
  """Whether two configurations take the same parameters."""
  return (
    dataclasses.replace(
      one,
      dtype=other.dtype,
      dropout_rate=other.dropout_rate,
      remat_policy=other.remat_policy,
    )
    == other
  )
