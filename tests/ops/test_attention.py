"""Attention and its gradient against NumPy float64 and JAX's own gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.ops import attention

BATCH, QUERIES, KEYS, HEADS, SIZE = 4, 3, 5, 2, 4


@pytest.fixture(scope="module")
def operands():
  """Query, key, value and bias; scores of up to ten, as T5's are."""
  generator = np.random.default_rng(0)

  def drawn(*shape):
    return jnp.asarray(1.5 * generator.normal(size=shape), jnp.float32)

  return (
    drawn(BATCH, QUERIES, HEADS, SIZE),
    drawn(BATCH, KEYS, HEADS, SIZE),
    drawn(BATCH, KEYS, HEADS, SIZE),
    drawn(1, HEADS, QUERIES, KEYS),
  )


@pytest.fixture(scope="module")
def mask():
  """Example i sees its first KEYS - i keys; example 3 row 1 sees none."""
  seen = np.arange(KEYS) < KEYS - np.arange(BATCH)[:, None]
  seen = np.repeat(seen[:, None, None], QUERIES, axis=2)
  seen[3, 0, 1] = False
  return jnp.asarray(seen)


def _textbook(query, key, value, bias, mask):
  scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) + bias
  scores = jnp.where(mask, scores, attention.MASKED_SCORE)
  weights = jax.nn.softmax(scores, axis=-1)
  return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def _ours(query, key, value, bias, mask, at_once=None):
  return attention.attend(query, key, value, mask, bias, at_once=at_once)


@functools.partial(jax.jit, static_argnums=0)
def _with_gradients(function, operands, mask):
  def total(operands):
    mixed = function(*operands, mask)
    weights = jnp.cos(jnp.arange(mixed.size)).reshape(mixed.shape)
    return (weights * mixed).sum()

  return function(*operands, mask), jax.grad(total)(operands)


def test_values_are_the_definition(operands, mask):
  """Row by row over the keys that are seen; the row of none is their mean."""
  query, key, value, bias = (np.asarray(x, np.float64) for x in operands)
  mixed = np.asarray(_ours(*operands, mask))
  for b, q, h in np.ndindex(BATCH, QUERIES, HEADS):
    seen = np.flatnonzero(mask[b, 0, q])
    scores = key[b, seen, h] @ query[b, q, h] + bias[0, h, q, seen]
    weights = np.exp(scores - scores.max(initial=0))
    expected = (weights / weights.sum()) @ value[b, seen, h]
    if not seen.size:
      expected = value[b, :, h].mean(0)
    np.testing.assert_allclose(mixed[b, q, h], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("at_once", [None, 1, 2, BATCH])
def test_gradients_are_those_of_the_definition(operands, mask, at_once):
  ours = functools.partial(_ours, at_once=at_once)
  values, gradients = _with_gradients(ours, operands, mask)
  expected, expected_gradients = _with_gradients(_textbook, operands, mask)
  np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
  names = ("query", "key", "value", "bias")
  pairs = zip(names, gradients, expected_gradients, strict=True)
  for name, leaf, right in pairs:
    assert np.abs(right).max() > 0.1, name
    np.testing.assert_allclose(leaf, right, rtol=0, atol=1e-5, err_msg=name)


def test_a_masked_key_is_worth_nothing(operands, mask):
  """Neither value nor gradient: example 1 does not see its last key."""
  query, key, value, bias = operands
  _, gradients = _with_gradients(_ours, operands, mask)
  assert (np.asarray(gradients[1][1, -1]) == 0).all()
  assert (np.asarray(gradients[2][1, -1]) == 0).all()
  changed = key.at[1, -1].set(50.0), value.at[1, -1].set(50.0)
  again = _ours(query, changed[0], value, bias, mask)
  np.testing.assert_array_equal(again, _ours(*operands, mask))


def test_without_bias_and_in_bfloat16(operands, mask):
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


def test_only_a_single_cpu_takes_a_few_at_a_time(operands, monkeypatch):
  """A loop over the batch would undo its sharding, and serve no TPU."""
  query, key, value, _ = operands
  seen = jnp.ones((1, 1, 1, KEYS), bool)

  def lowered(platform):
    # A function of its own each time: JAX keeps what it has traced.
    function = jax.jit(lambda *x: attention.attend(*x, seen))
    traced = function.trace(query, key, value)
    return traced.lower(lowering_platforms=(platform,)).as_text()

  monkeypatch.setattr(attention, "_CPU_SCORES", HEADS * QUERIES * KEYS)
  assert "while" not in lowered("cpu")  # these tests run on eight devices
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  assert "while" in lowered("cpu")
  assert "while" not in lowered("tpu")
