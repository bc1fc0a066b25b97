"""T5 1.0 and T5 1.1 (with Flan-T5, mT5 and ByT5), as T5X names its parameters.

Raffel et al. (2020), "Exploring the limits of transfer learning"; T5 1.1 is the
gated variant of Shazeer (2020) with an output head of its own.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.models import layers

# Nested dictionaries of arrays under T5X's names.
Params = Mapping[str, Any]

_REMAT_POLICIES = {
  "full": None,  # keep nothing but each layer's input
  "minimal": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


@dataclasses.dataclass(frozen=True)
class T5Config:
  """The architecture; field names are those of T5X's `network.T5Config`.

  Attributes:
    vocab_size: rows of the embedding, extra ids and rounding included.
    emb_dim: size of the residual stream.
    num_heads: attention heads of every layer.
    head_dim: size of a head.
    mlp_dim: size of the feed-forward layer.
    num_encoder_layers: layers of the encoder.
    num_decoder_layers: layers of the decoder.
    mlp_activations: ("gelu", "linear") for T5 1.1, ("relu",) for T5 1.0.
    logits_via_embedding: whether the head is the embedding, its output divided
      by sqrt(emb_dim) (T5 1.0), rather than a kernel of its own (T5 1.1).
    dropout_rate: of every dropout, active when a dropout key is given.
    dtype: type of the activations, "float32" or "bfloat16". Parameters keep
      the type they are given in; logits and softmax are float32.
    remat_policy: what the backward pass recomputes: "none", "minimal" (all but
      the products with kernels) or "full" (all but each layer's input).
    num_buckets: distance buckets of the relative-position bias.
    max_distance: distance, in tokens, from which the last bucket is used.

  Raises:
    ValueError: a value that no T5 can have.
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
    unknown = set(self.mlp_activations) - set(layers.ACTIVATION_NAMES)
    if unknown:
      raise ValueError(
        f"mlp_activations={self.mlp_activations}: unknown {sorted(unknown)},"
        f" known are {layers.ACTIVATION_NAMES}"
      )
    if self.dtype not in ("float32", "bfloat16"):
      raise ValueError(f"dtype={self.dtype!r} is neither float32 nor bfloat16")
    if self.remat_policy not in ("none", *_REMAT_POLICIES):
      raise ValueError(
        f"remat_policy={self.remat_policy!r} is none of none, minimal, full"
      )
    if not 0.0 <= self.dropout_rate < 1.0:
      raise ValueError(f"dropout_rate={self.dropout_rate} is not in [0, 1)")


def architecture_name(config: T5Config) -> str:
  """Returns "t5_1_1" or "t5_1_0"; a mixture of the two is spelt out."""
  variant = (config.mlp_activations, config.logits_via_embedding)
  if variant == (("gelu", "linear"), False):
    return "t5_1_1"
  if variant == (("relu",), True):
    return "t5_1_0"
  head = "tied" if config.logits_via_embedding else "own"
  return f"t5 ({'*'.join(config.mlp_activations)}, {head} head)"


def _attention(config: T5Config) -> layers.Attention:
  return layers.Attention(
    num_heads=config.num_heads,
    head_dim=config.head_dim,
    emb_dim=config.emb_dim,
    dropout_rate=config.dropout_rate,
    dtype=jnp.dtype(config.dtype),
  )


def _mlp(config: T5Config) -> layers.Mlp:
  dtype = jnp.dtype(config.dtype)
  return layers.Mlp(
    config.mlp_dim, config.mlp_activations, config.dropout_rate, dtype
  )


def _relative_bias(config: T5Config) -> layers.RelativePositionBias:
  return layers.RelativePositionBias(
    config.num_heads, config.num_buckets, config.max_distance
  )


def _layer_norm(config: T5Config) -> layers.LayerNorm:
  return layers.LayerNorm(jnp.dtype(config.dtype))


def _rematted(layer: type[nn.Module], config: T5Config) -> type[nn.Module]:
  if config.remat_policy == "none":
    return layer
  policy = _REMAT_POLICIES[config.remat_policy]
  return nn.remat(layer, policy=policy, prevent_cse=False)


# A prompt's keys and values for the cross-attention of one layer, heads first.
KeysValues = tuple[
  Float[Array, "batch heads source head_dim"],
  Float[Array, "batch heads source head_dim"],
]


class EncoderLayer(nn.Module):
  """Self-attention and feed-forward, each in a normed residual branch."""

  config: T5Config

  def setup(self) -> None:
    """Declares the layer's parts."""
    self.pre_attention_layer_norm = _layer_norm(self.config)
    self.attention = _attention(self.config)
    self.pre_mlp_layer_norm = _layer_norm(self.config)
    self.mlp = _mlp(self.config)
    self.dropout = layers.Dropout(self.config.dropout_rate)

  def __call__(
    self,
    x: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch 1 1 length"],
    bias: Float[Array, "1 heads length length"],
  ) -> Float[Array, "batch length embed"]:
    """Returns the residual stream after this layer."""
    x = nn.with_logical_constraint(x, ("batch", "length", "embed"))
    y = self.pre_attention_layer_norm(x)
    attended = self.attention(y, *self.attention.keys_values(y), mask, bias)
    x = x + self.dropout(attended)
    return x + self.dropout(self.mlp(self.pre_mlp_layer_norm(x)))


class DecoderLayer(nn.Module):
  """Causal self-attention, cross-attention and feed-forward."""

  config: T5Config

  def setup(self) -> None:
    """Declares the layer's parts."""
    self.pre_self_attention_layer_norm = _layer_norm(self.config)
    self.self_attention = _attention(self.config)
    self.pre_cross_attention_layer_norm = _layer_norm(self.config)
    self.encoder_decoder_attention = _attention(self.config)
    self.pre_mlp_layer_norm = _layer_norm(self.config)
    self.mlp = _mlp(self.config)
    self.dropout = layers.Dropout(self.config.dropout_rate)

  def __call__(
    self,
    x: Float[Array, "batch responses length embed"],
    encoded: Float[Array, "batch source embed"],
    causal_mask: Bool[Array, "1 1 length length"],
    encoded_mask: Bool[Array, "batch 1 1 source"],
    bias: Float[Array, "1 heads length length"],
  ) -> Float[Array, "batch responses length embed"]:
    """Returns the residual stream after this layer.

    A response attends to itself alone; all responses of a prompt attend to one
    copy of the prompt's keys and values.
    """
    batch, responses, length, embed = x.shape
    x = nn.with_logical_constraint(x, ("batch", None, "length", "embed"))
    y = self.pre_self_attention_layer_norm(x)
    y = y.reshape(batch * responses, length, embed)
    own = self.self_attention.keys_values(y)
    y = self.self_attention(y, *own, causal_mask, bias)
    x = x + self.dropout(y.reshape(x.shape))
    y = self.pre_cross_attention_layer_norm(x)
    y = y.reshape(batch, responses * length, embed)
    cross = self.encoder_decoder_attention.keys_values(encoded)
    y = self.encoder_decoder_attention(y, *cross, encoded_mask)
    x = x + self.dropout(y.reshape(x.shape))
    return x + self.dropout(self.mlp(self.pre_mlp_layer_norm(x)))

  def step(
    self,
    x: Float[Array, "batch samples embed"],
    cache: layers.KeyValueCache,
    cross: KeysValues,
    encoded_mask: Bool[Array, "batch 1 source 1"],
    position: Int[Array, ""],
    bias: Float[Array, "heads key"],
  ) -> tuple[Float[Array, "batch samples embed"], layers.KeyValueCache]:
    """One position of every sample: as `__call__`, from cached projections."""
    y = self.pre_self_attention_layer_norm(x)
    y, cache = self.self_attention.step(y, cache, position, bias)
    x = x + y
    y = self.pre_cross_attention_layer_norm(x)
    x = x + self.encoder_decoder_attention.cross_step(y, *cross, encoded_mask)
    return x + self.mlp(self.pre_mlp_layer_norm(x)), cache


class Encoder(nn.Module):
  """Reads a prompt."""

  config: T5Config

  def setup(self) -> None:
    """Declares the stack."""
    layer = _rematted(EncoderLayer, self.config)
    self.relpos_bias = _relative_bias(self.config)
    self.layers = [
      layer(self.config) for _ in range(self.config.num_encoder_layers)
    ]
    self.encoder_norm = _layer_norm(self.config)
    self.dropout = layers.Dropout(self.config.dropout_rate)
    self.output_dropout = layers.Dropout(self.config.dropout_rate, ())

  def __call__(
    self,
    x: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch 1 1 length"],
  ) -> Float[Array, "batch length embed"]:
    """Returns the normed output of the last layer."""
    length = x.shape[1]
    bias = self.relpos_bias(length, length, bidirectional=True)
    x = self.dropout(x)
    for layer in self.layers:
      x = layer(x, mask, bias)
    return self.output_dropout(self.encoder_norm(x))


class Decoder(nn.Module):
  """Predicts the next token of a response, given the encoded prompt."""

  config: T5Config

  def setup(self) -> None:
    """Declares the stack and, in T5 1.1, the head."""
    config = self.config
    layer = _rematted(DecoderLayer, config)
    self.relpos_bias = _relative_bias(config)
    self.layers = [layer(config) for _ in range(config.num_decoder_layers)]
    self.decoder_norm = _layer_norm(config)
    self.dropout = layers.Dropout(config.dropout_rate)
    if not config.logits_via_embedding:
      dtype = jnp.dtype("float32")
      self.logits_dense = layers.Dense(
        config.vocab_size, ("embed", "vocab"), dtype
      )

  def __call__(
    self,
    x: Float[Array, "batch responses length embed"],
    encoded: Float[Array, "batch source embed"],
    encoded_mask: Bool[Array, "batch 1 1 source"],
  ) -> Float[Array, "batch responses length embed"]:
    """Returns the normed output of the last layer: the head's input."""
    length = x.shape[2]
    bias = self.relpos_bias(length, length, bidirectional=False)
    causal_mask = jnp.tril(jnp.ones((1, 1, length, length), bool))
    x = self.dropout(x)
    for layer in self.layers:
      x = layer(x, encoded, causal_mask, encoded_mask, bias)
    return self.dropout(self.decoder_norm(x))

  def cross_keys_values(
    self, encoded: Float[Array, "batch source embed"]
  ) -> list[KeysValues]:
    """Projects the encoded prompt once, for every layer."""
    projected = []
    for layer in self.layers:
      key, value = layer.encoder_decoder_attention.keys_values(encoded)
      projected.append((key.swapaxes(1, 2), value.swapaxes(1, 2)))
    return projected

  def step(
    self,
    x: Float[Array, "batch samples embed"],
    caches: list[layers.KeyValueCache],
    crosses: list[KeysValues],
    encoded_mask: Bool[Array, "batch 1 source 1"],
    position: Int[Array, ""],
  ) -> tuple[Float[Array, "batch samples embed"], list[layers.KeyValueCache]]:
    """The head's input at one position of every sample, and the caches."""
    bias = self.relpos_bias.row(position, caches[0].key.shape[3])
    written = []
    for layer, cache, cross in zip(self.layers, caches, crosses, strict=True):
      x, cache = layer.step(x, cache, cross, encoded_mask, position, bias)
      written.append(cache)
    return self.decoder_norm(x), written


class Transformer(nn.Module):
  """The whole model."""

  config: T5Config

  def setup(self) -> None:
    """Declares the shared embedding and the two stacks."""
    config = self.config
    dtype = jnp.dtype(config.dtype)
    self.token_embedder = layers.Embed(config.vocab_size, config.emb_dim, dtype)
    self.encoder = Encoder(config)
    self.decoder = Decoder(config)

  def encode(
    self, encoder_input_tokens: Int[Array, "batch source"]
  ) -> Float[Array, "batch source embed"]:
    """Reads prompts; pads (id 0) are seen by no position."""
    mask = _padding_mask(encoder_input_tokens)
    return self.encoder(self.token_embedder(encoder_input_tokens), mask)

  def decode(
    self,
    encoded: Float[Array, "batch source embed"],
    encoder_input_tokens: Int[Array, "batch source"],
    decoder_input_tokens: Int[Array, "batch responses target"],
  ) -> Float[Array, "batch responses target embed"]:
    """Returns the head's input at every position of every response."""
    mask = _padding_mask(encoder_input_tokens)
    return self.decoder(
      self.token_embedder(decoder_input_tokens), encoded, mask
    )

  def cross_keys_values(
    self, encoded: Float[Array, "batch source embed"]
  ) -> list[KeysValues]:
    """Projects the encoded prompt for every decoder layer."""
    return self.decoder.cross_keys_values(encoded)

  def step(
    self,
    tokens: Int[Array, "batch samples"],
    caches: list[layers.KeyValueCache],
    crosses: list[KeysValues],
    encoded_mask: Bool[Array, "batch 1 source 1"],
    position: Int[Array, ""],
  ) -> tuple[Float[Array, "batch samples embed"], list[layers.KeyValueCache]]:
    """Reads one token of every sample; returns the head's input."""
    x = self.token_embedder(tokens)
    return self.decoder.step(x, caches, crosses, encoded_mask, position)

  def head(
    self, x: Float[Array, "*batch embed"]
  ) -> Float[Array, "*batch vocab"]:
    """Returns the logits, float32."""
    if self.config.logits_via_embedding:
      return self.token_embedder.logits(x)
    return self.decoder.logits_dense(x)

  def __call__(
    self,
    encoder_input_tokens: Int[Array, "batch source"],
    decoder_input_tokens: Int[Array, "batch target"],
  ) -> Float[Array, "batch target vocab"]:
    """Returns the logits of every next token, float32."""
    encoded = self.encode(encoder_input_tokens)
    responses = decoder_input_tokens[:, None]
    x = self.decode(encoded, encoder_input_tokens, responses)
    return self.head(x[:, 0])


def _padding_mask(
  tokens: Int[Array, "batch source"],
) -> Bool[Array, "batch 1 1 source"]:
  return (tokens > 0)[:, None, None, :]


def apply(
  config: T5Config,
  params: Params,
  *arguments: Any,
  method: str = "__call__",
  dropout_key: Array | None = None,
) -> Any:
  """Runs a method of `Transformer`.

  Args:
    config: the architecture.
    params: its parameters, under T5X's names.
    *arguments: what the method takes.
    method: its name.
    dropout_key: a random key that turns dropout on; None turns it off.

  Returns:
    What the method returns.
  """
  rngs = {} if dropout_key is None else {"dropout": dropout_key}
  model = Transformer(config)
  return model.apply({"params": params}, *arguments, rngs=rngs, method=method)


def init(config: T5Config, key: Array) -> Params:
  """Draws float32 parameters as T5X initialises them.

  Args:
    config: the architecture.
    key: a JAX random key.

  Returns:
    Nested dictionaries under T5X's names.
  """
  return nn.unbox(_init_boxed(config, key))


def _init_boxed(config: T5Config, key: Array) -> Params:
  token = jnp.ones((1, 1), jnp.int32)
  return Transformer(config).init(key, token, token)["params"]


def param_shapes(config: T5Config) -> Params:
  """Returns the `jax.ShapeDtypeStruct` of every parameter; computes nothing."""
  # Not by nn.unbox, which on a mesh would place what has no values.
  return jax.tree.map(
    lambda box: box.unbox(apply_constraint=False),
    _abstract(config),
    is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned),
  )


def logical_axes(config: T5Config) -> Params:
  """Returns the logical axis names of every parameter, as `PartitionSpec`s."""
  return nn.get_partition_spec(_abstract(config))


@functools.cache
def _abstract(config: T5Config) -> Params:
  # Traced once an architecture: every checkpoint that is opened asks for it.
  return jax.eval_shape(lambda: _init_boxed(config, jax.random.key(0)))


def logits(
  config: T5Config,
  params: Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_input_tokens: Int[Array, "batch target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch target vocab"]:
  """Returns the logits of the token after each decoder input.

  Args:
    config: the architecture.
    params: its parameters, under T5X's names.
    encoder_input_tokens: prompt ids, padded with 0 on the right.
    decoder_input_tokens: target ids shifted right: 0 first, then the response.
    dropout_key: a random key that turns dropout on; None turns it off.

  Returns:
    Unnormalised log-probabilities, float32, in nats. What stands where the
    target is padding has no meaning.
  """
  return apply(
    config,
    params,
    encoder_input_tokens,
    decoder_input_tokens,
    dropout_key=dropout_key,
  )


def encode(
  config: T5Config,
  params: Params,
  encoder_input_tokens: Int[Array, "batch source"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch source embed"]:
  """Returns the encoder's output for prompts padded with 0 on the right."""
  return apply(
    config,
    params,
    encoder_input_tokens,
    method="encode",
    dropout_key=dropout_key,
  )


def decode(
  config: T5Config,
  params: Params,
  encoded: Float[Array, "batch source embed"],
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_input_tokens: Int[Array, "batch responses target"],
  *,
  dropout_key: Array | None = None,
) -> Float[Array, "batch responses target embed"]:
  """Returns the head's input at each position of several responses a prompt.

  Args:
    config: the architecture.
    params: its parameters.
    encoded: the encoder's output.
    encoder_input_tokens: the prompts, for their padding.
    decoder_input_tokens: responses shifted right (see `logits`). They share
      the prompt's encoding and its projections, and do not see each other.
    dropout_key: a random key that turns dropout on; None turns it off.

  Returns:
    Activations, in `config.dtype`.
  """
  return apply(
    config,
    params,
    encoded,
    encoder_input_tokens,
    decoder_input_tokens,
    method="decode",
    dropout_key=dropout_key,
  )


def head(
  config: T5Config, params: Params, x: Float[Array, "*batch embed"]
) -> Float[Array, "*batch vocab"]:
  """Returns the float32 logits of `decode`'s output."""
  return apply(config, params, x, method="head")
