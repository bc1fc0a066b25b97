"""What the files of a checkpoint may declare, checked before it is used."""

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
  """`.zarray`, as far as sizes depend on it."""

  shape: Shape
  chunks: Shape
  dtype: str


class _ChunkShape(msgspec.Struct):
  chunk_shape: Shape


class _ChunkGrid(msgspec.Struct):
  name: Literal["regular"]
  configuration: _ChunkShape


class Zarr3(msgspec.Struct):
  """`zarr.json`, as far as sizes depend on it."""

  shape: Shape
  data_type: str
  chunk_grid: _ChunkGrid


class KvStore(msgspec.Struct):
  """Where T5X's index says that an array was written."""

  driver: str
  path: str = ""
  bucket: str = ""


class ArrayMetadata(msgspec.Struct):
  """The metadata in a leaf of T5X's index."""

  shape: Shape


class Leaf(msgspec.Struct):
  """A leaf of T5X's index that is an array in files of its own."""

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
  """One step of the way to a leaf of Orbax's tree."""

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
    UserError: it is damaged, of a type that no checkpoint has, or its chunks
      are larger than the array.
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
      f"{place}: dtype {dtype}; expected a floating-point type or a plain"
      " integer: the file is damaged or of another program"
    )
  fits = len(chunks) == len(shape) and all(
    1 <= chunk <= max(size, 1)
    for chunk, size in zip(chunks, shape, strict=False)
  )
  if not fits:
    raise errors.UserError(
      f"{place}: chunks of {chunks} in an array of {shape}; expected at least 1"
      " and no more than the array along every axis: the file is damaged"
    )
  check_size(shape, 8, place)


def check_size(
  shape: list[int] | tuple[int, ...], itemsize: int, place: str
) -> None:
  """Raises a `UserError` for an array larger than any checkpoint holds."""
  if math.prod(shape) * itemsize > _MAX_ARRAY_BYTES:
    raise errors.UserError(
      f"{place}: an array of {list(shape)} is larger than any checkpoint; the"
      " file is damaged"
    )


def check_parameters(
  arrays: Mapping[str, stored.StoredArray], path: str
) -> None:
  """Checks types, ranks and layer numbers that an architecture rests on.

  Args:
    arrays: the parameters by T5X's name.
    path: the checkpoint, for messages.

  Raises:
    UserError: an array cannot be a parameter of T5.
  """
  for name, array in arrays.items():
    if array.dtype.name not in _PARAMETER_DTYPES:
      raise errors.UserError(
        f"{path}: {name} is {array.dtype.name}; expected a parameter of one of"
        f" {', '.join(_PARAMETER_DTYPES)}"
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
    ):  # each layer has parameters: its number is below theirs
      raise errors.UserError(
        f"{path}: names a layer {layer[1]}, but holds only {len(arrays)}"
        " parameters; the checkpoint is incomplete or damaged"
      )


def check_states(arrays: Mapping[str, stored.StoredArray], path: str) -> None:
  """Raises a `UserError` for optimizer state of a type that T5X never has."""
  for name, array in arrays.items():
    if array.dtype.name not in _STATE_DTYPES:
      raise errors.UserError(
        f"{path}: optimizer state {name} is {array.dtype.name}; expected one of"
        f" {', '.join(_STATE_DTYPES)}"
      )


def step(value: Any, path: str) -> int:
  """Returns the training step that a checkpoint gives.

  Args:
    value: a number or an array of one element.
    path: the checkpoint, for messages.

  Raises:
    UserError: it is no whole number from 0 on.
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


def leaves(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
  """Returns {"a/b/c": leaf} of an index's tree; empty leaves are left out.

  Args:
    tree: nested dictionaries; a leaf is a `Leaf` in the making or an array.
    path: the checkpoint, for messages.

  Raises:
    UserError: a key is no name, a leaf is neither, or nesting has no end.
  """
  found: dict[str, Any] = {}
  pending: list[tuple[str, Any, int]] = [("", tree, 0)]
  while pending:
    name, node, depth = pending.pop()
    if isinstance(node, Mapping) and "driver" in node and "kvstore" in node:
      found[name] = leaf(node, name, path)
    elif isinstance(node, Mapping) and depth < _MAX_DEPTH:
      for key, value in node.items():
        check_key(key, path)
        below = f"{name}/{key}" if name else key
        pending.append((below, value, depth + 1))
    elif isinstance(node, np.ndarray | np.generic | float | int):
      found[name] = np.asarray(node)
    elif node is not None:
      raise errors.UserError(
        f"{path}: the leaf {name or '(root)'} of its index is a"
        f" {type(node).__name__}; expected an array: the index is damaged or of"
        " another program"
      )
  return dict(sorted(found.items()))


def check_key(key: Any, path: str) -> None:
  """Raises a `UserError` unless a tree's key can be part of a name."""
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
  """Checks a leaf of T5X's index."""
  try:
    return msgspec.convert(node, Leaf)
  except msgspec.ValidationError as error:
    raise errors.UserError(
      f"{path}: the leaf {name} of its index does not describe an array"
      f" ({error}); the index is damaged"
    ) from error
