"""A T5 forward pass in NumPy float64, written from the papers.

Raffel et al. (2020) and, for the gated feed-forward layer, Shazeer (2020). It
loops over heads and examples and shares no code with the package.
"""

import math

import numpy as np


def bucket(relative_position, bidirectional, num_buckets, max_distance):
  """Returns the bucket of one (key position - query position).

  Mesh TensorFlow's `_relative_position_bucket`, for a single integer.
  """
  offset, distance = 0, -relative_position
  if bidirectional:
    num_buckets //= 2
    offset = num_buckets if distance < 0 else 0
    distance = abs(distance)
  else:
    distance = max(distance, 0)
  exact = num_buckets // 2
  if distance < exact:
    return offset + distance
  scale = math.log(distance / exact) / math.log(max_distance / exact)
  logarithmic = exact + int(scale * (num_buckets - exact) + 1e-6)
  return offset + min(logarithmic, num_buckets - 1)


def logits(config, params, source, target):
  """Returns the logits [target, vocab] of one prompt and decoder input."""
  params = _float64(params)
  table = params["token_embedder"]["embedding"]
  encoder, decoder = params["encoder"], params["decoder"]
  source_mask = np.asarray(source) > 0
  x = table[source]
  bias = _bias(config, encoder, len(source), bidirectional=True)
  for number in range(config.num_encoder_layers):
    layer = encoder[f"layers_{number}"]
    y = _norm(x, layer["pre_attention_layer_norm"])
    x = x + _attend(config, layer["attention"], y, y, bias, source_mask)
    y = _norm(x, layer["pre_mlp_layer_norm"])
    x = x + _feed_forward(config, layer["mlp"], y)
  encoded = _norm(x, encoder["encoder_norm"])
  length = len(target)
  x = table[target]
  bias = _bias(config, decoder, length, bidirectional=False)
  causal = np.tril(np.ones((length, length), bool))
  for number in range(config.num_decoder_layers):
    layer = decoder[f"layers_{number}"]
    y = _norm(x, layer["pre_self_attention_layer_norm"])
    x = x + _attend(config, layer["self_attention"], y, y, bias, causal)
    y = _norm(x, layer["pre_cross_attention_layer_norm"])
    cross = layer["encoder_decoder_attention"]
    no_bias = np.zeros((config.num_heads, 1, 1))
    x = x + _attend(config, cross, y, encoded, no_bias, source_mask)
    y = _norm(x, layer["pre_mlp_layer_norm"])
    x = x + _feed_forward(config, layer["mlp"], y)
  x = _norm(x, decoder["decoder_norm"])
  if config.logits_via_embedding:
    return x @ table.T / math.sqrt(config.emb_dim)
  return x @ decoder["logits_dense"]["kernel"]


def _float64(tree):
  if hasattr(tree, "items"):
    return {name: _float64(value) for name, value in tree.items()}
  return np.asarray(tree, np.float64)


def _norm(x, parameters):
  mean_square = (x**2).mean(-1, keepdims=True)
  return x / np.sqrt(mean_square + 1e-6) * parameters["scale"]


def _bias(config, stack, length, bidirectional):
  table = stack["relpos_bias"]["rel_embedding"]
  bias = np.zeros((config.num_heads, length, length))
  for query, key in np.ndindex(length, length):
    number = bucket(
      key - query, bidirectional, config.num_buckets, config.max_distance
    )
    bias[:, query, key] = table[:, number]
  return bias


def _attend(config, parameters, x, attended, bias, mask):
  size, outputs = config.head_dim, []
  for head in range(config.num_heads):
    columns = slice(head * size, (head + 1) * size)
    query, key, value = (
      inputs @ parameters[name]["kernel"][:, columns]
      for name, inputs in (("query", x), ("key", attended), ("value", attended))
    )
    scores = np.where(mask, query @ key.T + bias[head], -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    outputs.append(weights / weights.sum(-1, keepdims=True) @ value)
  return np.concatenate(outputs, -1) @ parameters["out"]["kernel"]


def _feed_forward(config, parameters, x):
  functions = {
    "relu": lambda h: np.maximum(h, 0),
    "linear": lambda h: h,
    # The tanh approximation, as in T5 1.1.
    "gelu": lambda h: (
      0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    ),
  }
  hidden = np.ones(1)
  for number, name in enumerate(config.mlp_activations):
    kernel = "wi" if len(config.mlp_activations) == 1 else f"wi_{number}"
    hidden = hidden * functions[name](x @ parameters[kernel]["kernel"])
  return hidden @ parameters["wo"]["kernel"]
