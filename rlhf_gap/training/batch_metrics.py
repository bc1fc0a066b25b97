"""Weighted sums and means of a batch's losses and metrics."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.ops import logprobs
from rlhf_gap.token_ids import EOS_ID

Sums = dict[str, Float[Array, ""]]


# Means over all responses of a batch, including those of ties. All other
# metrics are means over the rows' weights, and so undefined at weight 0.
OVER_RESPONSES = ("response_length_tokens", "eos_rate")


# A batch with less weight than this counts as having none.
_LEAST_WEIGHT = 1e-12


@dataclasses.dataclass(frozen=True)
class PairedResponses:
  """The chosen and rejected responses of a batch, stacked."""

  tokens: Int[Array, "batch 2 target"]
  mask: Bool[Array, "batch 2 target"]
  reference: Float[Array, "batch 2"]

  @classmethod
  def from_batch(cls, batch: PreferenceBatch) -> "PairedResponses":
    """Stacks the two responses of each pair."""
    tokens = jnp.stack([batch.chosen, batch.rejected], axis=1)
    reference = jnp.stack(
      [batch.chosen_reference, batch.rejected_reference], axis=1
    )
    return cls(tokens, logprobs.response_mask(tokens), reference)

  def metrics(
    self, scores: Float[Array, "batch 2 target"]
  ) -> dict[str, Float[Array, "batch"]]:
    """Returns the metrics that every loss on pairs reports."""
    ratio = logprobs.sequence_sum(scores, self.mask) - self.reference
    lengths = self.mask.sum(-1).astype(jnp.float32)
    ended = (self.tokens == EOS_ID).any(-1).astype(jnp.float32)
    return {
      "accuracy": above_zero(ratio[:, 0] - ratio[:, 1]),
      "chosen_log_ratio_nats": ratio[:, 0],
      "rejected_log_ratio_nats": ratio[:, 1],
      "log_ratio_nats": ratio.mean(-1),
      "response_length_tokens": lengths.mean(-1),
      "eos_rate": ended.mean(-1),
    }


def above_zero(margin: Float[Array, "batch"]) -> Float[Array, "batch"]:
  """Returns 1 for a positive margin, 1/2 for 0 and 0 for a negative one."""
  return 0.5 * (1 + jnp.sign(margin))


def weighted_sums(
  values: Float[Array, "batch"],
  weight: Float[Array, "batch"],
  metrics: dict[str, Float[Array, "batch"]],
) -> tuple[Float[Array, ""], Sums]:
  """Returns the weighted sum of the losses, and the sums of all metrics.

  Args:
    values: loss of each row.
    weight: weight of each row.
    metrics: by name, a value per row. Those of `OVER_RESPONSES` are summed
      without weights.

  Returns:
    (sum of losses, sums); the sums include "loss", "weight" and "rows".
  """
  loss = (weight * values).sum()
  counted = dict.fromkeys(OVER_RESPONSES, 1.0)
  sums = {
    name: (counted.get(name, weight) * jax.lax.stop_gradient(value)).sum()
    for name, value in metrics.items()
  }
  rows = jnp.ones_like(weight).sum()
  return loss, {"loss": loss, **sums, "weight": weight.sum(), "rows": rows}


def means(sums: Sums) -> tuple[Sums, Float[Array, ""]]:
  """Divides an objective's sums; returns the means and the total weight.

  Args:
    sums: of one batch, or added up over several.

  Returns:
    The mean of each metric over the weights, or over all rows for those of
    `OVER_RESPONSES`. If the total weight is 0, means over weights are 0 and
    have no meaning.
  """
  rest = dict(sums)
  weight, rows = rest.pop("weight"), rest.pop("rows", jnp.ones(()))
  over_weight = 1 / jnp.maximum(weight, _LEAST_WEIGHT)
  over_rows = 1 / rows
  divided = {
    name: total * (over_rows if name in OVER_RESPONSES else over_weight)
    for name, total in rest.items()
  }
  return divided, weight
