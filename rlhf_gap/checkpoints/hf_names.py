"""Hugging Face's names and configuration of a T5, and T5X's for the same."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlhf_gap import errors
from rlhf_gap.checkpoints import stored
from rlhf_gap.models import t5

MODEL_TYPES = ("t5", "mt5")

GENERATION_CONFIG = {
  "decoder_start_token_id": 0,
  "eos_token_id": 1,
  "pad_token_id": 0,
}

# Kernels are [inputs, outputs] in T5X and the transpose in PyTorch; the
# relative-position table is [heads, buckets] in T5X and the transpose as well.
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
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Old files hold a table for cross-attention that no version of the model reads.
_UNUSED = (
  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)
_BLOCK = re.compile(r"(encoder|decoder)\.block\.(\d+)\.layer\.(\d)\.(.+)")

# feed_forward_proj -> mlp_activations. transformers computes "gated-gelu" with
# the tanh approximation, as T5X computes "gelu".
_FEED_FORWARD = {
  "relu": ("relu",),
  "gated-gelu": ("gelu", "linear"),
  "gated-silu": ("silu", "linear"),
}


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
  raise ValueError(f"{name} is no parameter of T5")


def _is_transposed(t5x_name: str) -> bool:
  return t5x_name.endswith(("/kernel", "/rel_embedding"))


def to_t5x(
  tensors: Mapping[str, stored.StoredArray], path: str
) -> dict[str, stored.StoredArray]:
  """Renames and transposes Hugging Face's tensors.

  Args:
    tensors: the file's tensors by name.
    path: the folder, for messages.

  Returns:
    T5X's parameters by name, not yet read. A head equal to the embedding is
    left out: the model is tied.

  Raises:
    UserError: a tensor is no part of a T5, or a copy of the embedding differs.
  """
  arrays = {}
  for name, tensor in sorted(tensors.items()):
    if name in _UNUSED:
      continue
    if name in _COPIES:
      _check_copy(name, tensors, path)
      continue
    ours = _t5x_name(name)
    if ours is None:
      raise errors.UserError(
        f"{path}: {name} is no parameter of T5; expected"
        f" T5ForConditionalGeneration ({' or '.join(MODEL_TYPES)})"
      )
    arrays[ours] = tensor.transposed() if _is_transposed(ours) else tensor
  if _is_copy("lm_head.weight", tensors):
    del arrays["decoder/logits_dense/kernel"]
  return arrays


def _is_copy(name: str, tensors: Mapping[str, stored.StoredArray]) -> bool:
  shared, other = tensors.get("shared.weight"), tensors.get(name)
  if shared is None or other is None or shared.shape != other.shape:
    return False
  rows = (slice(0, 8), slice(None))  # a cheap look before the whole
  return np.array_equal(shared.read(rows), other.read(rows)) and (
    np.array_equal(shared.read_all(), other.read_all())
  )


def _check_copy(
  name: str, tensors: Mapping[str, stored.StoredArray], path: str
) -> None:
  if not _is_copy(name, tensors):
    raise errors.UserError(
      f"{path}: {name} differs from shared.weight; expected one embedding"
      " for encoder, decoder and prompt, as in every T5"
    )


def from_t5x(
  arrays: Mapping[str, stored.StoredArray],
) -> dict[str, stored.StoredArray]:
  """Renames and transposes T5X's parameters; the inverse of `to_t5x`."""
  return {
    _hf_name(name): array.transposed() if _is_transposed(name) else array
    for name, array in arrays.items()
  }


def config_from_json(value: Mapping[str, Any], path: str) -> t5.T5Config:
  """Reads the architecture that a `config.json` describes.

  Args:
    value: its content.
    path: the folder, for messages.

  Returns:
    The architecture, with transformers' defaults for what is left out.

  Raises:
    UserError: it is no T5, or one that computes something else.
  """
  if value.get("model_type") not in MODEL_TYPES:
    raise errors.UserError(
      f"{path}: config.json says model_type={value.get('model_type')!r};"
      f" expected {' or '.join(MODEL_TYPES)}"
    )
  epsilon = value.get("layer_norm_epsilon", 1e-6)
  if epsilon != 1e-6:
    raise errors.UserError(
      f"{path}: config.json says layer_norm_epsilon={epsilon}; T5 has 1e-6"
    )
  feed_forward = value.get("feed_forward_proj", "relu")
  if feed_forward not in _FEED_FORWARD:
    raise errors.UserError(
      f"{path}: config.json says feed_forward_proj={feed_forward!r}; expected"
      f" one of {', '.join(_FEED_FORWARD)}"
    )
  try:
    return t5.T5Config(
      vocab_size=value["vocab_size"],
      emb_dim=value["d_model"],
      num_heads=value["num_heads"],
      head_dim=value["d_kv"],
      mlp_dim=value["d_ff"],
      num_encoder_layers=value["num_layers"],
      num_decoder_layers=value.get("num_decoder_layers") or value["num_layers"],
      mlp_activations=_FEED_FORWARD[feed_forward],
      logits_via_embedding=value.get("tie_word_embeddings", True),
      dropout_rate=value.get("dropout_rate", 0.1),
      num_buckets=value.get("relative_attention_num_buckets", 32),
      max_distance=value.get("relative_attention_max_distance", 128),
    )
  except KeyError as error:
    raise errors.UserError(
      f"{path}: config.json has no {error}; it is damaged"
    ) from error


def config_to_json(config: t5.T5Config, dtype: str) -> dict[str, Any]:
  """Returns the `config.json` of a model.

  Args:
    config: the architecture.
    dtype: type of the stored parameters, "float32" or "bfloat16".

  Returns:
    What transformers needs to build the same model.

  Raises:
    UserError: transformers has no such feed-forward layer.
  """
  names = {ours: theirs for theirs, ours in _FEED_FORWARD.items()}
  if config.mlp_activations not in names:
    raise errors.UserError(
      f"mlp_activations={config.mlp_activations} has no counterpart in"
      f" transformers; expected one of {list(names)}"
    )
  feed_forward = names[config.mlp_activations]
  gated = feed_forward.startswith("gated-")
  activation = feed_forward.removeprefix("gated-")
  return {
    "architectures": ["T5ForConditionalGeneration"],
    "d_ff": config.mlp_dim,
    "d_kv": config.head_dim,
    "d_model": config.emb_dim,
    "decoder_start_token_id": 0,
    "dense_act_fn": "gelu_new" if activation == "gelu" else activation,
    "dropout_rate": config.dropout_rate,
    "dtype": dtype,
    "eos_token_id": 1,
    "feed_forward_proj": feed_forward,
    "is_encoder_decoder": True,
    "is_gated_act": gated,
    "layer_norm_epsilon": 1e-6,
    "model_type": "t5",
    "num_decoder_layers": config.num_decoder_layers,
    "num_heads": config.num_heads,
    "num_layers": config.num_encoder_layers,
    "pad_token_id": 0,
    "relative_attention_max_distance": config.max_distance,
    "relative_attention_num_buckets": config.num_buckets,
    # transformers scales the output of a tied head, and only of that.
    "scale_decoder_outputs": config.logits_via_embedding,
    "tie_word_embeddings": config.logits_via_embedding,
    "use_cache": True,
    "vocab_size": config.vocab_size,
  }


def reconcile(
  described: t5.T5Config, inferred: t5.T5Config, path: str
) -> t5.T5Config:
  """Joins what `config.json` says with what the arrays show.

  Args:
    described: the architecture in `config.json`.
    inferred: the architecture that names and shapes tell.
    path: the folder, for messages.

  Returns:
    `described`; whether the head is tied is what the file holds.

  Raises:
    UserError: the two differ.
  """
  for field, hf_field in _CHECKED_FIELDS.items():
    size, rows = getattr(described, field), getattr(inferred, field)
    if size != rows:
      raise errors.UserError(
        f"{path}: config.json says {hf_field}={size}, but the arrays have"
        f" {rows}; the two belong to different models"
      )
  said, found = described.mlp_activations, inferred.mlp_activations
  if len(said) != len(found):
    kind = {1: "relu", 2: "gated-gelu"}
    raise errors.UserError(
      f"{path}: config.json says feed_forward_proj={kind[len(said)]}, but the"
      f" arrays have {len(found)} input kernels a layer, as {kind[len(found)]}"
    )
  if inferred.logits_via_embedding and not described.logits_via_embedding:
    raise errors.UserError(
      f"{path}: config.json says tie_word_embeddings=false, but the file"
      " holds no lm_head.weight; the head is missing"
    )
  return dataclasses.replace(
    described, logits_via_embedding=inferred.logits_via_embedding
  )


_CHECKED_FIELDS = {
  "vocab_size": "vocab_size",
  "emb_dim": "d_model",
  "num_heads": "num_heads",
  "head_dim": "d_kv",
  "mlp_dim": "d_ff",
  "num_encoder_layers": "num_layers",
  "num_decoder_layers": "num_decoder_layers",
  "num_buckets": "relative_attention_num_buckets",
}
