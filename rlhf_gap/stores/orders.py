"""The rows of batch `step`: pure functions of (order, seed, step).

There is no state between batches and no stored permutation, so step 10^9 costs
the same as step 0, and a restart needs no iterator state.
"""

import dataclasses

import numpy as np

from rlhf_gap.stores import permutation

# The word after the seed in a permutation's key, different for each use.
_EPOCH, _BATCHES_OF_BLOCK, _EXAMPLES_OF_BLOCK = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Epochs:
  """Every row once per epoch, endlessly; each epoch has its own permutation.

  Batches are always full: one that reaches the end of an epoch continues with
  the next.
  """


@dataclasses.dataclass(frozen=True)
class Exact:
  """The stored order, once; rows after the last full batch are not read."""


@dataclasses.dataclass(frozen=True)
class Blocks:
  """The stored order, once, permuted within blocks of consecutive batches.

  The rows of batch t come from the block of batch t, so a row moves by fewer
  than `block_batches` batches. The rows read are exactly those of `Exact`.

  Attributes:
    block_batches: batches per block, >= 1. 1 keeps the stored order; None makes
      the whole store one block, a uniform permutation.
    unit: what is permuted: "batch" keeps each stored batch together, "example"
      redistributes the block's rows over its batches.
  """

  block_batches: int | None
  unit: str = "example"

  def __post_init__(self) -> None:
    if self.block_batches is not None and self.block_batches < 1:
      raise ValueError(f"block_batches is {self.block_batches}; expected >= 1")
    if self.unit not in ("batch", "example"):
      raise ValueError(f"unit is {self.unit!r}; expected 'batch' or 'example'")


Order = Epochs | Exact | Blocks


def num_batches(order: Order, num_rows: int, batch_size: int) -> int | None:
  """Returns the number of batches of an order; None if it is endless."""
  return None if isinstance(order, Epochs) else num_rows // batch_size


def rows(
  order: Order, seed: int, step: int, *, num_rows: int, batch_size: int
) -> np.ndarray:
  """Returns the rows of batch `step`.

  Args:
    order: the order of the rows.
    seed: determines the permutations, in [0, 2^64); `Exact` ignores it.
    step: the batch's number, from 0.
    num_rows: rows in the store, >= 1.
    batch_size: rows in a batch, >= 1.

  Returns:
    int64 [batch_size], row numbers in the store.

  Raises:
    ValueError: an argument is out of range.
    IndexError: the order has ended before `step`.
  """
  if not 0 <= seed < 1 << 64:
    raise ValueError(f"seed is {seed}; expected 0 to 2^64 - 1")
  if step < 0 or batch_size < 1 or num_rows < 1:
    raise ValueError(
      f"{step=}, {batch_size=}, {num_rows=}; expected >= 0, 1, 1"
    )
  end = num_batches(order, num_rows, batch_size)
  if end is not None and step >= end:
    raise IndexError(
      f"batch {step} is out of range: {order} has {end} batches of"
      f" {batch_size} from {num_rows} rows"
    )
  first = step * batch_size
  if isinstance(order, Epochs):
    return _epoch_rows(first, batch_size, num_rows, seed)
  if isinstance(order, Exact) or order.block_batches == 1:
    return np.arange(first, first + batch_size, dtype=np.int64)
  return _block_rows(order, seed, step, num_rows // batch_size, batch_size)


def _epoch_rows(
  first: int, batch_size: int, num_rows: int, seed: int
) -> np.ndarray:
  parts = []
  while batch_size > 0:
    epoch, position = divmod(first, num_rows)
    count = min(batch_size, num_rows - position)
    positions = np.arange(position, position + count, dtype=np.int64)
    parts.append(
      permutation.permute(positions, num_rows, (seed, _EPOCH, epoch))
    )
    first, batch_size = first + count, batch_size - count
  return np.concatenate(parts)


def _block_rows(
  order: Blocks, seed: int, step: int, batches: int, batch_size: int
) -> np.ndarray:
  length = min(order.block_batches or batches, batches)
  block, within = divmod(step, length)
  start = block * length
  length = min(length, batches - start)
  row = np.arange(batch_size, dtype=np.int64)
  if order.unit == "batch":
    key = (seed, _BATCHES_OF_BLOCK, block)
    batch = permutation.permute(np.array([within]), length, key)
    return (start + batch) * batch_size + row
  key = (seed, _EXAMPLES_OF_BLOCK, block)
  positions = within * batch_size + row
  return start * batch_size + permutation.permute(
    positions, length * batch_size, key
  )
