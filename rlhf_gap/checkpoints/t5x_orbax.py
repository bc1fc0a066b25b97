"""T5X's Orbax layout, which our training checkpoints also use.

    checkpoint_1000/state/...   target (parameters) and state (optimizer)

Orbax writes it. TensorStore reads it, because it can read slices of an array.
"""

import concurrent.futures
import os
from typing import Any

import jax.numpy as jnp
import orbax.checkpoint as ocp

from rlhf_gap import errors, interrupts
from rlhf_gap import files as local_files
from rlhf_gap.checkpoints import architecture, files, metadata, stored, zarr

NAME = "t5x_orbax"
ITEM = "state"
INDEX = "_METADATA"

# Orbax buffers compressed data until a file is full. Its default of 2 GB would
# hold nearly a second copy of a 3 GB model in memory.
_DATA_FILE_BYTES = 64 * 1024 * 1024


def read(path: str) -> stored.StoredCheckpoint:
  """Opens a checkpoint in T5X's Orbax layout.

  Args:
    path: the folder `checkpoint_<step>`, local or in object storage.

  Returns:
    The checkpoint, not yet read.

  Raises:
    UserError: it is damaged or does not describe a T5.
  """
  index = _index(path)
  names = [_name(leaf, path) for leaf in index.tree_metadata.values()]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    opened = pool.map(lambda name: _array(path, name, index), names)
    arrays = dict(zip(names, opened, strict=True))
  target = _below(arrays, "target/")
  states = _below(arrays, "state/param_states/")
  metadata.check_parameters(target, path)
  metadata.check_states(states, path)
  shapes = {name: array.shape for name, array in target.items()}
  if "state/step" not in arrays:
    raise errors.UserError(
      f"{path}: holds no state/step; expected T5X's train state (target,"
      " state) in its Orbax layout"
    )
  step = arrays["state/step"]
  if step.size != 1:  # before it is read
    raise errors.UserError(
      f"{path}: state/step has shape {step.shape}; expected one number"
    )
  return stored.StoredCheckpoint(
    format=NAME,
    config=architecture.infer(shapes, path),
    step=metadata.step(step.read_all(), path),
    arrays=target,
    optimizer_arrays=states,
  )


def _below(
  arrays: dict[str, stored.StoredArray], prefix: str
) -> dict[str, stored.StoredArray]:
  return {
    name.removeprefix(prefix): array
    for name, array in sorted(arrays.items())
    if name.startswith(prefix)
  }


def _name(leaf: metadata.OrbaxLeaf, path: str) -> str:
  keys = [str(key.key) for key in leaf.key_metadata]
  for key in keys:
    metadata.check_key(key, path)
  return "/".join(keys)


def _index(path: str) -> metadata.OrbaxIndex:
  if not files.is_remote(path):
    local_files.check_tree(path)
  content = files.read(path, f"{ITEM}/{INDEX}")
  if content is None:
    raise errors.UserError(
      f"{path}: {ITEM}/{INDEX} is missing; expected an Orbax checkpoint of a"
      " train state; the save may have been interrupted"
    )
  try:
    return local_files.decode_json(content, metadata.OrbaxIndex, INDEX)
  except errors.UserError as error:
    raise errors.UserError(
      f"{path}: {ITEM}/{INDEX} ({len(content):,} bytes) cannot be read"
      f" ({error}); it is cut short or from another version"
    ) from error


def _array(
  path: str, name: str, index: metadata.OrbaxIndex
) -> stored.StoredArray:
  base = files.kvstore(os.path.join(path, ITEM))
  folder = name.replace("/", ".") + "/"
  if index.use_ocdbt:
    kvstore = {"driver": "ocdbt", "base": base, "path": folder}
  else:
    kvstore = {**base, "path": base["path"] + folder}
  spec: dict[str, Any] = {
    "driver": "zarr3" if index.use_zarr3 else "zarr",
    "kvstore": kvstore,
  }
  if index.store_array_data_equal_to_fill_value:
    # Every chunk was written, so a missing one is damage, not zeros.
    spec["fill_missing_data_reads"] = False
  return zarr.array(spec, name, path)


def write(path: str, checkpoint: stored.StoredCheckpoint) -> None:
  """Writes T5X's Orbax layout into the empty folder `path`.

  Args:
    path: an existing, empty, local folder.
    checkpoint: what to write. Orbax takes the whole tree, so one copy of all
      arrays is in memory.
  """
  for name, array in checkpoint.all_arrays().items():
    if array.dtype.name in ("float64", "int64"):
      raise errors.UserError(
        f"{name} is {array.dtype.name}, which JAX would truncate to 32 bits;"
        " convert with --dtype=float32 or --format=t5x"
      )
  arrays = stored.for_each(
    checkpoint.all_arrays(),
    "reading",
    lambda _, array: stored.to_device(array, None),
  )
  step = jnp.asarray(checkpoint.step, jnp.int32)
  tree = stored.unflatten({**arrays, "state/step": step})
  handler = ocp.CompositeCheckpointHandler(
    **{ITEM: ocp.PyTreeCheckpointHandler()}
  )
  # An interrupted save would leave Orbax's threads writing into a folder that
  # the caller has removed.
  with interrupts.deferred(), ocp.Checkpointer(handler) as checkpointer:
    checkpointer.save(
      path,
      args=ocp.args.Composite(
        **{
          ITEM: ocp.args.PyTreeSave(
            tree, ocdbt_target_data_file_size=_DATA_FILE_BYTES
          )
        }
      ),
      force=True,  # the folder exists, but is our own and empty
    )
