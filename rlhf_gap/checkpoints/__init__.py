"""T5 checkpoints in T5X's format, its Orbax layout and Hugging Face's.

    ckpt = checkpoints.load(path)              # the format is detected
    checkpoints.save(path, ckpt, format="hf")

`open` reads only names and shapes; `load` reads the arrays onto devices.
Training checkpoints use T5X's Orbax layout.
"""

import dataclasses
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
  architecture_file,
  files,
  hf,
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
    step: training step; 0 if the source has none.
    optimizer_state: the optimizer's state under T5X's names below
      `state/param_states`; None if there is none.
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
    path: the checkpoint's folder, `checkpoint_<step>` for T5X. T5X's formats
      may be in object storage ("gs://...").
    mlp_activations: activations of the feed-forward layer, such as ("silu",
      "linear"), which names and shapes do not determine. None uses those that
      the checkpoint records, or T5's defaults if it records none.
    max_distance: largest distance of the relative positions; None as above.

  Returns:
    The checkpoint; arrays are read on demand. Its notes state assumptions.

  Raises:
    UserError: there is no complete checkpoint, it is not a T5, or it
      contradicts the arguments.
  """
  path = os.fspath(path)
  files.check_readable(path)
  return architecture_file.complete(
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
      f"{path}: no T5X checkpoint here; expected the folder"
      " checkpoint_<step> (Hugging Face folders must be local)"
    )
  names = sorted(os.listdir(path))
  if hf.holds(names):
    return hf.read(path)
  raise errors.UserError(f"{path}: {_why_none(path, names)}")


def _why_none(path: str, names: list[str]) -> str:
  """Explains why a folder with these entries is not a checkpoint."""
  steps = [name for name in names if name.startswith("checkpoint_")]
  if steps:
    latest = max(steps, key=lambda name: (len(name), name))
    return (
      f"holds {len(steps)} checkpoints ({', '.join(steps[:4])}...); give the"
      f" path of one, such as {os.path.join(path, latest)}"
    )
  if any(name.startswith("target.") for name in names):
    return (
      f"holds arrays of a T5X checkpoint but not its index {t5x.INDEX}; the"
      " save or copy was interrupted"
    )
  if t5x_orbax.ITEM in names:
    return (
      f"holds {t5x_orbax.ITEM}/ but not {t5x_orbax.ITEM}/{t5x_orbax.INDEX};"
      " the save or copy was interrupted"
    )
  shown = ", ".join(names[:4]) or "nothing"
  return (
    f"not a checkpoint (found {shown}); expected T5X's index"
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
  """Loads a checkpoint in any supported format.

  Args:
    path: the checkpoint's folder (see `open`).
    shardings: placement of each parameter: one `jax.sharding.Sharding` for all,
      nested dictionaries of them in the parameters' structure, or a function
      from the architecture to such dictionaries (`partitioning.parameters_on`);
      None for the default device. Each host reads only its devices' slices.
    dtype: type to cast parameters to while reading, "float32" or "bfloat16";
      None keeps their bits.
    activations: type of the activations, for a model that is not trained. Each
      parameter is cast while reading to the type it is computed with
      (`precision.as_computed`), so no wider copy is ever in memory.
    optimizer_state: whether to load the optimizer's state, if there is any.
      An array of its parameter's shape is placed like the parameter; any other
      is replicated over the same devices.
    mlp_activations: see `open`.
    max_distance: see `open`.

  Returns:
    The model. At most one copy of it is in memory while loading.

  Raises:
    UserError: there is no complete checkpoint, it is not a T5, or an array is
      damaged.
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
  """Prints a checkpoint's notes once, on one host."""
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
  moment_places: dict[str, jax.sharding.Sharding | None] = {}
  for name, array in source.optimizer_arrays.items():
    parameter = name.rpartition("/")[0]
    place = places.get(parameter)
    has_other_shape = parameter in places and (
      source.arrays[parameter].shape != array.shape
    )
    if has_other_shape and isinstance(place, jax.sharding.NamedSharding):
      place = jax.sharding.NamedSharding(
        place.mesh, jax.sharding.PartitionSpec()
      )
    moment_places[name] = place
  return moment_places


def fingerprint(path: str | os.PathLike[str]) -> str:
  """Returns a hash of a checkpoint's parameters, independent of the format.

  Args:
    path: the checkpoint's folder (see `open`).

  Returns:
    SHA-256 over the sorted names and the bits of all parameters, hexadecimal.
    A checkpoint and its conversions have the same hash.

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
  """Wraps a model in memory as a stored checkpoint, ready to be written."""
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
    path: a local folder that does not exist yet. T5X expects the name
      `checkpoint_<step>`.
    checkpoint: the model. "hf" keeps neither step nor optimizer state.
    format: "t5x", "t5x_orbax" or "hf".

  Raises:
    UserError: the format is unknown, `path` exists or cannot be created, the
      disk is full, or parameters and configuration disagree. Nothing is left
      behind.
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
    architecture_file.write(folder, checkpoint.config)


def _module(format: str) -> types.ModuleType:
  if format not in _FORMATS:
    raise errors.UserError(
      f"unknown format {format!r}; expected one of {', '.join(FORMATS)}"
      f"{errors.did_you_mean(format, FORMATS)}"
    )
  return _FORMATS[format]


def convert(
  source: str | os.PathLike[str],
  destination: str | os.PathLike[str],
  *,
  format: str,
  dtype: str | None = None,
  vocabulary: stores.Vocabulary | None = None,
  companions: Mapping[str, bytes] | None = None,
  mlp_activations: Sequence[str] | None = None,
  max_distance: int | None = None,
) -> StoredCheckpoint:
  """Rewrites a checkpoint in another format and reads it back.

  Args:
    source: a checkpoint in any supported format; it is not modified.
    destination: a local folder that does not exist yet.
    format: "t5x", "t5x_orbax" or "hf".
    dtype: type to cast parameters to; None keeps their bits.
    vocabulary: checked against the embedding.
    companions: more files of a Hugging Face folder, by name.
    mlp_activations: activations of the source, see `open`.
    max_distance: largest distance of the source, see `open`.

  Returns:
    The new checkpoint, with the source's notes. Its arrays, architecture and
    logits have been read back and compared (see `verifying`).

  Raises:
    UserError: as `open` and `save`, or the copy differs from its source.
  """
  source, destination = os.fspath(source), os.fspath(destination)
  module = _module(format)
  files.check_new(destination)
  original = open(
    source, mlp_activations=mlp_activations, max_distance=max_distance
  )
  if vocabulary is not None:
    check_vocabulary(original.config, stores.size(vocabulary), source)
  if dtype is not None:
    arrays = {n: a.astype(dtype) for n, a in original.arrays.items()}
    original = dataclasses.replace(original, arrays=arrays)
  if module is hf:
    original = dataclasses.replace(original, optimizer_arrays={})
  noted, digests = stored.with_digests(original)
  with files.new_folder(destination, original.nbytes) as folder:
    _write(module, folder, noted)
    for name, content in (companions or {}).items():
      pathlib.Path(folder, name).write_bytes(content)
    read_back = architecture_file.complete(module.read(folder), folder)
    verifying.verify(original, digests, read_back, destination)
  return dataclasses.replace(open(destination), notes=original.notes)
