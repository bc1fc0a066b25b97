"""An online step and its parts: sampling, judging, reference, update."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.benchmarks import workloads
from rlhf_gap.inference import judge, sample
from rlhf_gap.models import t5
from rlhf_gap.pairs import reference
from rlhf_gap.pairs import sampling as pair_sampling
from rlhf_gap.training import configured, objectives, step

PARTS = ("sampling", "judging", "reference", "offline")
"""The parts of an online step; "offline" is the update on stored pairs."""


class _Updates:
  """A run's successive updates; the state is donated."""

  def __init__(self, config: t5.T5Config, params: t5.Params):
    optimizer = configured.Adafactor(configured.LearningRate(1.0)).make()
    objective = objectives.Contrastive().bind(config, None)
    self._update = step.compiled(objective, optimizer)
    self._state = step.init(jax.tree.map(jnp.copy, params), optimizer)

  @property
  def params(self) -> t5.Params:
    return self._state.params

  def __call__(self, batch: PreferenceBatch) -> step.StepMetrics:
    # At learning rate 0 the policy, and so the work, stays the same.
    self._state, metrics = self._update(self._state, batch, 0.0)
    return metrics


def calls(
  config: t5.T5Config, params: t5.Params, shape: workloads.Shape
) -> dict[str, Callable[[], object]]:
  """Returns an online IPO step and its parts, for separate timing.

  They are the programs of a real run, with Adafactor. Policy, reference and
  judge are the same model, and no response ends early.

  Args:
    config: the architecture.
    params: the model's parameters.
    shape: the batch's shape. There are always two responses per prompt;
      `responses` is ignored.

  Returns:
    The calls by name: "online", the whole step, and each of `PARTS`.
  """
  size = (shape.batch, shape.source)
  prompts = jnp.asarray(workloads.tokens(config, size, 0))
  sampling = pair_sampling.with_judge_length(
    pair_sampling.Sampling(max_length=shape.target, min_length=shape.target),
    workloads.WORDS,
    shape.source,
  )
  static = pair_sampling.Static(config, config, workloads.WORDS, sampling)
  key = jax.random.key(0)

  def sample_pairs(policy: t5.Params) -> PreferenceBatch:
    return pair_sampling.draw_pairs(
      static, (policy,), params, params, prompts, key
    )[0]

  pairs = sample_pairs(params)
  responses = jnp.stack([pairs.chosen, pairs.rejected], axis=1)
  verdict = jax.jit(
    lambda params: judge.compare(
      config,
      params,
      workloads.WORDS,
      *(prompts, pairs.chosen, pairs.rejected),
      length=sampling.judge_length or 0,
    )
  )
  # Two copies of the policy, because each call donates its own.
  offline, whole = (_Updates(config, params) for _ in range(2))
  return {
    "online": lambda: whole(sample_pairs(whole.params)),
    "sampling": lambda: (
      sample.sample(
        config,
        params,
        prompts,
        key,
        num_samples=2,
        max_length=shape.target,
        min_length=shape.target,
      ).tokens
    ),
    "judging": lambda: verdict(params),
    "reference": lambda: reference.sequence_log_probs(
      config, params, prompts, responses
    ),
    "offline": lambda: offline(pairs),
  }
