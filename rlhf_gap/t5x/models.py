"""T5X models that train on this project's losses."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float
from t5x import metrics as t5x_metrics
from t5x import models

from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.ops import logprobs
from rlhf_gap.t5x import features
from rlhf_gap.training import batch_metrics, objectives

Batch = Mapping[str, Array]


def preference_batch(batch: Batch) -> PreferenceBatch:
  """Returns T5X's batch of `PairFeatureConverter` as this project's."""
  numbers = {name: batch[name][:, 0] for name in features.NUMBERS}
  return PreferenceBatch(
    prompt=batch["encoder_input_tokens"],
    chosen=batch["decoder_target_tokens"],
    rejected=batch["rejected_target_tokens"],
    **numbers,
  )


class PreferencePolicy(models.EncoderDecoderModel):
  """A policy trained on pairs that carry the reference's log-probabilities.

  The reference is data, so T5X's train state holds one model. The loss is the
  mean over the batch's weights, in nats. With `Trainer.num_microbatches`, T5X
  adds up the gradients of the parts' means: n times ours for equal weights,
  which Adafactor doesn't see.
  """

  FEATURE_CONVERTER_CLS = features.PairFeatureConverter

  def __init__(
    self,
    *arguments: Any,
    objective: objectives.Contrastive | objectives.BestOfTwo | None = None,
    **settings: Any,
  ):
    super().__init__(*arguments, **settings)
    self._spec = objective or objectives.Contrastive()

  def loss_fn(
    self, params: Any, batch: Batch, dropout_rng: Array | None
  ) -> tuple[Float[Array, ""], dict[str, Any]]:
    """Returns the mean loss of a batch and its metrics, under our names.

    Args:
      params: the policy's parameters.
      batch: features of `PairFeatureConverter`.
      dropout_rng: key for dropout; None disables it.

    Returns:
      (loss, clu metrics by name).
    """
    if isinstance(self._spec, objectives.BestOfTwo):
      objective = objectives.best_of_two(self._score_tokens, self._spec)
    else:
      objective = objectives.contrastive(self._score_tokens, self._spec)
    total, sums = objective(params, preference_batch(batch), dropout_rng)
    _, weight = batch_metrics.means(sums)
    return total / jnp.maximum(weight, 1e-12), _metrics(sums)

  def score_batch(
    self, params: Any, batch: Batch, return_intermediates: bool = False
  ) -> Array:
    """Returns log pi(y|x) in nats, summed over tokens, EOS included.

    Args:
      params: the policy's parameters.
      batch: features of `PairFeatureConverter`, or of T5X's own converter.
      return_intermediates: must be False.

    Returns:
      [batch, 2] of chosen and rejected; [batch] for T5X's own features.

    Raises:
      NotImplementedError: intermediates were asked for.
    """
    if return_intermediates:
      raise NotImplementedError("PreferencePolicy returns no intermediates")
    names = ["decoder_target_tokens"]
    names += [n for n in ("rejected_target_tokens",) if n in batch]
    tokens = jnp.stack([batch[name] for name in names], axis=1)
    prompt = batch["encoder_input_tokens"]
    scores = self._score_tokens(params, prompt, tokens, None)
    sums = logprobs.sequence_sum(scores, logprobs.response_mask(tokens))
    return sums if len(names) > 1 else sums[:, 0]

  def _score_tokens(
    self, params: Any, prompt: Array, responses: Array, key: Array | None
  ) -> Array:
    rows, count, length = responses.shape
    tokens = responses.reshape(rows * count, length)
    logits = self._compute_logits(
      params,
      {
        "encoder_input_tokens": jnp.repeat(prompt, count, axis=0),
        "decoder_input_tokens": jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": tokens,
      },
      key,
    )
    scores = logprobs.from_logits(logits.astype(jnp.float32), tokens)
    return scores.reshape(rows, count, length)


def _metrics(sums: batch_metrics.Sums) -> dict[str, Any]:
  """Returns averages that merge over devices and steps as our means do."""
  totals = jax.lax.stop_gradient(dict(sums))
  weight, rows = totals.pop("weight"), totals.pop("rows")
  averages = {
    name: clu_metrics.Average(
      total=total,
      count=rows if name in batch_metrics.OVER_RESPONSES else weight,
    )
    for name, total in totals.items()
  }
  return averages | {
    "timing/steps_per_second": t5x_metrics.StepsPerTime.from_model_output(),
    "timing/seconds": t5x_metrics.Time(),
  }
