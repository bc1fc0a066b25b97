"""A checkpoint in storage: names, shapes and functions that read its arrays.

Every reader returns a `StoredCheckpoint` and every writer takes one. Arrays are
read on demand, one array or slice at a time, so that at most one copy of the
parameters is in memory.
"""

import concurrent.futures
import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from rlhf_gap import progress
from rlhf_gap.models import t5

Index = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class StoredArray:
  """An array in storage.

  Attributes:
    shape: its shape.
    dtype: its type as stored; may be bfloat16.
    read: function from a tuple of slices to the part that they select.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[Index], np.ndarray]

  def read_all(self) -> np.ndarray:
    """Returns the whole array."""
    return self.read((slice(None),) * len(self.shape))

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.shape)

  @property
  def nbytes(self) -> int:
    """Size of the whole array in bytes."""
    return self.size * self.dtype.itemsize

  def transposed(self) -> "StoredArray":
    """Returns the transpose of a matrix, also read on demand."""

    def read(index: Index) -> np.ndarray:
      return np.ascontiguousarray(self.read(index[::-1]).T)

    return StoredArray(self.shape[::-1], self.dtype, read)

  def astype(self, name: str) -> "StoredArray":
    """Returns the array, cast to "float32" or "bfloat16" while reading."""
    dtype = np.dtype(jax.numpy.dtype(name))

    def read(index: Index) -> np.ndarray:
      return self.read(index).astype(dtype, copy=False)

    return StoredArray(self.shape, dtype, read)


@dataclasses.dataclass(frozen=True)
class StoredCheckpoint:
  """The content of a checkpoint's folder.

  Attributes:
    format: "t5x", "t5x_orbax", "hf", or "memory" for arrays in memory.
    config: the architecture.
    step: training step; 0 if the format has none.
    arrays: parameters by T5X's name, "encoder/layers_0/.../kernel".
    optimizer_arrays: optimizer state by T5X's name below `state/param_states`,
      "encoder/.../kernel/v_row"; empty if there is none.
    notes: assumptions that the reader made, one sentence each.
  """

  format: str
  config: t5.T5Config
  step: int
  arrays: Mapping[str, StoredArray]
  optimizer_arrays: Mapping[str, StoredArray] = dataclasses.field(
    default_factory=dict
  )
  notes: tuple[str, ...] = ()

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays, uncompressed."""
    return sum(array.nbytes for array in self.all_arrays().values())

  def all_arrays(self) -> dict[str, StoredArray]:
    """Returns every array by its full T5X name, "target/..." or "state/..."."""
    target = {f"target/{name}": a for name, a in self.arrays.items()}
    states = {
      f"state/param_states/{name}": a
      for name, a in self.optimizer_arrays.items()
    }
    return {**target, **states}

  def map(
    self, function: Callable[[str, StoredArray], StoredArray]
  ) -> "StoredCheckpoint":
    """Returns the checkpoint with `function(full name, array)` applied."""
    return dataclasses.replace(
      self,
      arrays={
        name: function(f"target/{name}", array)
        for name, array in self.arrays.items()
      },
      optimizer_arrays={
        name: function(f"state/param_states/{name}", array)
        for name, array in self.optimizer_arrays.items()
      },
    )


def of_array(array: Any) -> StoredArray:
  """Wraps an array in memory (NumPy or JAX)."""

  def read(index: Index) -> np.ndarray:
    return np.asarray(array[index] if index else array)

  return StoredArray(tuple(array.shape), np.dtype(array.dtype), read)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {"a/b/c": leaf} of nested dictionaries."""
  flat: dict[str, Any] = {}
  for key, value in tree.items():
    name = f"{prefix}{key}"
    if isinstance(value, Mapping):
      flat.update(flatten(value, f"{name}/"))
    else:
      flat[name] = value
  return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the nested dictionaries of {"a/b/c": leaf}."""
  tree: dict[str, Any] = {}
  for name, value in flat.items():
    *folders, last = name.split("/")
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
    node[last] = value
  return tree


def for_each(
  arrays: Mapping[str, StoredArray],
  what: str,
  function: Callable[[str, StoredArray], Any],
) -> dict[str, Any]:
  """Calls `function(name, array)` for every array, in up to 4 threads.

  There is at most one thread per core: most of the time goes into
  decompression, and more arrays at a time would only take more memory.

  Args:
    arrays: the arrays by name.
    what: the activity, for the progress bar.
    function: called once per array.

  Returns:
    The results by name, in the order of `arrays`.
  """
  total = sum(array.nbytes for array in arrays.values())
  workers = min(4, os.cpu_count() or 1)
  with (
    progress.bar(what, total, "B") as bar,
    concurrent.futures.ThreadPoolExecutor(workers) as pool,
  ):
    futures = {
      pool.submit(function, name, array): name for name, array in arrays.items()
    }
    results = {}
    try:
      for future in concurrent.futures.as_completed(futures):
        results[futures[future]] = future.result()
        bar.update(arrays[futures[future]].nbytes)
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return {name: results[name] for name in arrays}


def digest(array: np.ndarray) -> str:
  """Returns a hash of an array's type, shape and bits."""
  hashed = hashlib.blake2b(
    f"{array.dtype}{array.shape}".encode(), digest_size=16
  )
  hashed.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
  return hashed.hexdigest()


def with_digests(
  checkpoint: StoredCheckpoint,
) -> tuple[StoredCheckpoint, dict[str, str]]:
  """Makes a checkpoint record a digest of each array when it is read.

  Args:
    checkpoint: the checkpoint to be written.

  Returns:
    The same checkpoint, and a dictionary by full name. Reading an array as a
    whole adds its digest to the dictionary.
  """
  digests: dict[str, str] = {}

  def noted(name: str, array: StoredArray) -> StoredArray:
    def read(index: Index) -> np.ndarray:
      part = array.read(index)
      if part.shape == array.shape:
        digests[name] = digest(part)
      return part

    return StoredArray(array.shape, array.dtype, read)

  return checkpoint.map(noted), digests


def to_device(
  array: StoredArray, sharding: jax.sharding.Sharding | None
) -> jax.Array:
  """Reads an array onto devices, shard by shard.

  Args:
    array: the array to read.
    sharding: its placement; None for the default device.

  Returns:
    The array. Each host reads only its devices' slices, and a slice that
    several devices hold only once.
  """
  if sharding is None:
    return jax.device_put(array.read_all())
  parts: dict[tuple[tuple[int, int, int], ...], np.ndarray] = {}

  def read(index: Index | None) -> np.ndarray:
    index = index or ()
    sizes = array.shape
    key = tuple(s.indices(n) for s, n in zip(index, sizes, strict=True))
    if key not in parts:
      parts[key] = array.read(index)
    return parts[key]

  return jax.make_array_from_callback(array.shape, sharding, read)
