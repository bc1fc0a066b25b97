"""seqio preprocessors: comparisons to token ids that fit their windows.

Text is tokenized part by part and joined as ids. Truncation shortens the body
of the prompt. A response that is too long is truncated at its end and flagged.
A response that fits ends with EOS (1). A truncated one does not, so that no
model learns to stop at the end of a window.

Besides the features that T5X reads, every task's examples hold

  truncated      int32, bits of `stores.columns.Truncated`
  prompt_id      string
  file, line     string, int64: where the row was published
  *_length       int32, tokens before truncation, without EOS
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import seqio
import tensorflow as tf

from rlhf_gap import errors
from rlhf_gap.data.preference_words import LABELS, RESPONSE_A, RESPONSE_B
from rlhf_gap.stores import columns
from rlhf_gap.token_ids import EOS_ID

Example = dict[str, tf.Tensor]
Lengths = Mapping[str, int] | None
Features = Mapping[str, seqio.Feature]
Keep = Literal["start", "end"]

_PROMPT_PARTS = ("prompt_head", "prompt_body", "prompt_tail")
RESPONSES = ("response_a", "response_b", "response")
"""Of a comparison, or the one that a text has."""


def tokenize(
  dataset: tf.data.Dataset, output_features: Features
) -> tf.data.Dataset:
  """Replaces each part's text by its token ids, without EOS.

  Rows with a response without tokens (white space that the vocabulary drops)
  are dropped: its log-probability would be that of EOS alone.
  """
  vocabulary = output_features["inputs"].vocabulary
  responses = [name for name in RESPONSES if name in dataset.element_spec]

  def encode(example: Example) -> Example:
    return example | {
      part: tf.cast(vocabulary.encode_tf(example[part]), tf.int32)
      for part in (*_PROMPT_PARTS, *responses)
    }

  def has_responses(example: Example) -> tf.Tensor:
    sizes = [tf.size(example[name]) for name in responses]
    return tf.reduce_min(sizes) > 0

  return _map(dataset, encode).filter(_as_written(has_responses))


def to_prompts(
  dataset: tf.data.Dataset, sequence_length: Lengths, *, keep: Keep
) -> tf.data.Dataset:
  """Keeps each prompt once: {"inputs"}."""

  def convert(example: Example) -> Example:
    prompt, cut = _prompt(example, _length(sequence_length, "inputs"), keep)
    return _common(example, cut) | {"inputs": _with_eos(prompt)}

  def is_new(example: Example) -> tf.Tensor:
    return tf.logical_not(example["prompt_repeats"])

  return _map(dataset.filter(_as_written(is_new)), convert)


def to_sft(
  dataset: tf.data.Dataset, sequence_length: Lengths, *, keep: Keep
) -> tf.data.Dataset:
  """Yields two examples per row, one per response: {"inputs", "targets"}."""

  def convert(example: Example) -> tf.data.Dataset:
    first, second = (
      tf.data.Dataset.from_tensors(
        _respond(example, name, sequence_length, keep)
      )
      for name in ("response_a", "response_b")
    )
    return first.concatenate(second)

  return dataset.flat_map(_as_written(convert))


def to_text(
  dataset: tf.data.Dataset, sequence_length: Lengths, *, keep: Keep
) -> tf.data.Dataset:
  """Yields a text and its target: {"inputs", "targets"}."""

  def convert(example: Example) -> Example:
    return _respond(example, "response", sequence_length, keep)

  return _map(dataset, convert)


def _respond(
  example: Example, name: str, sequence_length: Lengths, keep: Keep
) -> Example:
  """Returns the example of one of a row's responses."""
  prompt, cut = _prompt(example, _length(sequence_length, "inputs"), keep)
  response, response_cut = _response(example[name], sequence_length)
  cut |= _bit(response_cut, columns.Truncated.RESPONSE)
  return _common(example, cut) | {
    "inputs": _with_eos(prompt),
    "targets": response,
    "response_length": tf.size(example[name]),
  }


def to_pairs(
  dataset: tf.data.Dataset, sequence_length: Lengths, *, keep: Keep
) -> tf.data.Dataset:
  """Yields {"inputs", "chosen", "rejected"}, the preferred response first."""

  def convert(example: Example) -> Example:
    prompt, cut = _prompt(example, _length(sequence_length, "inputs"), keep)
    return _pair(example, prompt, cut, sequence_length)

  return _map(dataset, convert)


def to_preference(
  dataset: tf.data.Dataset,
  sequence_length: Lengths,
  output_features: Features,
  *,
  keep: Keep,
) -> tf.data.Dataset:
  """Yields the preference model's text and its parts.

  `inputs` is `{prompt} [RESPONSE A] {a} [RESPONSE B] {b}` and EOS; `targets` is
  A or B and EOS. T5X trains on these directly. `prompt`, `chosen` and
  `rejected` are the same row for a pair store, from which this package's
  preference model assembles its input on the device, in either order.

  The prompt is truncated to the part of the window that the two responses leave
  free, so the joined parts need no further truncation.

  Raises:
    UserError: A or B is not one token, or the window cannot hold two
      responses and their markers.
  """
  layout = _preference_layout(
    output_features["inputs"].vocabulary, sequence_length
  )
  marker_a, marker_b = layout.markers
  window = _length(sequence_length, "inputs")

  def convert(example: Example) -> Example:
    length = _length(sequence_length, "targets")
    a, b = example["response_a"][:length], example["response_b"][:length]
    budget = None
    if window is not None:
      budget = window - layout.overhead - tf.size(a) - tf.size(b)
    prompt, cut = _prompt(example, budget, keep)
    pair = _pair(example, prompt, cut, sequence_length)
    joined = tf.concat([prompt, marker_a, a, marker_b, b], axis=0)
    target = tf.gather(tf.constant(layout.labels), pair["label"])
    return pair | {
      "prompt": pair["inputs"],
      "inputs": _with_eos(joined),
      "targets": tf.stack([target, EOS_ID]),
    }

  return _map(dataset, convert)


@dataclasses.dataclass(frozen=True)
class _PreferenceLayout:
  """Ids of the markers between the parts of a preference model's text."""

  markers: tuple[list[int], list[int]]
  labels: list[int]

  @property
  def overhead(self) -> int:
    return sum(map(len, self.markers))


def _preference_layout(
  vocabulary: seqio.Vocabulary, sequence_length: Lengths
) -> _PreferenceLayout:
  labels = [vocabulary.encode(label) for label in LABELS]
  if [len(label) for label in labels] != [1, 1]:
    raise errors.UserError(
      f"the vocabulary encodes the labels {LABELS} as {labels}; a preference"
      " model needs a vocabulary that has one id for each"
    )
  a, b = (vocabulary.encode(f" {m} ") for m in (RESPONSE_A, RESPONSE_B))
  layout = _PreferenceLayout((a, b), [label[0] for label in labels])
  if sequence_length is not None:
    window = sequence_length["inputs"]
    needed = 2 * sequence_length["targets"] + layout.overhead + 1
    if window <= needed:
      raise errors.UserError(
        f"a window of {window} tokens cannot hold two responses and their"
        f" markers ({needed} tokens); raise --inputs_length or lower"
        " --targets_length"
      )
  return layout


def _as_written(function: Callable[..., Any]) -> Callable[..., Any]:
  # Nothing here needs AutoGraph, which takes seconds to rewrite it.
  return tf.autograph.experimental.do_not_convert(function)


def _map(
  dataset: tf.data.Dataset, function: Callable[[Example], Example]
) -> tf.data.Dataset:
  return dataset.map(_as_written(function), num_parallel_calls=tf.data.AUTOTUNE)


def _pair(
  example: Example,
  prompt: tf.Tensor,
  cut: tf.Tensor,
  sequence_length: Lengths,
) -> Example:
  better_is_a = tf.equal(example["label"], 0)
  a, b = example["response_a"], example["response_b"]
  better = tf.cond(better_is_a, lambda: a, lambda: b)
  worse = tf.cond(better_is_a, lambda: b, lambda: a)
  chosen, chosen_cut = _response(better, sequence_length)
  rejected, rejected_cut = _response(worse, sequence_length)
  cut |= _bit(chosen_cut, columns.Truncated.CHOSEN)
  cut |= _bit(rejected_cut, columns.Truncated.REJECTED)
  return _common(example, cut) | {
    "inputs": _with_eos(prompt),
    "chosen": chosen,
    "rejected": rejected,
    "label": tf.cast(example["label"], tf.int32),
    "chosen_length": tf.size(better),
    "rejected_length": tf.size(worse),
  }


def _common(example: Example, truncated: tf.Tensor) -> Example:
  parts = [example[f"prompt_{part}"] for part in ("head", "body", "tail")]
  return {
    "prompt_id": example["prompt_id"],
    "file": example["file"],
    "line": example["line"],
    "prompt_length": tf.add_n([tf.size(part) for part in parts]),
    "truncated": truncated,
  }


def _length(sequence_length: Lengths, feature: str) -> int | None:
  return None if sequence_length is None else sequence_length[feature]


def _bit(flag: tf.Tensor, bit: columns.Truncated) -> tf.Tensor:
  return tf.where(flag, tf.constant(int(bit), tf.int32), 0)


def _with_eos(tokens: tf.Tensor) -> tf.Tensor:
  return tf.concat([tokens, [EOS_ID]], axis=0)


def _prompt(
  example: Example, window: int | tf.Tensor | None, keep: Keep
) -> tuple[tf.Tensor, tf.Tensor]:
  """Joins the parts of the prompt, shortened to leave room for EOS.

  Args:
    example: holds the ids of the three parts.
    window: largest number of tokens of the prompt and its EOS; None for no
      limit.
    keep: which end of the body to keep. Head and tail are kept whole if both
      fit; otherwise the head is truncated.

  Returns:
    int32 [<= window - 1], and the bits of the truncated parts.
  """
  head, body, tail = (
    example[f"prompt_{part}"] for part in ("head", "body", "tail")
  )
  whole = tf.concat([head, body, tail], axis=0)
  if window is None:
    return whole, tf.constant(0, tf.int32)
  budget = tf.maximum(window - 1, 0)
  tail = tail[tf.maximum(tf.size(tail) - budget, 0) :]
  head = head[: budget - tf.size(tail)]
  room = budget - tf.size(head) - tf.size(tail)
  if keep == "start":
    body = body[:room]
  else:
    body = body[tf.maximum(tf.size(body) - room, 0) :]
  fitted = tf.concat([head, body, tail], axis=0)
  was_cut = tf.size(fitted) < tf.size(whole)
  return fitted, _bit(was_cut, columns.Truncated.PROMPT)


def _response(
  tokens: tf.Tensor, sequence_length: Lengths
) -> tuple[tf.Tensor, tf.Tensor]:
  """Appends EOS to a response if both fit; returns whether it was truncated."""
  length = _length(sequence_length, "targets")
  if length is None:
    return _with_eos(tokens), tf.constant(False)
  return _with_eos(tokens)[:length], tf.size(tokens) + 1 > length
