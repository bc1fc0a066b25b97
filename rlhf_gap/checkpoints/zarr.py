"""Reads the zarr arrays of T5X and Orbax through TensorStore."""

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
    expected: shape and type by the checkpoint's index, if it has them. The
      array is then opened when it is first read.

  Returns:
    The array.

  Raises:
    UserError: now or on reading, if the array is missing, damaged, or
      contradicts the index.
  """

  def open_array() -> ts.TensorStore:
    try:
      kvstore = ts.KvStore.open(spec["kvstore"]).result()
      result = kvstore.read(_METADATA_FILES[spec["driver"]]).result()
      if result.state == "value":  # otherwise TensorStore reports it below
        place = f"{path}: array {name}"
        metadata.check_zarr(result.value, spec["driver"], place)
      return ts.open(spec, open=True).result()
    except files.TENSORSTORE_ERRORS as error:
      raise errors.UserError(
        f"{path}: array {name} cannot be opened"
        f" ({files.first_line(error)}); the checkpoint is incomplete: copy it"
        " again"
      ) from error

  if expected is None:
    probe = open_array()
    shape, dtype = tuple(probe.shape), np.dtype(probe.dtype.numpy_dtype)
  else:
    shape, dtype = expected

  def read(index: stored.Index) -> np.ndarray:
    source = open_array()
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
        " chunk is missing or cut short: copy the checkpoint again"
      ) from error

  return stored.StoredArray(shape, dtype, read)


def of_tree(tree: dict[str, Any], path: str) -> dict[str, stored.StoredArray]:
  """Flattens T5X's nested specs and inline arrays to {"a/b/c": array}.

  Args:
    tree: nested dictionaries. A leaf is an array, or a spec whose key-value
      store is relative to `path`.
    path: the checkpoint.

  Returns:
    The arrays by name, without empty leaves.
  """
  arrays: dict[str, stored.StoredArray] = {}
  for name, node in metadata.leaves(tree, path).items():
    if isinstance(node, metadata.Leaf):
      arrays[name] = _of_leaf(node, name, path)
    else:
      arrays[name] = stored.of_array(node)
  return arrays


def _of_leaf(leaf: metadata.Leaf, name: str, path: str) -> stored.StoredArray:
  # The index may name the folder or bucket of the original; after a copy, the
  # array is beside the index.
  folder = (leaf.kvstore.path or leaf.path).strip("/").split("/")[-1]
  local_files.inside(path, folder, f"{path}: the leaf {name} of its index")
  base = files.kvstore(path)
  spec = {
    "driver": leaf.driver,
    "kvstore": {**base, "path": f"{base['path']}{folder}/"},
    # T5X stores zeros too, so a missing chunk is damage.
    "fill_missing_data_reads": False,
  }
  try:
    dtype = np.dtype(ts.dtype(leaf.dtype).numpy_dtype)
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"{path}: array {name} has the unknown type {leaf.dtype!r}; the index"
      " is damaged"
    ) from error
  shape = tuple(leaf.metadata.shape)
  metadata.check_size(shape, dtype.itemsize, f"{path}: array {name}")
  return array(spec, name, path, (shape, dtype))
