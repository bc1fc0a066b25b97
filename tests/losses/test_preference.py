"""The preference model's log-loss over both orders."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import losses
from tests.losses import oracles
from tests.losses.cases import slope


@pytest.fixture(scope="module")
def logits():
  rng = np.random.default_rng(2)
  return rng.normal(0, 4, (2, 33)).astype(np.float32)


def _one(chosen_first, rejected_first, probability=1.0):
  first, second = (
    jnp.array([x], jnp.float32) for x in (chosen_first, rejected_first)
  )
  return float(losses.preference_model(first, second, probability)[0])


def test_is_its_formula(logits):
  first, second = map(jnp.asarray, logits)
  probability = np.linspace(0, 1, 33, dtype=np.float32)
  wide = np.float64(logits)
  hard = losses.preference_model(first, second)
  expected = oracles.preference_model(*wide, 1.0)
  np.testing.assert_allclose(hard, expected, rtol=1e-6, atol=1e-6)
  soft = losses.preference_model(first, second, jnp.asarray(probability))
  expected = oracles.preference_model(*wide, np.float64(probability))
  np.testing.assert_allclose(soft, expected, rtol=1e-6, atol=1e-6)


def test_values_by_hand():
  """The log-odds of 3/4 are log 3, those of 1/8 are -log 7."""
  logits = math.log(3), -math.log(7)
  right = -0.5 * math.log(3 / 4) - 0.5 * math.log(7 / 8)
  wrong = -0.5 * math.log(1 / 4) - 0.5 * math.log(1 / 8)
  assert _one(*logits) == pytest.approx(right)
  assert _one(*logits, 0.9) == pytest.approx(0.9 * right + 0.1 * wrong)
  assert _one(0.0, 0.0) == pytest.approx(math.log(2))


def test_pulls_the_chosen_up_in_both_orders():
  """1/4 of a nat a nat each: half for the order, half for sigmoid(0)."""
  for p in (1.0, 0.8):
    by_logit = jax.grad(
      lambda x, p=p: losses.preference_model(x[:1], x[1:], p)[0]
    )(jnp.zeros(2))
    pull = (2 * p - 1) / 4
    np.testing.assert_allclose(by_logit, [-pull, pull], rtol=1e-6)


@pytest.mark.parametrize("q", [0.3, 0.9])
def test_is_least_where_the_model_says_the_labels_probability(q):
  """Of y_w shown first the log-odds logit(q); shown second, their negative."""
  least = math.log(q / (1 - q))
  near = np.array([least - 0.01, least, least + 0.01])
  other = np.full(3, -least)
  by_first = slope(lambda a, b: losses.preference_model(a, b, q), near, other)
  by_second = slope(
    lambda b, a: losses.preference_model(a, b, q), -near, -other
  )
  for slopes, sign in ((by_first, 1), (by_second, -1)):
    np.testing.assert_array_equal(
      np.sign(sign * slopes[jnp.array([0, 2])]), [-1, 1]
    )
    assert abs(float(slopes[1])) < 1e-6


def test_swapping_the_responses_and_the_label_changes_nothing(logits):
  first, second = map(jnp.asarray, logits)
  probability = jnp.linspace(0, 1, 33, dtype=jnp.float32)
  values = losses.preference_model(first, second, probability)
  swapped = losses.preference_model(second, first, 1 - probability)
  np.testing.assert_allclose(swapped, values, rtol=1e-5, atol=1e-6)


def test_being_read_first_is_worth_nothing_to_the_loss():
  """A bias b of both orders costs the same as -b: it can only be unlearnt."""
  assert _one(1.5, 1.5) == pytest.approx(_one(-1.5, -1.5))
  assert _one(1.5, 1.5) > _one(0.0, 0.0)


def test_stays_finite_for_a_model_that_is_sure():
  far = [-1e5, -1e3, 1e3, 1e5]
  zeros = [0.0] * 4
  values = losses.preference_model(jnp.array(far, jnp.float32), jnp.zeros(4))
  half = math.log(2) / 2
  expected = [5e4 + half, 500 + half, half, half]
  np.testing.assert_allclose(values, expected, rtol=1e-6)
  slopes = slope(losses.preference_model, far, zeros)
  np.testing.assert_allclose(slopes, [-0.5, -0.5, 0, 0], atol=1e-6)
