"""The linear map and its gradient against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.ops import linear


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (2, 1, 3)])
def test_product_and_gradients(batch):
  generator = np.random.default_rng(0)
  x, kernel, cotangent = (
    generator.normal(size=shape).astype(np.float32)
    for shape in ((*batch, 4), (4, 6), (*batch, 6))
  )
  product, pull = jax.vjp(linear.project, jnp.asarray(x), jnp.asarray(kernel))
  x_gradient, kernel_gradient = pull(jnp.asarray(cotangent))
  rows, columns = x.reshape(-1, 4), cotangent.reshape(-1, 6)
  for ours, expected in (
    (product, x @ kernel),
    (x_gradient, cotangent @ kernel.T),
    (kernel_gradient, rows.T @ columns),
  ):
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
