"""Applies compiled functions to any number of rows, in batches."""

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
    size: rows per batch. The last batch is padded to this size, so that one
      compiled program serves all.
    report: called with the number of rows done, after each batch.
  """

  size: int
  report: Callable[[int], object]

  def map(self, function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Applies a function to all rows.

    Args:
      function: maps JAX arrays [size, ...] to a tree of arrays [size, ...].
        Each row of the result depends only on the same row of the arguments.
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
    # Padded with repeated rows, because attention over no tokens is undefined.
    widths = [(0, self.size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths, mode="edge")


def without_padding(
  tokens: Int[np.ndarray, "rows length"],
) -> Int[np.ndarray, "rows shorter"]:
  """Drops trailing columns that are padding (0) in every row.

  Stores are as wide as the longest prompt of a data set, and the encoder's work
  grows with the width.

  Args:
    tokens: token ids, padded on the right.

  Returns:
    Their first columns; the number is a multiple of 8, or all.
  """
  used = int((tokens > PAD_ID).sum(axis=1).max())
  return tokens[:, : -(-used // _MULTIPLE) * _MULTIPLE]
