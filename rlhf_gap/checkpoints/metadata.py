"""Schemas of a checkpoint's index and metadata files, and checks on them.

Sizes, types and names are checked before anything is allocated or opened.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from rlhf_gap import errors, files
from rlhf_gap.checkpoints import stored

_Axis = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Shape = Annotated[list[_Axis], msgspec.Meta(max_length=8)]
_MAX_ARRAY_BYTES = 2**46
_MAX_DEPTH = 32
_DTYPE = re.compile(r"[<>|][fiu][1248]")
_PARAMETER_DTYPES = ("float16", "bfloat16", "float32", "float64")
_STATE_DTYPES = (*_PARAMETER_DTYPES, "int32", "int64", "uint32")
_LAYER = re.compile(r"(?:encoder|decoder)/layers_(\d+)/")


class Zarr2(msgspec.Struct):
  """The fields of `.zarray` that determine sizes."""

  shape: Shape
  chunks: Shape
  dtype: str


class _ChunkShape(msgspec.Struct):
  chunk_shape: Shape


class _ChunkGrid(msgspec.Struct):
  name: Literal["regular"]
  configuration: _ChunkShape


class Zarr3(msgspec.Struct):
  """The fields of `zarr.json` that determine sizes."""

  shape: Shape
  data_type: str
  chunk_grid: _ChunkGrid


class KvStore(msgspec.Struct):
  """The place where an array was written, by T5X's index."""

  driver: str
  path: str = ""
  bucket: str = ""


class ArrayMetadata(msgspec.Struct):
  """The metadata in a leaf of T5X's index."""

  shape: Shape


class Leaf(msgspec.Struct):
  """A leaf of T5X's index whose array is in separate files."""

  driver: Literal["zarr", "zarr3"]
  dtype: str
  kvstore: KvStore
  metadata: ArrayMetadata
  path: str = ""


class T5XState(msgspec.Struct):
  """The optimizer's part of T5X's index."""

  step: Any
  param_states: dict[str, Any] | None = None


class T5XOptimizer(msgspec.Struct):
  """The train state in T5X's index."""

  target: dict[str, Any]
  state: T5XState


class T5XIndex(msgspec.Struct):
  """T5X's index."""

  optimizer: T5XOptimizer


class Key(msgspec.Struct):
  """One key on the path to a leaf of Orbax's tree."""

  key: str | int


class OrbaxLeaf(msgspec.Struct):
  """A leaf of Orbax's tree."""

  key_metadata: Annotated[
    list[Key], msgspec.Meta(min_length=1, max_length=_MAX_DEPTH)
  ]


class OrbaxIndex(msgspec.Struct):
  """Orbax's `_METADATA`."""

  tree_metadata: Annotated[dict[str, OrbaxLeaf], msgspec.Meta(min_length=1)]
  use_ocdbt: bool = False
  use_zarr3: bool | None = False
  store_array_data_equal_to_fill_value: bool | None = False


def check_zarr(content: bytes, driver: str, place: str) -> None:
  """Checks an array's own metadata before TensorStore allocates a chunk.

  Args:
    content: the bytes of `.zarray` or `zarr.json`.
    driver: "zarr" or "zarr3".
    place: the file, for messages.

  Raises:
    UserError: the metadata is damaged, the dtype is not a checkpoint's, or a
      chunk is larger than the array.
  """
  if driver == "zarr":
    old = files.decode_json(content, Zarr2, place)
    shape, chunks, dtype = old.shape, old.chunks, old.dtype
    known = dtype == "bfloat16" or _DTYPE.fullmatch(dtype) is not None
  else:
    new = files.decode_json(content, Zarr3, place)
    chunks = new.chunk_grid.configuration.chunk_shape
    shape, dtype = new.shape, new.data_type
    known = dtype in _STATE_DTYPES
  if not known:
    raise errors.UserError(
      f"{place}: dtype {dtype}; expected a floating-point or integer type: the"
      " file is damaged or from another program"
    )
  fits = len(chunks) == len(shape) and all(
    1 <= chunk <= max(size, 1)
    for chunk, size in zip(chunks, shape, strict=False)
  )
  if not fits:
    raise errors.UserError(
      f"{place}: chunks of {chunks} in an array of {shape}; expected at least 1"
      " and no more than the array's size on every axis: the file is damaged"
    )
  check_size(shape, 8, place)


def check_size(
  shape: list[int] | tuple[int, ...], itemsize: int, place: str
) -> None:
  """Raises a `UserError` for an array larger than any checkpoint."""
  if math.prod(shape) * itemsize > _MAX_ARRAY_BYTES:
    raise errors.UserError(
      f"{place}: an array of {list(shape)} is larger than any checkpoint; the"
      " file is damaged"
    )


def check_parameters(
  arrays: Mapping[str, stored.StoredArray], path: str
) -> None:
  """Checks types, ranks and layer numbers before an architecture is inferred.

  Args:
    arrays: the parameters by T5X's name.
    path: the checkpoint, for messages.

  Raises:
    UserError: an array cannot be a parameter of T5.
  """
  for name, array in arrays.items():
    if array.dtype.name not in _PARAMETER_DTYPES:
      raise errors.UserError(
        f"{path}: {name} is {array.dtype.name}; expected one of"
        f" {', '.join(_PARAMETER_DTYPES)} for a parameter"
      )
    matrix = name.rpartition("/")[2] in ("kernel", "embedding", "rel_embedding")
    if 0 in array.shape or (matrix and len(array.shape) != 2):
      raise errors.UserError(
        f"{path}: {name} has shape {array.shape}; expected"
        f" {'a matrix' if matrix else 'no empty axis'}"
      )
    layer = _LAYER.match(name)
    if layer and (
      len(layer[1]) > 6 or int(layer[1]) >= len(arrays)
    ):  # every layer has parameters, so there are more of them than layers
      raise errors.UserError(
        f"{path}: holds a layer {layer[1]}, but only {len(arrays)} parameters;"
        " the checkpoint is incomplete or damaged"
      )


def check_states(arrays: Mapping[str, stored.StoredArray], path: str) -> None:
  """Raises a `UserError` for optimizer state of an unsupported dtype."""
  for name, array in arrays.items():
    if array.dtype.name not in _STATE_DTYPES:
      raise errors.UserError(
        f"{path}: optimizer state {name} is {array.dtype.name}; expected one of"
        f" {', '.join(_STATE_DTYPES)}"
      )


def step(value: Any, path: str) -> int:
  """Returns a checkpoint's training step.

  Args:
    value: a number or an array of one element.
    path: the checkpoint, for messages.

  Raises:
    UserError: `value` is not a whole number of at least 0.
  """
  if isinstance(value, int | np.ndarray | np.generic):
    array = np.asarray(value)
    if (
      array.dtype.kind in "iu"
      and array.size == 1
      and array.reshape(())[()] >= 0
    ):
      return int(array.reshape(()))
  raise errors.UserError(
    f"{path}: its step is {str(value)[:80]!r} ({type(value).__name__});"
    " expected a whole number, 0 or more: the index is damaged"
  )


def leaves(tree: Mapping[Any, Any], path: str) -> dict[str, Any]:
  """Flattens an index's tree to {"a/b/c": leaf}, without empty leaves.

  Args:
    tree: nested dictionaries whose leaves are arrays or the fields of a `Leaf`.
    path: the checkpoint, for messages.

  Raises:
    UserError: a key is not a name, a leaf is neither, or the tree is deeper
      than `_MAX_DEPTH`.
  """
  flat: dict[str, Any] = {}
  pending: list[tuple[str, Any, int]] = [("", tree, 0)]
  while pending:
    name, node, depth = pending.pop()
    if isinstance(node, Mapping) and "driver" in node and "kvstore" in node:
      flat[name] = leaf(node, name, path)
    elif isinstance(node, Mapping) and depth < _MAX_DEPTH:
      for key, value in node.items():
        check_key(key, path)
        below = f"{name}/{key}" if name else key
        pending.append((below, value, depth + 1))
    elif isinstance(node, np.ndarray | np.generic | float | int):
      flat[name] = np.asarray(node)
    elif node is not None:
      raise errors.UserError(
        f"{path}: the leaf {name or '(root)'} of its index is a"
        f" {type(node).__name__}; expected an array: the index is damaged or"
        " from another program"
      )
  return dict(sorted(flat.items()))


def check_key(key: Any, path: str) -> None:
  """Raises a `UserError` unless a tree's key is a plain printable name."""
  if (
    not isinstance(key, str)
    or key in ("", ".", "..")
    or "/" in key
    or not key.isprintable()
  ):
    raise errors.UserError(
      f"{path}: its index has the key {key!r}; expected a name such as"
      " layers_0: the index is damaged"
    )


def leaf(node: Mapping[str, Any], name: str, path: str) -> Leaf:
  """Converts a leaf of T5X's index, or raises a `UserError`."""
  try:
    return msgspec.convert(node, Leaf)
  except msgspec.ValidationError as error:
    raise errors.UserError(
      f"{path}: the leaf {name} of its index does not describe an array"
      f" ({error}); the index is damaged"
    ) from error
