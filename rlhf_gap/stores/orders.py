"""Which rows batch `step` holds: pure functions of (order, seed, step).

Nothing is carried from batch to batch and no epoch's permutation is stored, so
step 10^9 costs what step 0 costs, and a restart needs no iterator state.
"""

import dataclasses

import numpy as np

from rlhf_gap.stores import permutation

# The first word after the seed keeps the permutations of one use apart from
# those of another.
_EPOCH, _BATCHES_OF_BLOCK, _EXAMPLES_OF_BLOCK = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Epochs:
  """Every row once an epoch, each epoch in an order of its own; endless.

  Batches are always full: one that reaches the end of an epoch goes on into the
  next epoch's order.
  """


@dataclasses.dataclass(frozen=True)
class Exact:
  """As stored, once; rows left over after the last full batch are not read."""


@dataclasses.dataclass(frozen=True)
class Blocks:
  """As stored, permuted within blocks of consecutive batches; once.

  Batch t of the result is made of rows that the store holds in the block of
  batch t, so a row moves by fewer than `block_batches` batches. The rows read
  are exactly those of `Exact`.

  Attributes:
    block_batches: batches in a block, >= 1. 1 is the stored order itself; None
      is one block for the whole store, a uniform permutation.
    unit: what is permuted: "batch" keeps each stored batch together, "example"
      deals the block's rows into new batches.
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
  """Returns how many batches an order gives; None: no end."""
  return None if isinstance(order, Epochs) else num_rows // batch_size


def rows(
  order: Order, seed: int, step: int, *, num_rows: int, batch_size: int
) -> np.ndarray:
  """Returns the rows of batch `step`.

  Args:
    order: in which order rows are taken.
    seed: chooses the permutations, in [0, 2^64); `Exact` does not use it.
    step: the batch, from 0.
    num_rows: rows in the store, >= 1.
    batch_size: rows in a batch, >= 1.

  Returns:
    int64 [batch_size], rows of the store.

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
      f"{order} ends after {end} batches of {batch_size} from {num_rows}"
      f" rows; batch {step} was asked for"
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
