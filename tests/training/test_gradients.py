"""A batch in parts has the sums and the gradient of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.training import gradients

WEIGHTS = jnp.arange(6.0).reshape(2, 3)
BATCH = {
  "x": jax.random.normal(jax.random.key(0), (12, 2)),
  "weight": jnp.arange(12.0) / 4,
}


def _objective(params, batch, key):
  """Weighted squares; the other sum is the weight. A key scales the loss."""
  outputs = jnp.square(batch["x"] @ params).sum(-1)
  if key is not None:
    outputs = outputs * jax.random.uniform(key)
  return (outputs * batch["weight"]).sum(), {"weight": batch["weight"].sum()}


@pytest.mark.parametrize("num_microbatches", [1, 2, 3, 12])
def test_sums_and_gradients_add_up(num_microbatches):
  (total, sums), gradient = gradients.sum_and_gradient(
    _objective, WEIGHTS, BATCH, num_microbatches=num_microbatches
  )
  x, w = np.float64(BATCH["x"]), np.float64(BATCH["weight"])
  y = x @ np.float64(WEIGHTS)
  assert float(total) == pytest.approx((y**2).sum(-1) @ w, rel=1e-5)
  assert float(sums["weight"]) == pytest.approx(w.sum())
  expected = 2 * x.T @ (y * w[:, None])
  np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_rows_are_dealt_out_like_cards():
  """Microbatch i of 3 sees the rows i, i + 3, i + 6, i + 9."""

  def objective(params, batch, _):
    first = batch["row"][0].astype(jnp.float32)
    return params * first, {"powers": (2.0 ** batch["row"]).sum() * first}

  batch = {"row": jnp.arange(12)}
  (_, sums), _ = gradients.sum_and_gradient(
    objective, jnp.float32(1), batch, num_microbatches=3
  )
  powers = [sum(2.0**r for r in range(i, 12, 3)) * i for i in range(3)]
  assert float(sums["powers"]) == sum(powers)


def test_each_microbatch_has_its_own_dropout_key():
  key = jax.random.key(5)
  (total, _), _ = gradients.sum_and_gradient(
    _objective, WEIGHTS, BATCH, dropout_key=key, num_microbatches=2
  )
  expected = 0.0
  for number in range(2):
    part = jax.tree.map(lambda x, n=number: x[n::2], BATCH)
    part_key = jax.random.fold_in(key, number)
    expected += float(_objective(WEIGHTS, part, part_key)[0])
  assert float(total) == pytest.approx(expected, rel=1e-5)


def test_rows_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match="12 rows.* 5 microbatches"):
    gradients.sum_and_gradient(_objective, WEIGHTS, BATCH, num_microbatches=5)
