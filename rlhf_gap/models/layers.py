"""T5's basic layers, with T5X's parameter names, shapes and logical axes.

Parameters are float32 and carry logical axis names ("embed", "joined_kv", ...);
activations are `dtype`; layer norms, attention scores and softmax are float32.
Dropout is active only if the caller passes a "dropout" key.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlhf_gap.ops import linear

_kernel_init = nn.initializers.variance_scaling(
  1.0, "fan_in", "truncated_normal"
)

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "gelu": functools.partial(nn.gelu, approximate=True),
  "relu": nn.relu,
  "silu": nn.silu,
  "linear": lambda x: x,
}
ACTIVATION_NAMES = tuple(_ACTIVATIONS)


def declare(
  module: nn.Module,
  name: str,
  init: Callable[..., Any],
  axes: tuple[str, ...],
  shape: tuple[int, ...],
) -> Array:
  """Declares a float32 parameter with logical axis names."""
  boxed = nn.with_logical_partitioning(init, axes)
  parameter: Any = module.param(name, boxed, shape, jnp.float32)
  return parameter  # Flax removes the box of axis names


class Dropout(nn.Module):
  """Dropout that shares one mask across the positions of a sequence, as in T5.

  Attributes:
    rate: fraction of entries set to zero, in [0, 1).
    broadcast_dims: axes that share one mask; the length axis by default.
  """

  rate: float
  broadcast_dims: tuple[int, ...] = (-2,)

  @nn.compact
  def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns `x`, with dropout if the caller passed a "dropout" key."""
    layer = nn.Dropout(self.rate, broadcast_dims=self.broadcast_dims)
    return layer(x, deterministic=not self.has_rng("dropout"))


class Dense(nn.Module):
  """A linear map without bias: x @ kernel.

  Attributes:
    features: size of the output's last axis.
    axes: logical names of the kernel's two axes.
    dtype: dtype of the product.
    kernel_init: initializer of the kernel [inputs, features].
  """

  features: int
  axes: tuple[str, str]
  dtype: jnp.dtype
  kernel_init: Callable[..., Any] = _kernel_init

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch inputs"]
  ) -> Float[Array, "*batch outputs"]:
    """Returns x @ kernel in `dtype`."""
    kernel = declare(
      self,
      "kernel",
      self.kernel_init,
      self.axes,
      (x.shape[-1], self.features),
    )
    return linear.project(x.astype(self.dtype), kernel.astype(self.dtype))


class LayerNorm(nn.Module):
  """T5's layer norm: x / sqrt(mean(x^2) + epsilon) * scale; no mean, no bias.

  Attributes:
    dtype: dtype of the result; the statistics are float32.
    epsilon: added to the mean square.
  """

  dtype: jnp.dtype
  epsilon: float = 1e-6

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch embed"]
  ) -> Float[Array, "*batch embed"]:
    """Returns the normalised activations."""
    scale = declare(
      self, "scale", nn.initializers.ones, ("embed",), (x.shape[-1],)
    )
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    normed = wide * jax.lax.rsqrt(mean_square + self.epsilon)
    shape = (1,) * (x.ndim - 1) + scale.shape
    return normed.astype(self.dtype) * scale.astype(self.dtype).reshape(shape)


class Embed(nn.Module):
  """The token embedding, shared by encoder, decoder and (T5 1.0) the head.

  Attributes:
    vocab_size: number of rows.
    emb_dim: number of columns.
    dtype: dtype of the embedded tokens.
  """

  vocab_size: int
  emb_dim: int
  dtype: jnp.dtype

  def setup(self) -> None:
    """Declares the table."""
    self.embedding = declare(
      self,
      "embedding",
      nn.initializers.normal(stddev=1.0),
      ("vocab", "embed"),
      (self.vocab_size, self.emb_dim),
    )

  def __call__(
    self, tokens: Int[Array, "*batch length"]
  ) -> Float[Array, "*batch length embed"]:
    """Returns the embeddings of token ids."""
    # Gather the table over the fsdp axis first. The tokens are sharded over
    # that axis too, and looking them up in a table split along it would make
    # XLA materialise the whole batch's activations on every device.
    table = nn.with_logical_constraint(self.embedding, ("vocab", None))
    # Stores hold only valid ids; "clip" merely saves the masking that an
    # out-of-bounds gather needs.
    rows = table.at[tokens].get(mode="clip")
    return rows.astype(self.dtype)

  def logits(
    self, x: Float[Array, "*batch embed"]
  ) -> Float[Array, "*batch vocab"]:
    """Returns T5 1.0's logits: x @ embedding^T / sqrt(emb_dim), float32."""
    product = jnp.dot(x.astype(jnp.float32), self.embedding.T)
    return product / math.sqrt(self.emb_dim)


class Mlp(nn.Module):
  """T5's feed-forward layer: wi then wo (1.0), or act(wi_0) * wi_1 then wo.

  Attributes:
    mlp_dim: size of the hidden layer.
    activations: one name per input kernel: ("relu",) or ("gelu", "linear").
    dropout_rate: dropout rate of the hidden layer.
    dtype: dtype of the activations.
  """

  mlp_dim: int
  activations: tuple[str, ...]
  dropout_rate: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch length embed"]
  ) -> Float[Array, "*batch length embed"]:
    """Returns the layer's output."""
    gates = []
    for i, activation in enumerate(self.activations):
      name = "wi" if len(self.activations) == 1 else f"wi_{i}"
      dense = Dense(self.mlp_dim, ("embed", "mlp"), self.dtype, name=name)
      gates.append(_ACTIVATIONS[activation](dense(x)))
    hidden = functools.reduce(operator.mul, gates)
    response_axes = (None,) * (x.ndim - 3)  # if prompts have several responses
    axes = ("batch", *response_axes, "length", "mlp")
    hidden = nn.with_logical_constraint(hidden, axes)
    hidden = Dropout(self.dropout_rate)(hidden)
    return Dense(x.shape[-1], ("mlp", "embed"), self.dtype, name="wo")(hidden)
