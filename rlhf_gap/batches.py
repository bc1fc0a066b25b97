"""Training batches of token ids.

Every regime trains on `PreferenceBatch`; online and offline alignment differ
only in where the batch comes from.
"""

from typing import NamedTuple

from jaxtyping import Array, Float, Int


class PreferenceBatch(NamedTuple):
  """Prompts with two responses each, the preferred one first.

  Attributes:
    prompt: token ids, right-padded with 0.
    chosen: y_w, right-padded with 0; ends with EOS (1) unless truncated.
    rejected: y_l, in the same form.
    chosen_reference: log pi_ref(y_w | x) in nats, summed over tokens, EOS
      included.
    rejected_reference: log pi_ref(y_l | x), in the same form.
    judge_r12: the judge's P(y_w better) with y_w shown first; 1 for human or
      rater labels.
    judge_r21: the judge's P(y_l better) with y_l shown first; 0 for human or
      rater labels.
    weight: the pair's weight in the loss; 0 excludes it (ties).
  """

  prompt: Int[Array, "batch source"]
  chosen: Int[Array, "batch target"]
  rejected: Int[Array, "batch target"]
  chosen_reference: Float[Array, "batch"]
  rejected_reference: Float[Array, "batch"]
  judge_r12: Float[Array, "batch"]
  judge_r21: Float[Array, "batch"]
  weight: Float[Array, "batch"]

  @property
  def probability(self) -> Float[Array, "batch"]:
    """The judge's debiased P(y_w better), (r12 + 1 - r21) / 2."""
    return 0.5 * (self.judge_r12 + 1 - self.judge_r21)


class ResponseBatch(NamedTuple):
  """Prompts with one target response each, for supervised fine-tuning.

  Attributes:
    prompt: token ids, right-padded with 0.
    response: token ids, right-padded with 0; ends with EOS (1) unless
      truncated.
    weight: the row's weight in the loss.
  """

  prompt: Int[Array, "batch source"]
  response: Int[Array, "batch target"]
  weight: Float[Array, "batch"]
