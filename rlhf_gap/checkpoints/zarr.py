"""Zarr arrays as T5X and Orbax lay them out, through TensorStore."""

import math
from typing import Any

import numpy as np
import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.checkpoints import files, metadata, stored

_METADATA_FILES = {"zarr": ".zarray", "zarr3": "zarr.json"}


def array(
  spec: dict[str, Any],
  name: str,
  path: str,
  expected: tuple[tuple[int, ...], np.dtype] | None = None,
) -> stored.StoredArray:
  """Returns the array that a TensorStore spec describes, not yet read.

  Args:
    spec: driver and key-value store.
    name: the array's name, for messages.
    path: the checkpoint, for messages.
    expected: shape and type that the checkpoint's index tells, if it does; the
      array is then opened when it is first read.

  Returns:
    The array.

  Raises:
    UserError: now or when it is read: the array is missing, damaged, or
      contradicts the index.
  """

  def opened() -> ts.TensorStore:
    try:
      kvstore = ts.KvStore.open(spec["kvstore"]).result()
      own = kvstore.read(_METADATA_FILES[spec["driver"]]).result()
      if own.state == "value":  # TensorStore itself says that it is missing
        metadata.check_zarr(own.value, spec["driver"], f"{path}: array {name}")
      return ts.open(spec, open=True).result()
    except files.TENSORSTORE_ERRORS as error:
      raise errors.UserError(
        f"{path}: array {name} cannot be opened"
        f" ({files.first_line(error)}); the checkpoint is incomplete, copy it"
        " again"
      ) from error

  if expected is None:
    found = opened()
    shape, dtype = tuple(found.shape), np.dtype(found.dtype.numpy_dtype)
  else:
    shape, dtype = expected

  def read(index: stored.Index) -> np.ndarray:
    source = opened()
    if source.shape != shape or source.dtype.numpy_dtype != dtype:
      raise errors.UserError(
        f"{path}: array {name} is {source.dtype.name}{source.shape}, but the"
        f" index says {dtype}{shape}; files of two checkpoints are mixed"
      )
    part = source[index] if index else source
    chunk = math.prod(n or 1 for n in part.chunk_layout.read_chunk.shape or ())
    needed = max(math.prod(part.shape), chunk) * dtype.itemsize
    local_files.check_fits_memory(needed, f"{path}: array {name}")
    try:
      return part.read().result()
    except files.TENSORSTORE_ERRORS as error:
      raise errors.UserError(
        f"{path}: array {name} is damaged ({files.first_line(error)}); a"
        " chunk is missing or cut short, copy the checkpoint again"
      ) from error

  return stored.StoredArray(shape, dtype, read)


def of_tree(tree: dict[str, Any], path: str) -> dict[str, stored.StoredArray]:
  """Returns {"a/b/c": array} of nested TensorStore specs and inline arrays.

  Args:
    tree: nested dictionaries whose leaves are arrays or specs whose key-value
      store is relative to `path`.
    path: the checkpoint.

  Returns:
    The arrays by name; empty leaves are left out.
  """
  arrays: dict[str, stored.StoredArray] = {}
  for name, node in metadata.leaves(tree, path).items():
    if isinstance(node, metadata.Leaf):
      arrays[name] = _of_leaf(node, name, path)
    else:
      arrays[name] = stored.of_array(node)
  return arrays


def _of_leaf(leaf: metadata.Leaf, name: str, path: str) -> stored.StoredArray:
  # The index says where the array was written, which may be another folder or
  # bucket; the array is read from beside the index, wherever that is now.
  folder = (leaf.kvstore.path or leaf.path).strip("/").split("/")[-1]
  local_files.inside(path, folder, f"{path}: the leaf {name} of its index")
  base = files.kvstore(path)
  spec = {
    "driver": leaf.driver,
    "kvstore": {**base, "path": f"{base['path']}{folder}/"},
    # A missing chunk is damage, never zeros: T5X stores zeros as well.
    "fill_missing_data_reads": False,
  }
  try:
    dtype = np.dtype(ts.dtype(leaf.dtype).numpy_dtype)
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"{path}: array {name} is of the unknown type {leaf.dtype!r}; the index"
      " is damaged"
    ) from error
  shape = tuple(leaf.metadata.shape)
  metadata.check_size(shape, dtype.itemsize, f"{path}: array {name}")
  return array(spec, name, path, (shape, dtype))
