"""Arrays that lie on the devices of several processes, made whole."""

import functools
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

from rlhf_gap.processes import joining

Tree = TypeVar("Tree")


def gathered(tree: Tree) -> Tree:
  """Makes arrays whole on every device, so that each process may read them.

  A collective operation: every process must call it, for the same arrays, on
  the run's mesh (`partitioning.active`). It does not wait for the result.

  Args:
    tree: arrays spread over the devices of all processes.

  Returns:
    The same values; the same arrays where the run has one process.
  """
  if joining.count() == 1:
    return tree
  return _replicate()(tree)


@functools.cache
def _replicate() -> Any:
  return jax.jit(lambda tree: tree, out_shardings=PartitionSpec())
