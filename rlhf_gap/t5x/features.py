"""seqio's conversion of a store's pairs to a batch of T5X's models."""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from rlhf_gap import errors

_TOKENS = seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)
_NUMBER = seqio.FeatureConverter.FeatureSpec(dtype=tf.float32)

NUMBERS = (
  "chosen_reference",
  "rejected_reference",
  "judge_r12",
  "judge_r21",
  "weight",
)
"""Features of one float32 per pair, kept as vectors of length 1."""


class PairFeatureConverter(seqio.FeatureConverter):
  """Converts inputs, chosen and rejected to T5X's features.

  The chosen response has T5X's own names, so a T5X model can score it and
  predict from the batch; `rejected_target_tokens` is the other response. Pairs
  can't be packed, because a segment would need both of its responses.
  """

  TASK_FEATURES = {
    "inputs": _TOKENS,
    "chosen": _TOKENS,
    "rejected": _TOKENS,
    **dict.fromkeys(NUMBERS, _NUMBER),
  }
  MODEL_FEATURES = {
    "encoder_input_tokens": _TOKENS,
    "decoder_input_tokens": _TOKENS,
    "decoder_target_tokens": _TOKENS,
    "decoder_loss_weights": _TOKENS,
    "rejected_target_tokens": _TOKENS,
    **dict.fromkeys(NUMBERS, _NUMBER),
  }
  PACKING_FEATURE_DTYPES: Mapping[str, tf.DType] = {}

  def get_model_feature_lengths(
    self, task_feature_lengths: Mapping[str, int]
  ) -> Mapping[str, int]:
    """Returns each feature's length in tokens; 1 for numbers."""
    chosen = task_feature_lengths["chosen"]
    return {
      "encoder_input_tokens": task_feature_lengths["inputs"],
      "decoder_input_tokens": chosen,
      "decoder_target_tokens": chosen,
      "decoder_loss_weights": chosen,
      "rejected_target_tokens": task_feature_lengths["rejected"],
      **dict.fromkeys(NUMBERS, 1),
    }

  def _convert_features(
    self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
  ) -> tf.data.Dataset:
    if self.pack:
      raise errors.UserError(
        "pairs can't be packed; set train/utils.DatasetConfig.pack = False"
      )
    lengths = {name: task_feature_lengths[name] for name in self.TASK_FEATURES}
    ds = seqio.trim_and_pad_dataset(ds, lengths)

    def convert(pair: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      chosen = pair["chosen"]
      return {
        "encoder_input_tokens": pair["inputs"],
        "decoder_input_tokens": seqio.autoregressive_inputs(chosen),
        "decoder_target_tokens": chosen,
        "decoder_loss_weights": seqio.non_padding_position(chosen),
        "rejected_target_tokens": pair["rejected"],
        **{name: pair[name] for name in NUMBERS},
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)
