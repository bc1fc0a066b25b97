"""Batches of one shape, whatever the number of rows."""

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.evaluation import batches


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_all_rows_in_batches_of_one_shape(rows):
  seen, shapes = [], set()
  one = np.arange(rows * 2).reshape(rows, 2)
  other = np.arange(rows, dtype=np.float32)

  def function(x, y):
    shapes.add((x.shape, y.shape))
    return {"sum": x.sum(axis=1), "both": (x, jnp.sqrt(y))}

  found = batches.Batches(4, seen.append).map(function, one, other)
  assert shapes == {((4, 2), (4,))}
  assert sum(seen) == rows
  np.testing.assert_array_equal(found["sum"], one.sum(axis=1))
  np.testing.assert_array_equal(found["both"][0], one)
  np.testing.assert_allclose(found["both"][1], np.sqrt(other), rtol=1e-6)


@pytest.mark.parametrize(
  ("length", "used", "kept"),
  [(48, 9, 16), (48, 16, 16), (10, 9, 10), (48, 48, 48), (4, 1, 4)],
)
def test_columns_of_pads_are_dropped(length, used, kept):
  tokens = np.zeros((3, length), np.int32)
  tokens[1, :used] = 5
  tokens[2, 0] = 6
  shorter = batches.without_padding(tokens)
  np.testing.assert_array_equal(shorter, tokens[:, :kept])
