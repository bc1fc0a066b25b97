"""The architecture of a T5."""

import dataclasses

from rlhf_gap import checks
from rlhf_gap.models import layers

DTYPES = ("float32", "bfloat16")
REMAT_POLICIES = ("none", "minimal", "full")

_SIZES = (
  "vocab_size",
  "emb_dim",
  "num_heads",
  "head_dim",
  "mlp_dim",
  "num_encoder_layers",
  "num_decoder_layers",
  "num_buckets",
  "max_distance",
)


@dataclasses.dataclass(frozen=True)
class T5Config:
  """A T5 architecture, with the field names of T5X's `network.T5Config`.

  Attributes:
    vocab_size: rows of the embedding, including extra ids and padding rows.
    emb_dim: size of the residual stream.
    num_heads: attention heads per layer.
    head_dim: size of each head.
    mlp_dim: hidden size of the feed-forward layers.
    num_encoder_layers: number of encoder layers.
    num_decoder_layers: number of decoder layers.
    mlp_activations: ("gelu", "linear") for T5 1.1, ("relu",) for T5 1.0.
    logits_via_embedding: whether the output head is tied to the embedding, with
      logits divided by sqrt(emb_dim) (T5 1.0); False for a separate head (T5
      1.1).
    dropout_rate: rate of every dropout layer; active only with a dropout key.
    dtype: dtype of the activations, "float32" or "bfloat16". Parameters keep
      their own dtype; logits and softmax are float32.
    remat_policy: what the backward pass recomputes: "none", "minimal"
      (everything but products with kernels) or "full" (everything but each
      layer's input).
    num_buckets: distance buckets of the relative-position bias.
    max_distance: distance in tokens from which the last bucket is used.

  Raises:
    UserError: a size that is not a positive integer.
    ValueError: any other invalid value.
  """

  vocab_size: int
  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_encoder_layers: int
  num_decoder_layers: int
  mlp_activations: tuple[str, ...] = ("gelu", "linear")
  logits_via_embedding: bool = False
  dropout_rate: float = 0.0
  dtype: str = "float32"
  remat_policy: str = "none"
  num_buckets: int = 32
  max_distance: int = 128

  def __post_init__(self) -> None:
    checks.required(**{name: getattr(self, name) for name in _SIZES})
    checks.counts(**{name: getattr(self, name) for name in _SIZES})
    unknown = set(self.mlp_activations) - set(layers.ACTIVATION_NAMES)
    if unknown:
      raise ValueError(
        f"mlp_activations={self.mlp_activations}: unknown {sorted(unknown)};"
        f" expected some of {', '.join(layers.ACTIVATION_NAMES)}"
      )
    if self.dtype not in DTYPES:
      raise ValueError(
        f"dtype={self.dtype!r}; expected one of {', '.join(DTYPES)}"
      )
    if self.remat_policy not in REMAT_POLICIES:
      raise ValueError(
        f"remat_policy={self.remat_policy!r}; expected one of"
        f" {', '.join(REMAT_POLICIES)}"
      )
    if not 0.0 <= self.dropout_rate < 1.0:
      raise ValueError(f"dropout_rate={self.dropout_rate} is not in [0, 1)")
