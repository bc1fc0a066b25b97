"""Single layers against their formulas in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.models import layers

FLOAT32 = jnp.dtype("float32")


def _normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def _single(values):
  return jnp.asarray(values, jnp.float32)


def test_layer_norm_scales_by_the_root_mean_square_without_a_mean():
  x, scale = 3 + 2 * _normal(0, 2, 5, 16), _normal(1, 16)
  variables = {"params": {"scale": _single(scale)}}
  found = layers.LayerNorm(FLOAT32).apply(variables, _single(x))
  expected = scale * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def test_tied_logits_are_products_with_the_table_over_root_width():
  x, table = _normal(0, 2, 3, 16), _normal(1, 7, 16)
  embed = layers.Embed(7, 16, FLOAT32)
  variables = {"params": {"embedding": _single(table)}}
  found = embed.apply(variables, _single(x), method="logits")
  np.testing.assert_allclose(found, x @ table.T / 4, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("activations", [("relu",), ("gelu", "linear")])
def test_the_feed_forward_layer_gates_its_hidden_units(activations):
  x, inputs = _normal(0, 2, 3, 8), _normal(1, len(activations), 8, 12)
  out = _normal(2, 12, 8)
  names = ["wi"] if len(activations) == 1 else ["wi_0", "wi_1"]
  kernels = dict(zip(names, inputs, strict=True)) | {"wo": out}
  params = {name: {"kernel": _single(k)} for name, k in kernels.items()}
  mlp = layers.Mlp(12, activations, 0.0, FLOAT32)
  found = mlp.apply({"params": params}, _single(x))
  first = x @ inputs[0]
  hidden = np.maximum(first, 0)
  if len(activations) == 2:
    inner = np.sqrt(2 / np.pi) * (first + 0.044715 * first**3)
    hidden = 0.5 * first * (1 + np.tanh(inner)) * (x @ inputs[1])
  np.testing.assert_allclose(found, hidden @ out, rtol=1e-4, atol=1e-4)


def test_dropout_drops_whole_sequences_of_a_feature_and_rescales():
  dropout = layers.Dropout(0.5)
  x = jnp.ones((4, 6, 32))
  found = np.asarray(dropout.apply({}, x, rngs={"dropout": jax.random.key(0)}))
  assert set(np.unique(found)) == {0.0, 2.0}
  assert (found == found[:, :1]).all()
  np.testing.assert_array_equal(dropout.apply({}, x), x)
