"""T5's encoder and decoder modules, with T5X's parameter names.

`rlhf_gap.models.t5` wraps these modules in functions of (config, params,
tokens).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap.models import attention, layers
from rlhf_gap.models.config import T5Config
from rlhf_gap.token_ids import PAD_ID

_REMAT_POLICIES = {
  "full": None,  # save only each layer's input
  "minimal": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def _attention(config: T5Config) -> attention.Attention:
  return attention.Attention(
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


def _relative_bias(config: T5Config) -> attention.RelativePositionBias:
  return attention.RelativePositionBias(
    config.num_heads, config.num_buckets, config.max_distance
  )


def _layer_norm(config: T5Config) -> layers.LayerNorm:
  return layers.LayerNorm(jnp.dtype(config.dtype))


def _with_remat(layer: type[nn.Module], config: T5Config) -> type[nn.Module]:
  if config.remat_policy == "none":
    return layer
  policy = _REMAT_POLICIES[config.remat_policy]
  return nn.remat(layer, policy=policy, prevent_cse=False)


# One cache per decoder layer.
Caches = list[attention.KeyValueCache]

# A prompt's keys and values for one layer's cross-attention, heads first.
KeysValues = tuple[
  Float[Array, "batch heads source head_dim"],
  Float[Array, "batch heads source head_dim"],
]


class EncoderLayer(nn.Module):
  """Self-attention and feed-forward, each in a pre-norm residual branch."""

  config: T5Config

  def setup(self) -> None:
    """Declares the submodules."""
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
    """Declares the submodules."""
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

    A response attends only to itself; all responses of a prompt share one copy
    of the prompt's keys and values.
    """
    batch, responses, length, embed = x.shape
    x = nn.with_logical_constraint(x, ("batch", None, "length", "embed"))
    y = self.pre_self_attention_layer_norm(x)
    y = y.reshape(batch * responses, length, embed)
    self_keys_values = self.self_attention.keys_values(y)
    y = self.self_attention(y, *self_keys_values, causal_mask, bias)
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
    cache: attention.KeyValueCache,
    cross: KeysValues,
    encoded_mask: Bool[Array, "batch 1 source 1"],
    position: Int[Array, ""],
    bias: Float[Array, "heads key"],
  ) -> tuple[Float[Array, "batch samples embed"], attention.KeyValueCache]:
    """Like `__call__` for one position of each sample, using the caches."""
    y = self.pre_self_attention_layer_norm(x)
    y, cache = self.self_attention.step(y, cache, position, bias)
    x = x + y
    y = self.pre_cross_attention_layer_norm(x)
    x = x + self.encoder_decoder_attention.cross_step(y, *cross, encoded_mask)
    return x + self.mlp(self.pre_mlp_layer_norm(x)), cache


class Encoder(nn.Module):
  """Encodes prompts."""

  config: T5Config

  def setup(self) -> None:
    """Declares the submodules."""
    layer = _with_remat(EncoderLayer, self.config)
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
    """Returns the last layer's output after the final layer norm."""
    length = x.shape[1]
    bias = self.relpos_bias(length, length, bidirectional=True)
    x = self.dropout(x)
    for layer in self.layers:
      x = layer(x, mask, bias)
    return self.output_dropout(self.encoder_norm(x))


class Decoder(nn.Module):
  """Predicts a response's next token, given the encoded prompt."""

  config: T5Config

  def setup(self) -> None:
    """Declares the submodules, including T5 1.1's separate head."""
    config = self.config
    layer = _with_remat(DecoderLayer, config)
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
    """Returns the head's input at every position."""
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
    """Returns the encoded prompt's keys and values for every layer."""
    projected = []
    for layer in self.layers:
      key, value = layer.encoder_decoder_attention.keys_values(encoded)
      projected.append((key.swapaxes(1, 2), value.swapaxes(1, 2)))
    return projected

  def step(
    self,
    x: Float[Array, "batch samples embed"],
    caches: Caches,
    crosses: list[KeysValues],
    encoded_mask: Bool[Array, "batch 1 source 1"],
    position: Int[Array, ""],
  ) -> tuple[Float[Array, "batch samples embed"], Caches]:
    """Returns the head's input at one position, and the updated caches."""
    bias = self.relpos_bias.row(position, caches[0].key.shape[3])
    updated = []
    for layer, cache, cross in zip(self.layers, caches, crosses, strict=True):
      x, cache = layer.step(x, cache, cross, encoded_mask, position, bias)
      updated.append(cache)
    return self.decoder_norm(x), updated


class Transformer(nn.Module):
  """The encoder-decoder model."""

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
    """Encodes prompts; no position attends to padding (id 0)."""
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
    """Returns the encoded prompt's keys and values for every layer."""
    return self.decoder.cross_keys_values(encoded)

  def step(
    self,
    tokens: Int[Array, "batch samples"],
    caches: Caches,
    crosses: list[KeysValues],
    encoded_mask: Bool[Array, "batch 1 source 1"],
    position: Int[Array, ""],
  ) -> tuple[Float[Array, "batch samples embed"], Caches]:
    """Reads one token of each sample; returns the head's input and caches."""
    x = self.token_embedder(tokens)
    return self.decoder.step(x, caches, crosses, encoded_mask, position)

  def head(
    self, x: Float[Array, "*batch embed"]
  ) -> Float[Array, "*batch vocab"]:
    """Returns the float32 logits."""
    if self.config.logits_via_embedding:
      return self.token_embedder.logits(x)
    return self.decoder.logits_dense(x)

  def __call__(
    self,
    encoder_input_tokens: Int[Array, "batch source"],
    decoder_input_tokens: Int[Array, "batch target"],
  ) -> Float[Array, "batch target vocab"]:
    """Returns the float32 logits of every next token."""
    encoded = self.encode(encoder_input_tokens)
    responses = decoder_input_tokens[:, None]
    x = self.decode(encoded, encoder_input_tokens, responses)
    return self.head(x[:, 0])


def _padding_mask(
  tokens: Int[Array, "batch source"],
) -> Bool[Array, "batch 1 1 source"]:
  return (tokens > PAD_ID)[:, None, None, :]
