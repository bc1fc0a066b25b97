"""Zarr arrays as T5X and Orbax lay them out, through TensorStore."""

from typing import Any

import numpy as np
import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap.checkpoints import files, stored


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
      return ts.open(spec, open=True).result()
    except (ValueError, OSError) as error:
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
    try:
      return source[index].read().result() if index else source.read().result()
    except (ValueError, OSError) as error:
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

  def visit(node: Any, name: str) -> None:
    if isinstance(node, dict) and "driver" in node and "kvstore" in node:
      arrays[name] = _of_spec(node, name, path)
    elif isinstance(node, dict):
      for key, value in node.items():
        visit(value, f"{name}/{key}" if name else key)
    elif node is not None:
      arrays[name] = stored.of_array(np.asarray(node))

  visit(tree, "")
  return arrays


def _of_spec(node: dict[str, Any], name: str, path: str) -> stored.StoredArray:
  relative = (node["kvstore"].get("path") or node.get("path", "")).strip("/")
  base = files.kvstore(path)
  kvstore = {**base, "path": f"{base['path']}{relative.split('/')[-1]}/"}
  spec = {
    "driver": node["driver"],
    "kvstore": kvstore,
    # A missing chunk is damage, never zeros: T5X stores zeros as well.
    "fill_missing_data_reads": False,
  }
  shape = tuple(node["metadata"]["shape"])
  dtype = np.dtype(ts.dtype(node["dtype"]).numpy_dtype)
  return array(spec, name, path, (shape, dtype))
