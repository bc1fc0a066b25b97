"""Orders: the rows of each batch."""

import numpy as np
import pytest

from rlhf_gap import stores

_ROWS, _BATCH = 23, 5


def _rows(order: stores.Order, step: int, seed: int = 3) -> np.ndarray:
  return stores.rows(order, seed, step, num_rows=_ROWS, batch_size=_BATCH)


def _stream(order: stores.Order, steps: int, seed: int = 3) -> np.ndarray:
  return np.concatenate([_rows(order, step, seed) for step in range(steps)])


def test_epochs_hold_every_row_once_and_run_on_across_batches():
  stream = _stream(stores.Epochs(), 2 * _ROWS)
  epochs = stream[: 10 * _ROWS].reshape(10, _ROWS)
  np.testing.assert_array_equal(
    np.sort(epochs), np.tile(np.arange(_ROWS), (10, 1))
  )
  assert len({tuple(epoch) for epoch in epochs.tolist()}) == 10


def test_epochs_depend_on_the_seed():
  stream = _stream(stores.Epochs(), 4, seed=3)
  np.testing.assert_array_equal(stream, _stream(stores.Epochs(), 4, seed=3))
  assert (stream != _stream(stores.Epochs(), 4, seed=4)).any()


def test_a_batch_may_be_larger_than_the_store():
  batch = stores.rows(stores.Epochs(), 0, 1, num_rows=3, batch_size=7)
  # Rows 7 to 13 of the endless stream: epochs 2, 3 and the first of 4.
  assert sorted(batch[2:5]) == [0, 1, 2]


def test_a_far_batch_is_computed_without_those_before_it():
  # An iterator with state could not get to this step.
  far = stores.rows(stores.Epochs(), 1, 10**15, num_rows=10**6, batch_size=32)
  assert len(set(far.tolist())) == 32
  assert 0 <= far.min() <= far.max() < 10**6


def test_exact_order_is_the_stored_order():
  assert _stream(stores.Exact(), 4).tolist() == list(range(20))


@pytest.mark.parametrize("unit", ["batch", "example"])
def test_blocks_of_one_batch_are_the_stored_order(unit: str):
  order = stores.Blocks(1, unit)
  np.testing.assert_array_equal(_stream(order, 4), np.arange(20))


@pytest.mark.parametrize("unit", ["batch", "example"])
@pytest.mark.parametrize("block", [2, 3, 4, 100, None])
def test_blocks_keep_rows_within_their_block(block: int | None, unit: str):
  steps = _ROWS // _BATCH
  batches = _stream(stores.Blocks(block, unit), steps).reshape(steps, _BATCH)
  length = min(block or steps, steps)
  for start in range(0, steps, length):
    end = min(start + length, steps)
    assert sorted(batches[start:end].ravel()) == list(
      range(start * _BATCH, end * _BATCH)
    )


def test_permuting_batches_keeps_each_batch_together():
  order = stores.Blocks(None, "batch")
  first = [
    stores.rows(order, 5, step, num_rows=80, batch_size=4) for step in range(20)
  ]
  for batch in first:
    assert batch.tolist() == list(range(batch[0], batch[0] + 4))
  assert [batch[0] for batch in first] != list(range(0, 80, 4))


def test_permuting_examples_mixes_batches():
  order = stores.Blocks(10, "example")
  batch = stores.rows(order, 5, 0, num_rows=400, batch_size=20)
  assert len(set(batch // 20)) > 3


def test_one_block_for_the_whole_store_is_uniform():
  # Row 0's place over many seeds: each of 20 places about 20 times of 400.
  places = np.zeros(20, int)
  for seed in range(400):
    stream = _stream(stores.Blocks(None, "example"), 4, seed)
    places[np.flatnonzero(stream == 0)[0]] += 1
  chi_squared = np.sum((places - 20) ** 2 / 20)
  assert chi_squared < 19 + 5 * np.sqrt(2 * 19)


@pytest.mark.parametrize("unit", ["batch", "example"])
def test_two_blocks_differ(unit: str):
  order = stores.Blocks(500, unit)
  batches = [
    stores.rows(order, 0, step, num_rows=1_000, batch_size=1)
    for step in range(1_000)
  ]
  first, second = np.concatenate(batches).reshape(2, 500) % 500
  assert np.mean(first == second) < 0.02


@pytest.mark.parametrize("order", [stores.Exact(), stores.Blocks(2)])
def test_an_order_that_ends_says_so(order: stores.Order):
  assert stores.num_batches(order, _ROWS, _BATCH) == 4
  with pytest.raises(IndexError, match="has 4 batches"):
    _rows(order, 4)


def test_epochs_do_not_end():
  assert stores.num_batches(stores.Epochs(), _ROWS, _BATCH) is None


@pytest.mark.parametrize(
  ("seed", "step", "num_rows", "batch_size"),
  [(-1, 0, 5, 2), (2**64, 0, 5, 2), (0, -1, 5, 2), (0, 0, 0, 2), (0, 0, 5, 0)],
)
def test_refuses_arguments_out_of_range(
  seed: int, step: int, num_rows: int, batch_size: int
):
  with pytest.raises(ValueError, match="expected"):
    stores.rows(
      stores.Epochs(), seed, step, num_rows=num_rows, batch_size=batch_size
    )


@pytest.mark.parametrize(("block", "unit"), [(0, "batch"), (2, "rows")])
def test_refuses_blocks_that_mean_nothing(block: int, unit: str):
  with pytest.raises(ValueError, match="expected"):
    stores.Blocks(block, unit)
