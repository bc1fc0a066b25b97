"""Sources of pairs that are sampled and judged as they are fetched."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import (
  checkpoints,
  checks,
  errors,
  partitioning,
  processes,
  stores,
)
from rlhf_gap.inference import judge
from rlhf_gap.models import t5
from rlhf_gap.pairs.sampling import (
  Sampling,
  Static,
  draw_pairs,
  with_judge_length,
)
from rlhf_gap.pairs.sources import (
  CHECKPOINT,
  STORE,
  Context,
  FetchedBatch,
  Provenance,
)

# Columns read for a process's own rows, and for all rows, to record them.
_TOKENS, _NAMES = ("prompt_tokens",), ("prompt_id", "truncated")


@dataclasses.dataclass(frozen=True)
class Online:
  """Two samples per prompt from the trained policy, labelled by a judge.

  Attributes:
    prompts: a store with prompts.
    judge: the proxy preference model's checkpoint.
    sampling: settings of sampling and judging.
    sync_every_steps: period, in steps, at which the sampling parameters are
      updated to the policy's: 1 is online, more is semi-online; with None all
      pairs come from the initial policy.
    passes: number of passes over the batches sampled between two updates; must
      divide `sync_every_steps`.
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
  """Pairs sampled from two checkpoints and labelled by a judge.

  Attributes:
    first: the checkpoint that the first response is sampled from.
    second: the checkpoint of the second response; may be the same.
    prompts: a store with prompts.
    judge: the golden preference model's checkpoint.
    sampling: settings of sampling and judging.
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


class _PairSampler:
  """Samples, judges and scores pairs of any policy."""

  def __init__(self, spec: Online | Generated, context: Context):
    reference = context.reference
    if reference is None:
      raise errors.UserError("sampled pairs need a reference policy")
    self.reference = reference
    self.context = context
    self.prompts = stores.open(spec.prompts)
    manifest = self.prompts.manifest
    places = partitioning.parameters_on(context.mesh)
    # The judge uses the run's activation dtype, like the reference.
    dtype = context.config.dtype
    loaded = checkpoints.load(
      spec.judge, shardings=places, activations=dtype, optimizer_state=False
    )
    identity = context.fingerprint(spec.judge)
    self.judge_identity = stores.CheckpointIdentity(
      spec.judge, identity, loaded.step
    )
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
    """Returns the manifest of a store of the sampled pairs."""
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


class _Online:
  """Samples from the policy, or from its copy at the last synchronisation."""

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
    """Returns the step whose key to use; later passes repeat earlier steps."""
    every, passes = self._spec.sync_every_steps, self._spec.passes
    if every is None or passes == 1:
      return step
    fresh = every // passes
    block, within = divmod(step, every)
    return block * fresh + within % fresh

  def manifest(self) -> stores.Manifest:
    """Returns the manifest of a store of the sampled pairs."""
    return self._pair_sampler.manifest(self._spec)

  def state(self) -> dict[str, Any]:
    """Returns the sampling parameters if they may lag behind the policy's."""
    return {} if self._sampler is None else {"sampler": self._sampler}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Restores the sampling parameters."""
    self._sampler = state.get("sampler")


class _Generated:
  """Samples from two fixed policies."""

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
          f"{path} has a different architecture from the run's policy; both"
          " policies that generate pairs must have the same one"
        )
    self._policies = tuple(policy.params for policy in loaded)
    steps = {policy.step for policy in loaded}
    self._policy_step = steps.pop() if len(steps) == 1 else stores.NO_POLICY

  def fetch(self, step: int, params: t5.Params) -> FetchedBatch:
    """Samples, judges and scores the pairs of `step`."""
    del params
    return self._pair_sampler.fetch(step, self._policies, self._policy_step)

  def manifest(self) -> stores.Manifest:
    """Returns the manifest of a store of the sampled pairs."""
    return self._pair_sampler.manifest(self._spec)

  def state(self) -> dict[str, Any]:
    """Returns nothing; the batch is a function of the step."""
    return {}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Does nothing."""


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
