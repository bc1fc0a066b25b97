"""T5X's own checkpoint format: a msgpack index and one zarr array per leaf.

    checkpoint_1000/checkpoint                      the index
    checkpoint_1000/target.encoder....kernel/0.0    the parameters
    checkpoint_1000/state.param_states....v/0.0     Adafactor's state

Optimizer state of a single element is stored in the index itself.
"""

import os
from typing import Any

import flax.serialization
import msgspec
import numpy as np
import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.checkpoints import architecture, files, metadata, stored, zarr

NAME = "t5x"
INDEX = "checkpoint"

_VERSION = 3
_CHUNK_BYTES = 64 * 1024 * 1024


def read(path: str) -> stored.StoredCheckpoint:
  """Opens a T5X checkpoint.

  Args:
    path: the folder that holds the index, local or in object storage.

  Returns:
    The checkpoint, not yet read.

  Raises:
    UserError: the index is damaged or does not describe a T5.
  """
  index = _index(path)
  arrays = zarr.of_tree(index.target, path)
  metadata.check_parameters(arrays, path)
  shapes = {name: array.shape for name, array in arrays.items()}
  states = zarr.of_tree(index.state.param_states or {}, path)
  metadata.check_states(states, path)
  return stored.StoredCheckpoint(
    format=NAME,
    config=architecture.infer(shapes, path),
    step=metadata.step(index.state.step, path),
    arrays=arrays,
    optimizer_arrays=states,
  )


def _index(path: str) -> metadata.T5XOptimizer:
  if not files.is_remote(path):
    local_files.check_tree(path)
  content = files.read(path, INDEX) or b""
  if content.startswith(b"model_checkpoint_path"):
    raise errors.UserError(
      f"{path}: a TensorFlow checkpoint; convert it with T5X's"
      " convert_tf_checkpoint.py first"
    )
  try:
    tree = flax.serialization.msgpack_restore(content)
  except Exception as error:  # damaged bytes make msgpack raise many types
    raise errors.UserError(
      f"{path}: its index {INDEX} ({len(content):,} bytes) cannot be read"
      f" ({type(error).__name__}); it is cut short or from another program"
    ) from error
  try:
    return msgspec.convert(tree, metadata.T5XIndex).optimizer
  except (msgspec.ValidationError, RecursionError) as error:
    raise errors.UserError(
      f"{path}: its index {INDEX} does not describe a train state"
      f" ({error}); it is damaged or from another program"
    ) from error


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> list[int]:
  """Returns T5X's chunk shape: at most 64 MiB, the largest axis split first.

  Args:
    shape: the array's shape.
    itemsize: bytes per element.

  Returns:
    The chunk's size on each axis, a divisor of the array's.
  """
  chunks = list(shape)
  while int(np.prod(chunks)) * itemsize > _CHUNK_BYTES:
    axis = int(np.argmax(chunks))
    smaller = range(chunks[axis] - 1, 0, -1)
    chunks[axis] = next(n for n in smaller if shape[axis] % n == 0)
  return chunks


def write(path: str, checkpoint: stored.StoredCheckpoint) -> None:
  """Writes a T5X checkpoint into the empty folder `path`.

  Args:
    path: an existing, empty, local folder.
    checkpoint: what to write; only a few arrays are in memory at a time.
  """
  leaves = stored.for_each(
    checkpoint.all_arrays(),
    "writing",
    lambda name, array: _write_array(path, name, array),
  )
  tree = stored.unflatten(
    {
      **leaves,
      "state/step": np.asarray(checkpoint.step, np.int32),
    }
  )
  content = flax.serialization.msgpack_serialize(
    {"version": _VERSION, "optimizer": tree}
  )
  # Last, so that a folder with an index is complete.
  with open(os.path.join(path, INDEX), "wb") as file:
    file.write(content)


def _is_inline(name: str, value: np.ndarray) -> bool:
  """Returns whether T5X keeps an array in the index.

  It does so with what it cannot partition, and fails to restore such a leaf
  from a folder: scalars, and the factored moments of Adafactor.
  """
  if not name.startswith("state/"):
    return False
  return value.size == 1 or name.endswith(("/v_row", "/v_col"))


def _write_array(
  path: str, name: str, array: stored.StoredArray
) -> dict[str, Any] | np.ndarray:
  value = array.read_all()
  if _is_inline(name, value):
    return value
  folder = name.replace("/", ".") + "/"
  metadata = {
    "shape": list(array.shape),
    "chunks": chunk_shape(array.shape, array.dtype.itemsize),
    "compressor": {"id": "gzip", "level": 1},
  }
  spec = {"driver": "zarr", "dtype": array.dtype.name, "metadata": metadata}
  absolute = {"driver": "file", "path": os.path.join(path, folder)}
  # A new context per array: in a shared one, small writes would queue.
  target = ts.open({**spec, "kvstore": absolute}, create=True).result()
  target.write(value).result()
  return {**spec, "kvstore": {"driver": "file", "path": folder}}
