"""Translates parameter names between Hugging Face and T5X."""

import re
from collections.abc import Mapping

import numpy as np

from rlhf_gap import errors
from rlhf_gap.checkpoints import hf_config, stored

# T5X's kernels are [inputs, outputs] and its relative-position tables [heads,
# buckets]. PyTorch has the transposes.
_SHARED = {
  "shared.weight": "token_embedder/embedding",
  "encoder.final_layer_norm.weight": "encoder/encoder_norm/scale",
  "decoder.final_layer_norm.weight": "decoder/decoder_norm/scale",
  "lm_head.weight": "decoder/logits_dense/kernel",
  "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
    "encoder/relpos_bias/rel_embedding"
  ),
  "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
    "decoder/relpos_bias/rel_embedding"
  ),
}
_PROJECTIONS = {"q": "query", "k": "key", "v": "value", "o": "out"}
_SUBLAYERS = {
  "encoder": {
    0: ("SelfAttention", "attention", "pre_attention_layer_norm"),
    1: ("DenseReluDense", "mlp", "pre_mlp_layer_norm"),
  },
  "decoder": {
    0: (
      "SelfAttention",
      "self_attention",
      "pre_self_attention_layer_norm",
    ),
    1: (
      "EncDecAttention",
      "encoder_decoder_attention",
      "pre_cross_attention_layer_norm",
    ),
    2: ("DenseReluDense", "mlp", "pre_mlp_layer_norm"),
  },
}
_HEAD = "lm_head.weight"
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# A file may hold the embedding under any of these names; first match wins.
_EMBEDDINGS = ("shared.weight", *_COPIES, _HEAD)
# In old files; no version of transformers reads it.
_UNUSED = (
  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)
_BLOCK = re.compile(
  r"(encoder|decoder)\.block\.(0|[1-9][0-9]{0,2})\.layer\.([0-9])\.(.+)"
)


def _t5x_name(name: str) -> str | None:
  if name in _SHARED:
    return _SHARED[name]
  match = _BLOCK.fullmatch(name)
  if not match:
    return None
  stack, block, sublayer, rest = match.groups()
  if int(sublayer) not in _SUBLAYERS[stack]:
    return None
  theirs, ours, norm = _SUBLAYERS[stack][int(sublayer)]
  prefix = f"{stack}/layers_{block}"
  if rest == "layer_norm.weight":
    return f"{prefix}/{norm}/scale"
  module, _, last = rest.partition(".")
  part = last.removesuffix(".weight")
  if module != theirs or part == last:
    return None
  return f"{prefix}/{ours}/{_PROJECTIONS.get(part, part)}/kernel"


def _hf_name(name: str) -> str:
  inverse = {ours: theirs for theirs, ours in _SHARED.items()}
  if name in inverse:
    return inverse[name]
  stack, layer, module, *rest = name.split("/")
  block = layer.removeprefix("layers_")
  parts = {ours: theirs for theirs, ours in _PROJECTIONS.items()}
  for sublayer, (theirs, ours, norm) in _SUBLAYERS[stack].items():
    prefix = f"{stack}.block.{block}.layer.{sublayer}"
    if module == norm:
      return f"{prefix}.layer_norm.weight"
    if module == ours:
      return f"{prefix}.{theirs}.{parts.get(rest[0], rest[0])}.weight"
  raise ValueError(f"{name} is not a parameter of T5")


def _is_transposed(t5x_name: str) -> bool:
  return t5x_name.endswith(("/kernel", "/rel_embedding"))


def to_t5x(
  tensors: Mapping[str, stored.StoredArray],
  path: str,
  config: hf_config.HfConfig | None,
) -> tuple[dict[str, stored.StoredArray], tuple[str, ...]]:
  """Renames and transposes Hugging Face's tensors.

  T5X has two kinds of output head: the embedding, scaled by emb_dim**-0.5, and
  a separate kernel, not scaled. transformers has two more, which are converted:
  an unscaled embedding is copied into a separate kernel, and the scale of a
  scaled kernel is multiplied into it.

  Args:
    tensors: the file's tensors by name.
    path: the folder, for messages.
    config: the content of `config.json`; None if there is none.

  Returns:
    T5X's parameters by name, not yet read, and notes on how the head was read.

  Raises:
    UserError: a tensor is not a T5's, or a copy of the embedding differs.
  """
  embedding = next((tensors[n] for n in _EMBEDDINGS if n in tensors), None)
  arrays = {}
  for name, tensor in sorted(tensors.items()):
    if name in _UNUSED or name in _EMBEDDINGS:
      continue
    ours = _t5x_name(name)
    if ours is None:
      raise errors.UserError(
        f"{path}: {name[:120]} is not a parameter of T5{_hint(name)}; expected"
        " T5ForConditionalGeneration (t5 or mt5)"
      )
    arrays[ours] = tensor.transposed() if _is_transposed(ours) else tensor
  if embedding is None:
    raise errors.UserError(
      f"{path}: holds no shared.weight, the embedding; the file is incomplete"
      " or not a T5"
    )
  for name in _COPIES:
    if name in tensors and not _is_equal(tensors[name], embedding):
      raise errors.UserError(
        f"{path}: {name} differs from shared.weight; expected one embedding"
        " shared by encoder and decoder, as in every T5"
      )
  arrays[_SHARED["shared.weight"]] = embedding
  head, notes = _head(embedding, tensors.get(_HEAD), config)
  if head is not None:
    arrays[_SHARED[_HEAD]] = head.transposed()
  return arrays, notes


def _head(
  embedding: stored.StoredArray,
  own: stored.StoredArray | None,
  config: hf_config.HfConfig | None,
) -> tuple[stored.StoredArray | None, tuple[str, ...]]:
  """Returns the unscaled head, None for the scaled embedding, and notes."""
  is_copy = own is not None and _is_equal(own, embedding)
  if config is None:
    return (None if is_copy else own), ()
  notes = hf_config.ambiguities(
    config, has_head=own is not None, head_is_copy=is_copy
  )
  if config.scales:
    if own is None or is_copy:
      return None, notes
    return _scaled(own), (*notes, _SCALED_NOTE)
  if own is None:
    return embedding, (*notes, _COPY_NOTE)
  return own, notes


_SCALED_NOTE = (
  "transformers scales the input of this separate head by d_model**-0.5"
  " (scale_decoder_outputs): the scale is multiplied into the kernel, in"
  " float32"
)
_COPY_NOTE = (
  "the head is the unscaled embedding (scale_decoder_outputs=false or mT5),"
  " which T5X's format cannot represent: it becomes a separate head, a copy of"
  " the embedding, and training updates the two independently"
)


def _scaled(kernel: stored.StoredArray) -> stored.StoredArray:
  """Returns a separate head, [vocabulary, d_model], times d_model**-0.5."""
  wide = np.dtype(np.float64)
  dtype = wide if kernel.dtype == wide else np.dtype(np.float32)
  scale = float(kernel.shape[-1]) ** -0.5

  def read(index: stored.Index) -> np.ndarray:
    return (kernel.read(index).astype(wide) * scale).astype(dtype)

  return stored.StoredArray(kernel.shape, dtype, read)


def _is_equal(left: stored.StoredArray, right: stored.StoredArray) -> bool:
  if left is right:
    return True
  if left.shape != right.shape or len(left.shape) != 2:
    return False
  rows = (slice(0, 8), slice(None))  # cheap, and decides most cases
  return np.array_equal(left.read(rows), right.read(rows)) and (
    np.array_equal(left.read_all(), right.read_all())
  )


def _hint(name: str) -> str:
  if "relative_attention_bias" in name:
    return " (umT5 has a relative-position table in every layer)"
  if "classification_head" in name or name.startswith("transformer."):
    return " (it belongs to a classifier)"
  if "local" in name.lower() or "global" in name.lower():
    return " (it belongs to LongT5)"
  return ""


def from_t5x(
  arrays: Mapping[str, stored.StoredArray],
) -> dict[str, stored.StoredArray]:
  """Renames and transposes T5X's parameters; the inverse of `to_t5x`."""
  return {
    _hf_name(name): array.transposed() if _is_transposed(name) else array
    for name, array in arrays.items()
  }
