"""What a training step is given: frozen batches of token ids.

Whatever the regime, pairs arrive as one `PreferenceBatch`; where it came from
is the only difference between online and offline alignment.
"""

from typing import NamedTuple

from jaxtyping import Array, Float, Int


class PreferenceBatch(NamedTuple):
  """Pairs of responses, the preferred one first.

  Attributes:
    prompt: token ids, padded with 0 on the right.
    chosen: y_w; ends with EOS (1) unless it was cut, then pads.
    rejected: y_l, likewise.
    chosen_reference: log pi_ref(y_w | x), nats, summed over tokens with EOS.
    rejected_reference: log pi_ref(y_l | x), likewise.
    judge_r12: the judge's P(y_w better) with y_w shown first; 1 where people or
      a rater chose.
    judge_r21: its P(y_l better) with y_l shown first; 0 where people chose.
    weight: the pair's weight in the loss; 0 leaves it out (ties).
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
  """Prompts with one response each, to imitate.

  Attributes:
    prompt: token ids, padded with 0 on the right.
    response: ends with EOS (1) unless it was cut, then pads.
    weight: the row's weight in the loss.
  """

  prompt: Int[Array, "batch source"]
  response: Int[Array, "batch target"]
  weight: Float[Array, "batch"]
