"""Converts between Hugging Face's `config.json` of a T5 and `T5Config`.

Every field that changes the model's output is either honoured or refused by
name. The rules are those of transformers 5 (`T5Config`, `MT5Config`). A note
says where transformers 4 would compute something else from the same file.
"""

import dataclasses
import os
import re
from typing import Annotated, Any

import msgspec

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.models import t5

CONFIG = "config.json"
GENERATION = "generation_config.json"
MODEL_TYPES = ("t5", "mt5")

# The ids that this project assumes. Decoding starts from padding.
SPECIAL_IDS = {
  "decoder_start_token_id": 0,
  "eos_token_id": 1,
  "pad_token_id": 0,
}

_UNSUPPORTED = {
  "umt5": (
    "umT5 has a relative-position table in every layer, T5 only one per stack"
  ),
  "longt5": "LongT5's encoder attends locally",
  "switch_transformers": "Switch Transformers are mixtures of experts",
  "pix2struct": "Pix2Struct reads images",
}

# transformers' activations -> ours. The first two are the tanh approximation,
# as in T5X. transformers' "gelu" is exact and has no counterpart.
_ACTIVATIONS = {
  "gelu_new": "gelu",
  "gelu_pytorch_tanh": "gelu",
  "relu": "relu",
  "silu": "silu",
  "swish": "silu",
}

_Size = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
_Layers = Annotated[int, msgspec.Meta(ge=1, lt=1000)]
_Ids = int | list[int] | None


class SpecialIds(msgspec.Struct):
  """The special ids of `config.json` or `generation_config.json`."""

  decoder_start_token_id: int | None = None
  eos_token_id: _Ids = None
  pad_token_id: int | None = None


class _Kind(msgspec.Struct):
  model_type: str | None = None


class HfConfig(SpecialIds, kw_only=True):
  """The fields of `config.json` that change a T5's output.

  Attributes have transformers' names. A missing field is None or UNSET.
  """

  model_type: str = "t5"
  vocab_size: _Size
  d_model: _Size
  d_kv: _Size
  d_ff: _Size
  num_layers: _Layers
  num_heads: _Size
  num_decoder_layers: _Layers | None = None
  relative_attention_num_buckets: _Size = 32
  relative_attention_max_distance: _Size = 128
  dropout_rate: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
  layer_norm_epsilon: float = 1e-6
  feed_forward_proj: str | None = None
  dense_act_fn: str | None = None
  is_gated_act: bool | None = None
  tie_word_embeddings: bool | None | msgspec.UnsetType = msgspec.UNSET
  scale_decoder_outputs: bool | msgspec.UnsetType = msgspec.UNSET
  transformers_version: str | None = None
  # Not supported: each of these changes the model's output if set.
  tie_encoder_decoder: Any = None
  pruned_heads: Any = None
  per_layer_config: Any = None
  quantization_config: Any = None

  @property
  def feed_forward(self) -> str:
    """Type of the feed-forward layer; its default depends on `model_type`."""
    default = "gated-gelu" if self.model_type == "mt5" else "relu"
    return self.feed_forward_proj or default

  @property
  def scales(self) -> bool:
    """Whether the head's input is divided by sqrt(d_model)."""
    if self.model_type == "mt5":
      return False
    if self.scale_decoder_outputs is not msgspec.UNSET:
      return self.scale_decoder_outputs
    return self.tie_word_embeddings is not False


def read(path: str) -> HfConfig | None:
  """Reads `config.json` and checks it and `generation_config.json`.

  Args:
    path: the folder.

  Returns:
    The configuration; None if there is no `config.json`.

  Raises:
    UserError: a file is damaged, not a T5's, or has an unsupported setting.
  """
  _check_special_ids(path, GENERATION, SpecialIds)
  place = os.path.join(path, CONFIG)
  if not os.path.lexists(place):
    return None
  content = local_files.read_bytes(place)
  _check_kind(local_files.decode_json(content, _Kind, place), path)
  config = local_files.decode_json(content, HfConfig, place)
  _check_special_ids(path, CONFIG, SpecialIds)
  if abs(config.layer_norm_epsilon - 1e-6) > 1e-12:
    raise errors.UserError(
      f"{path}: {CONFIG} says layer_norm_epsilon={config.layer_norm_epsilon};"
      " expected T5's 1e-6"
    )
  for name in (
    "tie_encoder_decoder",
    "pruned_heads",
    "per_layer_config",
    "quantization_config",
  ):
    if getattr(config, name):
      raise errors.UserError(
        f"{path}: {CONFIG} sets {name}, which changes the model's output and is"
        " not supported"
      )
  _activations(config, path)
  return config


def _check_kind(kind: _Kind, path: str) -> None:
  if kind.model_type in MODEL_TYPES:
    return
  reason = _UNSUPPORTED.get(kind.model_type or "")
  raise errors.UserError(
    f"{path}: {CONFIG} says model_type={kind.model_type!r}; expected"
    f" {' or '.join(MODEL_TYPES)}" + (f": {reason}" if reason else "")
  )


def _check_special_ids(path: str, name: str, schema: type[SpecialIds]) -> None:
  place = os.path.join(path, name)
  if not os.path.lexists(place):
    return
  ids = local_files.read_json(place, schema)
  for field, expected in SPECIAL_IDS.items():
    value = getattr(ids, field)
    if value not in (None, expected, [expected]):
      raise errors.UserError(
        f"{path}: {name} says {field}={value}; expected {field}={expected}, the"
        " only value supported: the model would see other tokens than in its"
        " training"
      )


def _activations(config: HfConfig, path: str) -> tuple[str, ...]:
  gate, _, activation = config.feed_forward.rpartition("-")
  if config.feed_forward == "gated-gelu":
    activation = "gelu_new"
  # transformers obeys these two if config.json has them.
  explicit = config.dense_act_fn or activation
  explicit_gate = config.is_gated_act
  is_gated = gate == "gated"
  if gate not in ("", "gated") or not {activation, explicit} <= set(
    _ACTIVATIONS
  ):
    shown = config.feed_forward
    if activation in _ACTIVATIONS:
      shown += f" and dense_act_fn={config.dense_act_fn}"
    raise errors.UserError(
      f"{path}: {CONFIG} says feed_forward_proj={shown}; expected relu,"
      " gated-gelu, gated-silu or another of the activations"
      f" {', '.join(_ACTIVATIONS)}"
    )
  name = _ACTIVATIONS[activation]
  if _ACTIVATIONS[explicit] != name or explicit_gate not in (None, is_gated):
    is_explicitly_gated = is_gated if explicit_gate is None else explicit_gate
    gated = "gated-" if is_explicitly_gated else ""
    raise errors.UserError(
      f"{path}: {CONFIG} says feed_forward_proj={config.feed_forward}, but"
      f" dense_act_fn={config.dense_act_fn} and"
      f" is_gated_act={config.is_gated_act}, which mean"
      f" {gated}{_ACTIVATIONS[explicit]}; correct the wrong one"
    )
  return (name, "linear") if is_gated else (name,)


def architecture(config: HfConfig, path: str) -> t5.T5Config:
  """Returns the architecture that a `config.json` describes.

  Args:
    config: its content.
    path: the folder, for messages.

  Returns:
    The architecture, except `logits_via_embedding`: whether the head is the
    embedding also depends on the file's tensors (see `hf_names.to_t5x`).
  """
  return t5.T5Config(
    vocab_size=config.vocab_size,
    emb_dim=config.d_model,
    num_heads=config.num_heads,
    head_dim=config.d_kv,
    mlp_dim=config.d_ff,
    num_encoder_layers=config.num_layers,
    num_decoder_layers=config.num_decoder_layers or config.num_layers,
    mlp_activations=_activations(config, path),
    dropout_rate=config.dropout_rate,
    num_buckets=config.relative_attention_num_buckets,
    max_distance=config.relative_attention_max_distance,
  )


def ambiguities(
  config: HfConfig, *, has_head: bool, head_is_copy: bool
) -> tuple[str, ...]:
  """Lists differences between transformers 4 and 5 in reading a file.

  Args:
    config: the content of `config.json`.
    has_head: whether the file holds `lm_head.weight`.
    head_is_copy: whether `lm_head.weight` equals the embedding.

  Returns:
    Notes; none if the two compute the same.
  """
  if config.scale_decoder_outputs is not msgspec.UNSET:
    # Only transformers 5 writes this field; 4 has no such setting.
    if config.model_type == "mt5" and config.scale_decoder_outputs:
      return ("scale_decoder_outputs=true is ignored, as in transformers",)
    return ()
  tie = config.tie_word_embeddings
  tied_in_4 = tie is True or (tie is not False and config.model_type == "t5")
  if not tied_in_4:
    if has_head:
      return ()
    return (
      "config.json unties the head but the file holds no lm_head.weight:"
      " read as transformers 5 does, with the embedding as head, not scaled;"
      " transformers 4 initializes such a head at random (is the file"
      " complete?)",
    )
  own = has_head and not head_is_copy
  if not own and config.scales:
    return ()
  version = config.transformers_version or ""
  if config.model_type == "mt5" and re.match(r"[5-9]\.", version):
    return ()  # transformers 5 writes every mT5 as tied, and computes it so
  head = "lm_head.weight" if own else "the embedding"
  scaled = "scaled by d_model**-0.5" if config.scales else "not scaled"
  return (
    f"config.json ties the head and has no scale_decoder_outputs: read as"
    f" transformers 5 does, with {head} as head, {scaled}; transformers 4"
    " computes with the embedding, scaled",
  )


def to_json(config: t5.T5Config, dtype: str) -> dict[str, Any]:
  """Returns a `config.json` from which transformers computes the same model.

  Args:
    config: the architecture.
    dtype: type of the stored parameters, "float32" or "bfloat16".

  Returns:
    The fields, for transformers 4 and 5.

  Raises:
    UserError: transformers has no such feed-forward layer.
  """
  gated = len(config.mlp_activations) == 2
  activation = {"gelu": "gelu_new", "relu": "relu", "silu": "silu"}.get(
    config.mlp_activations[0] if config.mlp_activations else ""
  )
  if activation is None or config.mlp_activations[1:] not in ((), ("linear",)):
    raise errors.UserError(
      f"mlp_activations={config.mlp_activations} has no counterpart in"
      " transformers; expected gelu, relu or silu, alone or gating linear"
    )
  # "gated-gelu" is the one name for which transformers uses "gelu_new".
  gate = "gelu" if activation == "gelu_new" else activation
  return {
    "architectures": ["T5ForConditionalGeneration"],
    "d_ff": config.mlp_dim,
    "d_kv": config.head_dim,
    "d_model": config.emb_dim,
    "dense_act_fn": activation,
    "dropout_rate": config.dropout_rate,
    "dtype": dtype,
    "feed_forward_proj": f"gated-{gate}" if gated else activation,
    "is_encoder_decoder": True,
    "is_gated_act": gated,
    "layer_norm_epsilon": 1e-6,
    "model_type": "t5",
    "num_decoder_layers": config.num_decoder_layers,
    "num_heads": config.num_heads,
    "num_layers": config.num_encoder_layers,
    "relative_attention_max_distance": config.max_distance,
    "relative_attention_num_buckets": config.num_buckets,
    # A separate head is never scaled. transformers 5 reads the first field,
    # 4 the second.
    "scale_decoder_outputs": config.logits_via_embedding,
    "tie_word_embeddings": config.logits_via_embedding,
    "use_cache": True,
    "vocab_size": config.vocab_size,
    **SPECIAL_IDS,
  }


def reconcile(
  config: HfConfig, inferred: t5.T5Config, path: str
) -> t5.T5Config:
  """Combines `config.json` with the architecture inferred from the arrays.

  Args:
    config: the content of `config.json`.
    inferred: the architecture inferred from names and shapes.
    path: the folder, for messages.

  Returns:
    The architecture.

  Raises:
    UserError: the two contradict each other.
  """
  described = architecture(config, path)
  for field, hf_field in _CHECKED_FIELDS.items():
    written, actual = getattr(described, field), getattr(inferred, field)
    if written != actual:
      raise errors.UserError(
        f"{path}: {CONFIG} says {hf_field}={written}, but the arrays have"
        f" {actual}; the two belong to different models"
      )
  kernels = inferred.mlp_activations
  if len(described.mlp_activations) != len(kernels):
    kind = {1: "relu", 2: "gated-gelu"}
    subject = f"says feed_forward_proj={config.feed_forward}"
    if config.feed_forward_proj is None:
      subject = (
        f"has no feed_forward_proj (the default for {config.model_type} is"
        f" {config.feed_forward})"
      )
    raise errors.UserError(
      f"{path}: {CONFIG} {subject}, but the arrays have {len(kernels)} input"
      f" kernels per layer, as in {kind[len(kernels)]}"
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
