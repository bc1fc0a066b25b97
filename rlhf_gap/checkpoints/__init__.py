"""Checkpoints of T5: T5X's format, its Orbax layout, Hugging Face, our own.

    ckpt = checkpoints.load(path)              # the format is detected
    checkpoints.save(path, ckpt, format="hf")

`open` reads names and shapes alone; `load` reads the arrays into place.
"""

import dataclasses
import difflib
import functools
import hashlib
import os
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from rlhf_gap import errors, stores
from rlhf_gap.checkpoints import (
  architecture,
  files,
  hf,
  record,
  stored,
  t5x,
  t5x_orbax,
  verifying,
)
from rlhf_gap.checkpoints.architecture import check_vocabulary
from rlhf_gap.checkpoints.stored import StoredArray, StoredCheckpoint
from rlhf_gap.models import precision, t5

_FORMATS = {module.NAME: module for module in (t5x, t5x_orbax, hf)}
FORMATS = tuple(_FORMATS)

__all__ = [
  "FORMATS",
  "Checkpoint",
  "StoredArray",
  "StoredCheckpoint",
  "check_vocabulary",
  "convert",
  "fingerprint",
  "load",
  "open",
  "save",
]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """A model in memory.

  Attributes:
    config: the architecture.
    params: nested dictionaries of arrays under T5X's names.
    step: training step, 0 where the source has none.
    optimizer_state: the optimizer's state under T5X's names, as it stands below
      `state/param_states`; None where there is none.
  """

  config: t5.T5Config
  params: t5.Params
  step: int = 0
  optimizer_state: Mapping[str, Any] | None = None


def open(
  path: str | os.PathLike[str],
  *,
  mlp_activations: Sequence[str] | None = None,
  max_distance: int | None = None,
) -> StoredCheckpoint:
  """Detects a checkpoint's format and reads its names and shapes.

  Args:
    path: the checkpoint's folder, `checkpoint_<step>` for T5X; local or, for
      T5X's formats, in object storage ("gs://...").
    mlp_activations: the feed-forward layer's, such as ("silu", "linear"), which
      names and shapes do not tell. None takes what the checkpoint records, and
      assumes T5's own where it records nothing.
    max_distance: of the relative positions; None as above.

  Returns:
    The checkpoint; its arrays are read when asked for. What was assumed is in
    its notes.

  Raises:
    UserError: nothing whole is there, it is no T5, or it contradicts what is
      given.
  """
  path = os.fspath(path)
  files.check_readable(path)
  return record.settle(
    _read(path),
    path,
    mlp_activations=None if mlp_activations is None else tuple(mlp_activations),
    max_distance=max_distance,
  )


def _read(path: str) -> StoredCheckpoint:
  if files.read(path, f"{t5x_orbax.ITEM}/{t5x_orbax.INDEX}") is not None:
    return t5x_orbax.read(path)
  if files.read(path, t5x.INDEX) is not None:
    return t5x.read(path)
  if files.is_remote(path):
    raise errors.UserError(
      f"{path}: no T5X checkpoint is there; expected the folder"
      " checkpoint_<step> (Hugging Face folders are read locally)"
    )
  names = sorted(os.listdir(path))
  if hf.holds(names):
    return hf.read(path)
  raise errors.UserError(f"{path}: {_what_else(path, names)}")


def _what_else(path: str, names: list[str]) -> str:
  steps = [name for name in names if name.startswith("checkpoint_")]
  if steps:
    latest = max(steps, key=lambda name: (len(name), name))
    return (
      f"holds {len(steps)} checkpoints ({', '.join(steps[:4])}...); name one"
      f" of them, such as {os.path.join(path, latest)}"
    )
  if any(name.startswith("target.") for name in names):
    return (
      f"holds arrays of a T5X checkpoint but not its index {t5x.INDEX}; the"
      " save or the copy was interrupted"
    )
  if t5x_orbax.ITEM in names:
    return (
      f"holds {t5x_orbax.ITEM}/ but not {t5x_orbax.ITEM}/{t5x_orbax.INDEX};"
      " the save or the copy was interrupted"
    )
  shown = ", ".join(names[:4]) or "nothing"
  return (
    f"no checkpoint is there (found {shown}); expected T5X's index"
    f" {t5x.INDEX}, an Orbax {t5x_orbax.ITEM}/, or {hf.CONFIG}"
  )


def load(
  path: str | os.PathLike[str],
  *,
  shardings: Any = None,
  dtype: str | None = None,
  activations: str | None = None,
  optimizer_state: bool = True,
  mlp_activations: Sequence[str] | None = None,
  max_distance: int | None = None,
) -> Checkpoint:
  """Loads a checkpoint of any known format.

  Args:
    path: the checkpoint's folder (see `open`).
    shardings: where each parameter goes: a `jax.sharding.Sharding` for all,
      nested dictionaries of them like the parameters, or a function that
      returns these for an architecture (`partitioning.parameters_on`); None for
      the default device. Hosts read only the slices that their devices hold.
    dtype: type to cast parameters to as they are read, "float32" or
      "bfloat16"; None keeps them bit for bit.
    activations: for a model that is only computed with: the type of its
      activations. Each parameter is cast as it is read to the type that it is
      computed with (`precision.as_computed`): no wider one is ever in memory.
    optimizer_state: whether to load the optimizer's state too, if there is any;
      what has its parameter's shape goes where that goes, the rest to all its
      devices.
    mlp_activations: see `open`.
    max_distance: see `open`.

  Returns:
    The model. No more than one copy of it is held on the way.

  Raises:
    UserError: nothing whole is there, it is no T5, or an array is damaged.
  """
  source = open(
    path, mlp_activations=mlp_activations, max_distance=max_distance
  )
  _report(os.fspath(path), source.notes)
  arrays = dict(source.arrays)
  if dtype is not None:
    arrays = {n: a.astype(dtype) for n, a in arrays.items()}
  if activations is not None:
    config = dataclasses.replace(source.config, dtype=activations)
    arrays = {
      n: a.astype(str(precision.type_of(config, n.split("/"), a.dtype)))
      for n, a in arrays.items()
    }
  if callable(shardings):
    shardings = shardings(source.config)
  places = _places(shardings, arrays)
  params = stored.for_each(
    arrays,
    "loading",
    lambda name, array: stored.to_device(array, places[name]),
  )
  state = None
  if optimizer_state and source.optimizer_arrays:
    moment_places = _moment_places(places, source)
    state = stored.unflatten(
      stored.for_each(
        source.optimizer_arrays,
        "loading optimizer state",
        lambda name, array: stored.to_device(array, moment_places[name]),
      )
    )
  return Checkpoint(source.config, stored.unflatten(params), source.step, state)


@functools.cache
def _report(path: str, notes: tuple[str, ...]) -> None:
  """Says once, on one host, what was assumed of a checkpoint."""
  if jax.process_index() == 0:
    for note in notes:
      print(errors.printable(f"{path}: {note}"), file=sys.stderr)


def _places(
  shardings: Any, arrays: Mapping[str, StoredArray]
) -> dict[str, jax.sharding.Sharding | None]:
  if shardings is None or isinstance(shardings, jax.sharding.Sharding):
    return dict.fromkeys(arrays, shardings)
  flat = stored.flatten(shardings)
  if set(flat) != set(arrays):
    name = min(set(flat) ^ set(arrays))
    raise ValueError(f"shardings and parameters differ, for example at {name}")
  return flat


def _moment_places(
  places: Mapping[str, jax.sharding.Sharding | None], source: StoredCheckpoint
) -> dict[str, jax.sharding.Sharding | None]:
  found: dict[str, jax.sharding.Sharding | None] = {}
  for name, array in source.optimizer_arrays.items():
    parameter = name.rpartition("/")[0]
    place = places.get(parameter)
    other = parameter in places and (
      source.arrays[parameter].shape != array.shape
    )
    if other and isinstance(place, jax.sharding.NamedSharding):
      place = jax.sharding.NamedSharding(
        place.mesh, jax.sharding.PartitionSpec()
      )
    found[name] = place
  return found


def fingerprint(path: str | os.PathLike[str]) -> str:
  """Returns a hash of a checkpoint's parameters, whatever their format.

  Args:
    path: the checkpoint's folder (see `open`).

  Returns:
    SHA-256 over the sorted names and the bits of all parameters, hexadecimal;
    equal for a checkpoint and its conversions.

  Raises:
    UserError: as `load`.
  """
  digests = stored.for_each(
    open(path).arrays,
    "hashing",
    lambda _, array: stored.digest(array.read_all()),
  )
  listing = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
  return hashlib.sha256(listing.encode()).hexdigest()


def in_memory(checkpoint: Checkpoint) -> StoredCheckpoint:
  """Views a model in memory as a stored one, to be written."""
  params = stored.flatten(checkpoint.params)
  states = stored.flatten(checkpoint.optimizer_state or {})
  return StoredCheckpoint(
    format="memory",
    config=checkpoint.config,
    step=int(checkpoint.step),
    arrays={n: stored.of_array(a) for n, a in params.items()},
    optimizer_arrays={n: stored.of_array(a) for n, a in states.items()},
  )


def save(
  path: str | os.PathLike[str], checkpoint: Checkpoint, *, format: str = "t5x"
) -> None:
  """Saves a model.

  Args:
    path: a local folder that does not exist yet. T5X looks for folders named
      `checkpoint_<step>`.
    checkpoint: the model. "hf" keeps neither step nor optimizer state.
    format: "t5x", "t5x_orbax" or "hf".

  Raises:
    UserError: the format is unknown, `path` exists or cannot be made, the disk
      is full, or parameters and configuration disagree. Nothing is left behind.
  """
  path, source = os.fspath(path), in_memory(checkpoint)
  module = _module(format)
  shapes = {name: array.shape for name, array in source.arrays.items()}
  architecture.check(source.config, shapes, path)
  with files.new_folder(path, source.nbytes) as folder:
    _write(module, folder, source)


def _write(
  module: types.ModuleType, folder: str, checkpoint: StoredCheckpoint
) -> None:
  module.write(folder, checkpoint)
  if module is not hf:
    record.write(folder, checkpoint.config)


def _module(format: str) -> types.ModuleType:
  if format not in _FORMATS:
    near = difflib.get_close_matches(format, FORMATS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise errors.UserError(
      f"unknown format {format!r}{hint}; expected one of {', '.join(FORMATS)}"
    )
  return _FORMATS[format]


def convert(
  source: str | os.PathLike[str],
  destination: str | os.PathLike[str],
  *,
  format: str,
  dtype: str | None = None,
  vocabulary: str | None = None,
  mlp_activations: Sequence[str] | None = None,
  max_distance: int | None = None,
) -> StoredCheckpoint:
  """Rewrites a checkpoint in another format and reads it back.

  Args:
    source: a checkpoint of any known format; it is not touched.
    destination: a local folder that does not exist yet.
    format: "t5x", "t5x_orbax" or "hf".
    dtype: type to cast parameters to; None keeps them bit for bit.
    vocabulary: a SentencePiece model or `bytes`, checked against the
      embedding; a Hugging Face folder gets a copy of the model.
    mlp_activations: of the source, see `open`.
    max_distance: of the source, see `open`.

  Returns:
    The new checkpoint, with the source's notes. Every array and the
    architecture have been read back and compared, and so have the logits (see
    `verifying`).

  Raises:
    UserError: as `open` and `save`, or what was read back differs.
  """
  source, destination = os.fspath(source), os.fspath(destination)
  module = _module(format)
  files.check_new(destination)
  original = open(
    source, mlp_activations=mlp_activations, max_distance=max_distance
  )
  if vocabulary is not None:
    tokens = stores.named(vocabulary)
    check_vocabulary(original.config, stores.size(tokens), source)
  if dtype is not None:
    arrays = {n: a.astype(dtype) for n, a in original.arrays.items()}
    original = dataclasses.replace(original, arrays=arrays)
  if module is hf:
    original = dataclasses.replace(original, optimizer_arrays={})
  noted, digests = stored.with_digests(original)
  with files.new_folder(destination, original.nbytes) as folder:
    _write(module, folder, noted)
    if module is hf and vocabulary is not None and tokens.path:
      path = os.path.join(folder, hf.VOCABULARY)
      pathlib.Path(path).write_bytes(stores.model_bytes(tokens))
    read_back = record.settle(module.read(folder), folder)
    verifying.verify(original, digests, read_back, destination)
  return dataclasses.replace(open(destination), notes=original.notes)
