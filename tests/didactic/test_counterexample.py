"""Three actions: closed forms and enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.didactic import counterexample as three


def _loss(name, probabilities):
  return float(three.LOSSES[name](jnp.log(jnp.asarray(probabilities))))


def test_dpo_cannot_see_the_third_action():
  leaking = _loss("DPO", [0.1, 1e-30, 0.9])
  assert leaking < 2e-3
  assert leaking < _loss("DPO", three.rl_optimum())
  assert leaking == pytest.approx(_loss("DPO", [0.9, 9e-30, 0.1]), rel=1e-4)


def test_no_policy_on_a_grid_beats_rls_optimum():
  best = _loss("RL", three.rl_optimum())
  grid = [
    (a / 50, b / 50, (50 - a - b) / 50)
    for a, b in itertools.product(range(1, 50), repeat=2)
    if a + b < 50
  ]
  assert min(_loss("RL", p) for p in grid[::7]) > best


def test_rls_optimum_is_stationary():
  logits = jnp.log(jnp.asarray(three.rl_optimum()))
  gradient = jax.grad(
    lambda z: three.regularized_reward(jax.nn.log_softmax(z))
  )(logits)
  np.testing.assert_allclose(gradient, np.zeros(3), atol=1e-6)


def test_rl_comes_near_its_optimum_from_above():
  best = _loss("RL", three.rl_optimum())
  for end in three.train(three.LOSSES["RL"], 3)[:, -1]:
    assert best < _loss("RL", end) < best + 1e-3


def test_ipo_moves_two_logits_to_its_margin_and_leaves_the_third():
  paths = three.train(three.LOSSES["IPO"], 3)
  logits = np.stack(
    [jax.random.normal(jax.random.key(s), (3,)) for s in range(3)]
  ).astype(np.float64)
  middle = logits[:, :2].mean(axis=1)
  half = 1 / (2 * three.IPO_BETA) / 2
  expected = np.exp(
    np.stack([middle + half, middle - half, logits[:, 2]], axis=1)
  )
  expected /= expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(paths[:, -1], expected, atol=2e-3)


def test_dpo_empties_the_losing_action():
  ends = three.train(three.LOSSES["DPO"], 3)[:, -1]
  assert (ends[:, 1] < 1e-6).all()
