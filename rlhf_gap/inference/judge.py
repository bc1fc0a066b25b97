"""T5 as a pairwise preference model, the judge of two responses.

It reads `{prompt} [RESPONSE A] {y1} [RESPONSE B] {y2}` and answers with one
token, A or B (Tang et al. 2024, Appendix A; the layout is SLiC-HF's). It has no
parameters besides those of a T5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlhf_gap import errors, stores
from rlhf_gap.models import t5
from rlhf_gap.token_ids import EOS_ID, PAD_ID


class Words(NamedTuple):
  """The token ids that a vocabulary gives the preference model's words.

  Attributes:
    response_a: ids of "[RESPONSE A]".
    response_b: ids of "[RESPONSE B]".
    a: id of the answer "A".
    b: id of the answer "B".
  """

  response_a: tuple[int, ...]
  response_b: tuple[int, ...]
  a: int
  b: int


def words_of(vocabulary: stores.Vocabulary) -> Words:
  """Returns the ids that a vocabulary gives the preference model's words.

  Args:
    vocabulary: what the model was trained with.

  Returns:
    The ids.

  Raises:
    UserError: A or B is not a single piece of the vocabulary.
  """
  encode = stores.encoder(vocabulary)
  answers = {word: encode(word) for word in ("A", "B")}
  unknown = stores.unknown_id(vocabulary)
  for word, ids in answers.items():
    if len(ids) != 1 or ids[0] in (PAD_ID, EOS_ID, unknown):
      raise errors.UserError(
        f"the vocabulary {vocabulary.path or vocabulary.kind} encodes"
        f" {word!r} as {ids}; expected one known piece: a preference model"
        " answers with A or B"
      )
  return Words(
    response_a=tuple(encode("[RESPONSE A]")),
    response_b=tuple(encode("[RESPONSE B]")),
    a=answers["A"][0],
    b=answers["B"][0],
  )


def marker_tokens(words: Words) -> int:
  """Returns how many tokens of a judge's input are neither prompt nor response.

  These are both markers and EOS: 25 in bytes, which no vocabulary exceeds.

  Args:
    words: ids of the markers.
  """
  return len(words.response_a) + len(words.response_b) + 1


class Comparison(NamedTuple):
  """Verdicts on pairs (y1, y2), judged in both orders.

  Attributes:
    probability: r = (r12 + 1 - r21) / 2, that y1 is better; its value for
      (y2, y1) is exactly 1 - r, and for equal responses exactly 1/2.
    label: 1 where r > 1/2, 0 where r < 1/2, 1/2 for an exact tie.
    margin: r12 - r21 = 2 r - 1.
    position_bias: (r12 + r21) / 2 - 1/2, the preference for the first position.
    first_order: r12, the probability of A with y1 as A.
    second_order: r21, the probability of A with y2 as A.
  """

  probability: Float[Array, "batch"]
  label: Float[Array, "batch"]
  margin: Float[Array, "batch"]
  position_bias: Float[Array, "batch"]
  first_order: Float[Array, "batch"]
  second_order: Float[Array, "batch"]


def assemble(
  words: Words,
  prompt: Int[Array, "batch source"],
  first: Int[Array, "batch first_target"],
  second: Int[Array, "batch second_target"],
  *,
  length: int,
  keep: str = "end",
) -> Int[Array, "batch length"]:
  """Joins prompts and responses into the preference model's input.

  prompt: 5 6 7 1 0   first: 8 1 0   second: 9 9 1
  -> 5 6 7 [RESPONSE A] 8 [RESPONSE B] 9 9 1 0 ...

  EOS (1) and pads (0) of the parts are dropped and one EOS closes the whole. An
  overlong prompt is truncated; a response never is.

  Args:
    words: ids of the markers.
    prompt: prompt ids, padded with 0 on the right.
    first: response A, likewise.
    second: response B, likewise.
    length: the result's length in tokens; it must hold both whole responses,
      the markers and EOS.
    keep: which end of an overlong prompt to keep: "end" for dialogues, "start"
      for posts.

  Returns:
    Encoder inputs, padded with 0 on the right.

  Raises:
    ValueError: `length` cannot hold the responses, or `keep` is neither.
  """
  markers = marker_tokens(words)
  needed = first.shape[1] + second.shape[1] + markers
  if length < needed:
    raise ValueError(
      f"length={length} cannot hold two responses of {first.shape[1]} and"
      f" {second.shape[1]} tokens and {markers} of markers; expected at least"
      f" {needed}"
    )
  if keep not in ("start", "end"):
    raise ValueError(f"keep={keep!r} is neither 'start' nor 'end'")
  batch = prompt.shape[0]
  fixed = [
    jnp.broadcast_to(jnp.array(ids, jnp.int32), (batch, len(ids)))
    for ids in (words.response_a, words.response_b, (EOS_ID,))
  ]
  parts = [prompt, fixed[0], first, fixed[1], second, fixed[2]]
  counts = [_count(part) for part in (prompt, first, second)]
  room = length - markers - counts[1] - counts[2]
  kept = jnp.minimum(counts[0], room)
  skipped = counts[0] - kept if keep == "end" else jnp.zeros_like(kept)
  sizes = [
    kept,
    *(_full(batch, fixed[0]), counts[1]),
    *(_full(batch, fixed[1]), counts[2]),
    _full(batch, fixed[2]),
  ]
  return _join(parts, sizes, skipped, length)


def _count(tokens: Int[Array, "batch n"]) -> Int[Array, "batch"]:
  return (tokens > EOS_ID).sum(axis=1)


def _full(batch: int, part: Array) -> Int[Array, "batch"]:
  return jnp.full((batch,), part.shape[1])


def _join(
  parts: list[Array],
  sizes: list[Array],
  skipped: Int[Array, "batch"],
  length: int,
) -> Int[Array, "batch length"]:
  """Lays `sizes[i]` tokens of each part side by side, by one gather.

  Args:
    parts: token ids, [batch, n_i].
    sizes: how many tokens of each part to take.
    skipped: how many tokens of the first part to leave out at its start.
    length: the result's length.

  Returns:
    The tokens, then pads.
  """
  batch = parts[0].shape[0]
  source = jnp.concatenate(parts, axis=1)
  place = jnp.broadcast_to(jnp.arange(length), (batch, length))
  index = jnp.full((batch, length), -1)
  start = jnp.zeros((batch, 1), jnp.int32)
  base = skipped[:, None]
  offset = 0
  for part, size in zip(parts, sizes, strict=True):
    inside = (place >= start) & (place < start + size[:, None])
    index = jnp.where(inside, offset + base + place - start, index)
    start = start + size[:, None]
    offset += part.shape[1]
    base = jnp.zeros_like(base)
  taken = jnp.take_along_axis(source, jnp.maximum(index, 0), axis=1)
  return jnp.where(index >= 0, taken, 0).astype(jnp.int32)


def first_is_better_logit(
  config: t5.T5Config,
  params: t5.Params,
  words: Words,
  inputs: Int[Array, "batch length"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch"]:
  """Returns logit r, the logit of A minus the logit of B, in a decoder step.

  Args:
    config: the preference model's architecture.
    params: its parameters.
    words: ids of the answers.
    inputs: result of `assemble`.
    dropout_key: random key for dropout; None disables dropout.

  Returns:
    log(r / (1 - r)) with r the softmax over the two answers, in nats.
  """
  encoder_key = decoder_key = None
  if dropout_key is not None:
    encoder_key, decoder_key = jax.random.split(dropout_key)
  encoded = t5.encode(config, params, inputs, dropout_key=encoder_key)
  start = jnp.zeros((inputs.shape[0], 1, 1), jnp.int32)
  hidden = t5.decode(
    config, params, encoded, inputs, start, dropout_key=decoder_key
  )[:, 0, 0]
  logits = t5.head(config, params, hidden)
  return logits[:, words.a] - logits[:, words.b]


def compare(
  config: t5.T5Config,
  params: t5.Params,
  words: Words,
  prompt: Int[Array, "batch source"],
  first: Int[Array, "batch target"],
  second: Int[Array, "batch target"],
  *,
  length: int,
  keep: str = "end",
) -> Comparison:
  """Judges pairs of responses in both orders, in one batch.

  Args:
    config: the preference model's architecture.
    params: its parameters.
    words: ids of markers and answers.
    prompt: prompt ids, padded with 0 on the right.
    first: responses y1, likewise.
    second: responses y2, likewise.
    length: length of the model's input in tokens.
    keep: which end of an overlong prompt to keep (see `assemble`).

  Returns:
    Probabilities, labels and the position bias.
  """
  orders = [(first, second), (second, first)]
  inputs = jnp.concatenate(
    [
      assemble(words, prompt, *order, length=length, keep=keep)
      for order in orders
    ]
  )
  logit = first_is_better_logit(config, params, words, inputs)
  r12, r21 = jnp.split(jax.nn.sigmoid(logit), 2)
  # Rows of a matrix product may be rounded differently, so ties of equal
  # responses are enforced.
  equal = _same(first, second)
  margin = jnp.where(equal, 0.0, r12 - r21)
  return Comparison(
    probability=0.5 * (1 + margin),
    label=0.5 * (1 + jnp.sign(margin)),
    margin=margin,
    position_bias=0.5 * (r12 + r21 - 1),
    first_order=r12,
    second_order=r21,
  )


def _same(
  first: Int[Array, "batch target"], second: Int[Array, "batch target"]
) -> Array:
  # Compared as the model reads them, without EOS and padding.
  shown = [
    jnp.where(tokens > EOS_ID, tokens, PAD_ID) for tokens in (first, second)
  ]
  return (shown[0] == shown[1]).all(axis=1)
