"""Attention and its gradient against NumPy float64 and JAX's autodiff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.ops import attention

BATCH, QUERIES, KEYS, HEADS, SIZE = 4, 3, 5, 2, 4


@pytest.fixture(scope="module")
def operands():
  """Query, key, value and bias, with scores up to 10, as in a trained T5."""
  generator = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(1.5 * generator.normal(size=shape), jnp.float32)

  return (
    normal(BATCH, QUERIES, HEADS, SIZE),
    normal(BATCH, KEYS, HEADS, SIZE),
    normal(BATCH, KEYS, HEADS, SIZE),
    normal(1, HEADS, QUERIES, KEYS),
  )


@pytest.fixture(scope="module")
def mask():
  """Example i attends to its first KEYS - i keys; query 1 of 3 to none."""
  visible = np.arange(KEYS) < KEYS - np.arange(BATCH)[:, None]
  visible = np.repeat(visible[:, None, None], QUERIES, axis=2)
  visible[3, 0, 1] = False
  return jnp.asarray(visible)


def _textbook(query, key, value, bias, mask):
  scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) + bias
  scores = jnp.where(mask, scores, attention.MASKED_SCORE)
  weights = jax.nn.softmax(scores, axis=-1)
  return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def _ours(query, key, value, bias, mask, chunk_size=None):
  return attention.attend(query, key, value, mask, bias, chunk_size=chunk_size)


@functools.partial(jax.jit, static_argnums=0)
def _with_gradients(function, operands, mask):
  def total(operands):
    mixed = function(*operands, mask)
    weights = jnp.cos(jnp.arange(mixed.size)).reshape(mixed.shape)
    return (weights * mixed).sum()

  return function(*operands, mask), jax.grad(total)(operands)


def test_output_matches_the_definition(operands, mask):
  """Softmax over the visible keys; a fully masked query averages all values."""
  query, key, value, bias = (np.asarray(x, np.float64) for x in operands)
  output = np.asarray(_ours(*operands, mask))
  for b, q, h in np.ndindex(BATCH, QUERIES, HEADS):
    visible = np.flatnonzero(mask[b, 0, q])
    scores = key[b, visible, h] @ query[b, q, h] + bias[0, h, q, visible]
    weights = np.exp(scores - scores.max(initial=0))
    expected = (weights / weights.sum()) @ value[b, visible, h]
    if not visible.size:
      expected = value[b, :, h].mean(0)
    np.testing.assert_allclose(output[b, q, h], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk_size", [None, 1, 2, BATCH])
def test_gradients_match_the_definition(operands, mask, chunk_size):
  ours = functools.partial(_ours, chunk_size=chunk_size)
  values, gradients = _with_gradients(ours, operands, mask)
  expected, expected_gradients = _with_gradients(_textbook, operands, mask)
  np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
  names = ("query", "key", "value", "bias")
  pairs = zip(names, gradients, expected_gradients, strict=True)
  for name, leaf, right in pairs:
    assert np.abs(right).max() > 0.1, name
    np.testing.assert_allclose(leaf, right, rtol=0, atol=1e-5, err_msg=name)


def test_a_masked_key_has_no_influence_and_no_gradient(operands, mask):
  """Example 1 does not attend to its last key."""
  query, key, value, bias = operands
  _, gradients = _with_gradients(_ours, operands, mask)
  assert (np.asarray(gradients[1][1, -1]) == 0).all()
  assert (np.asarray(gradients[2][1, -1]) == 0).all()
  changed = key.at[1, -1].set(50.0), value.at[1, -1].set(50.0)
  again = _ours(query, changed[0], value, bias, mask)
  np.testing.assert_array_equal(again, _ours(*operands, mask))


def test_no_bias_equals_a_zero_bias_and_bfloat16_is_close(operands, mask):
  query, key, value, bias = operands
  zero = jnp.zeros_like(bias)
  plain = attention.attend(query, key, value, mask)
  np.testing.assert_array_equal(plain, _ours(query, key, value, zero, mask))
  narrow = [x.astype(jnp.bfloat16) for x in (query, key, value)]
  gradient = jax.grad(
    lambda *x: attention.attend(*x, mask).astype(jnp.float32).sum(), (0, 1, 2)
  )
  assert {x.dtype for x in gradient(*narrow)} == {jnp.dtype("bfloat16")}
  wide = _textbook(*(x.astype(jnp.float32) for x in narrow), zero, mask)
  mixed = attention.attend(*narrow, mask)
  assert mixed.dtype == jnp.bfloat16
  assert np.abs(mixed.astype(jnp.float32) - wide).max() < 0.1


def test_only_a_single_cpu_device_chunks_the_batch(operands, monkeypatch):
  """A loop over the batch would undo its sharding, and gains a TPU nothing."""
  query, key, value, _ = operands
  visible = jnp.ones((1, 1, 1, KEYS), bool)

  def lowered(platform):
    # A new function each time: JAX caches traces by function.
    function = jax.jit(lambda *x: attention.attend(*x, visible))
    traced = function.trace(query, key, value)
    return traced.lower(lowering_platforms=(platform,)).as_text()

  monkeypatch.setattr(attention, "_CPU_SCORES", HEADS * QUERIES * KEYS)
  assert "while" not in lowered("cpu")  # these tests run on eight devices
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  assert "while" in lowered("cpu")
  assert "while" not in lowered("tpu")
