"""One update: microbatches, numbers that are none, batches without weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.batches import ResponseBatch
from rlhf_gap.training import optimizers, step

ROWS = 6
OPTIMIZER = optimizers.adamw(lambda count: 0.1 / (1 + count))


def _squares(params, batch, key):
  """Each row's squared distance to its first token, weighted."""
  del key
  distance = params["x"] - batch.response[:, 0].astype(jnp.float32)
  loss = (batch.weight * distance**2).sum()
  return loss, {"loss": loss, "weight": batch.weight.sum()}


def _batch(weight):
  tokens = jnp.arange(ROWS * 2).reshape(ROWS, 2)
  return ResponseBatch(
    prompt=tokens,
    response=tokens,
    weight=jnp.asarray(weight, jnp.float32),
  )


def _state(x=1.5):
  return step.init({"x": jnp.float32(x)}, OPTIMIZER)


def _one(state, batch, **settings):
  return step.train_step(
    state, batch, objective=_squares, optimizer=OPTIMIZER, **settings
  )


def test_an_update_is_the_optimizers_on_the_mean_gradient():
  weight = np.array([1, 2, 0, 1, 0.5, 1])
  state, metrics = _one(_state(), _batch(weight))
  first = np.arange(ROWS) * 2.0
  slope = (weight * 2 * (1.5 - first)).sum() / weight.sum()
  loss = (weight * (1.5 - first) ** 2).sum() / weight.sum()
  assert float(metrics.means["loss"]) == pytest.approx(loss, rel=1e-6)
  assert float(metrics.gradient_norm) == pytest.approx(abs(slope), rel=1e-6)
  assert float(metrics.weight) == weight.sum()
  # Adam's first step is the rate in the gradient's direction.
  assert float(state.params["x"]) == pytest.approx(
    1.5 - 0.1 * np.sign(slope), rel=1e-6
  )
  assert int(state.step) == 1


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_microbatches_make_the_same_update(parts):
  """Also where their weights are uneven."""
  batch = _batch([1, 0, 0, 3, 1, 0.5])
  whole = _one(_state(), batch)
  split = _one(_state(), batch, num_microbatches=parts)
  for mine, theirs in zip(
    jax.tree.leaves(split), jax.tree.leaves(whole), strict=True
  ):
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_changes_nothing(bad):
  state, _ = _one(_state(), _batch(np.ones(ROWS)))
  kept, metrics = _one(state, _batch([1, 1, bad, 1, 1, 1]))
  assert not bool(metrics.is_finite)
  for mine, theirs in zip(
    jax.tree.leaves(kept), jax.tree.leaves(state), strict=True
  ):
    np.testing.assert_array_equal(mine, theirs)


def test_a_batch_without_weight_has_no_gradient():
  state, metrics = _one(_state(), _batch(np.zeros(ROWS)))
  assert bool(metrics.is_finite)
  assert float(metrics.gradient_norm) == 0
  assert float(state.params["x"]) == 1.5
  assert int(state.step) == 1


def test_dropout_has_another_key_at_every_step_and_microbatch():
  seen = []

  def objective(params, batch, key):
    drawn = jax.random.uniform(key)
    loss = params["x"] * 0
    return loss, {"loss": drawn * len(batch.weight), "weight": jnp.float32(1)}

  state = _state()
  for _ in range(3):
    state, metrics = step.train_step(
      state,
      _batch(np.ones(ROWS)),
      objective=objective,
      optimizer=OPTIMIZER,
      dropout_key=jax.random.key(0),
    )
    seen.append(float(metrics.means["loss"]))
  assert len(set(seen)) == 3
