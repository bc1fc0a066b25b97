"""Functions of one compiled batch, applied to any number of rows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from rlhf_gap.token_ids import PAD_ID

# Few widths, so that few programs are compiled.
_MULTIPLE = 8


@dataclasses.dataclass(frozen=True)
class Batches:
  """Applies functions to rows, `size` at a time.

  Attributes:
    size: rows of a batch; the last one is filled up, so that one compiled
      program serves all.
    report: is told of how many rows have been done, a batch at a time.
  """

  size: int
  report: Callable[[int], object]

  def map(self, function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Returns `function` of all rows.

    Args:
      function: maps JAX arrays [size, ...] to a tree of arrays [size, ...]; a
        row of the result is that of the arguments' row alone.
      *arrays: [rows, ...] each, at least one row.

    Returns:
      The tree, of NumPy arrays [rows, ...].
    """
    rows = len(arrays[0])
    parts = []
    for start in range(0, rows, self.size):
      part = [array[start : start + self.size] for array in arrays]
      real = len(part[0])
      result = function(*(jnp.asarray(self._filled(x)) for x in part))
      parts.append(jax.tree.map(lambda x, n=real: np.asarray(x)[:n], result))
      self.report(real)
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)

  def _filled(self, array: np.ndarray) -> np.ndarray:
    # Repeated rows, not empty ones: nothing attends to no token at all.
    widths = [(0, self.size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths, mode="edge")


def without_padding(
  tokens: Int[np.ndarray, "rows length"],
) -> Int[np.ndarray, "rows shorter"]:
  """Drops the last columns that are pads (0) in every row.

  Windows are made for the longest prompt of a data set; an encoder's work grows
  with them.

  Args:
    tokens: token ids, padded on the right.

  Returns:
    Their first columns: a multiple of 8 of them, or all.
  """
  used = int((tokens > PAD_ID).sum(axis=1).max())
  return tokens[:, : -(-used // _MULTIPLE) * _MULTIPLE]
