"""Gathering arrays that are sharded over the devices of several processes."""

import functools
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

from rlhf_gap.processes import joining

Tree = TypeVar("Tree")


def gathered(tree: Tree) -> Tree:
  """Replicates arrays on every device, so that every process can read them.

  This is a collective operation: every process must call it with the same
  arrays, with the run's mesh active (`partitioning.active`). It does not wait
  for the result.

  Args:
    tree: arrays sharded over the devices of all processes.

  Returns:
    The replicated arrays; `tree` itself if the run has a single process.
  """
  if joining.count() == 1:
    return tree
  return _replicate()(tree)


@functools.cache
def _replicate() -> Any:
  return jax.jit(lambda tree: tree, out_shardings=PartitionSpec())
