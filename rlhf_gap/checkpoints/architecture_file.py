"""The file `architecture/config.json` that this project adds to a checkpoint.

It records the activations and the largest relative distance, which names and
shapes do not determine. T5X keeps them in gin files beside the checkpoint and
ignores this file; Hugging Face keeps them in `config.json`. For a checkpoint
without either, T5's defaults are assumed, and a note says so.
"""

import dataclasses
import os
from typing import Annotated, Any

import msgspec

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.checkpoints import architecture, files, hf_config, stored
from rlhf_gap.models import t5

FILE = "architecture/config.json"

# Fields that names and shapes do not determine.
_RECORDED_ONLY = ("mlp_activations", "max_distance")


class ComputedFields(msgspec.Struct, forbid_unknown_fields=True):
  """The file's content: the fields of `T5Config` that change the output."""

  vocab_size: int
  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_encoder_layers: int
  num_decoder_layers: int
  mlp_activations: tuple[str, ...]
  logits_via_embedding: bool
  num_buckets: int
  max_distance: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]


COMPUTED = ComputedFields.__struct_fields__
"""Fields of `T5Config` that change what is computed from given parameters."""


def write(path: str, config: t5.T5Config) -> None:
  """Writes the architecture into a checkpoint's folder.

  Args:
    path: a local folder that holds a checkpoint in one of T5X's formats.
    config: its architecture.
  """
  place = os.path.join(path, FILE)
  os.makedirs(os.path.dirname(place))
  local_files.write_json(place, fields_of(config))


def fields_of(config: t5.T5Config) -> dict[str, object]:
  """Returns the file's content, as JSON takes it."""
  return {name: getattr(config, name) for name in COMPUTED}


def _read(path: str) -> ComputedFields | None:
  place = os.path.join(path, FILE)
  if files.is_remote(path):
    content = files.read(path, FILE)
  elif os.path.lexists(place):
    content = local_files.read_bytes(place)
  else:
    content = None
  if content is None:
    return None
  return local_files.decode_json(content, ComputedFields, place)


def complete(
  checkpoint: stored.StoredCheckpoint,
  path: str,
  *,
  mlp_activations: tuple[str, ...] | None = None,
  max_distance: int | None = None,
) -> stored.StoredCheckpoint:
  """Fills in the fields that names and shapes do not determine.

  Args:
    checkpoint: as its format's reader returns it.
    path: its folder.
    mlp_activations: activations of the feed-forward layer, if the user gives
      them.
    max_distance: largest distance of the relative positions, if the user gives
      it.

  Returns:
    The checkpoint; its notes state any assumption.

  Raises:
    UserError: the file is damaged or belongs to another model, or an argument
      contradicts the checkpoint.
  """
  inferred = checkpoint.config
  known, source = inferred, FILE
  if checkpoint.format == "hf":
    source = hf_config.CONFIG
    is_known = os.path.lexists(os.path.join(path, source))
  else:
    recorded = _read(path)
    is_known = recorded is not None
    if recorded is not None:
      known = _check_recorded(recorded, inferred, path)
  given = {"mlp_activations": mlp_activations, "max_distance": max_distance}
  for name, value in given.items():
    if value is None:
      continue
    if is_known and value != getattr(known, name):
      raise errors.UserError(
        f"{path}: {source} says {name}={_text(getattr(known, name))}, not"
        f" {_text(value)} as given"
      )
    known = _replace(known, name, value, path)
  shapes = {name: array.shape for name, array in checkpoint.arrays.items()}
  architecture.check(known, shapes, path)
  notes = checkpoint.notes
  if not is_known:
    notes += _assumed(known, [n for n in _RECORDED_ONLY if given[n] is None])
    if checkpoint.format == "hf":
      notes += (_HEAD_NOTE,)
  return dataclasses.replace(checkpoint, config=known, notes=notes)


_HEAD_NOTE = (
  "assumed, as there is no config.json: a separate head is not scaled, the"
  " embedding used as head is; special ids are 0, 0 and 1"
)


def _check_recorded(
  recorded: ComputedFields, inferred: t5.T5Config, path: str
) -> t5.T5Config:
  for name in COMPUTED:
    written, actual = getattr(recorded, name), getattr(inferred, name)
    if name not in _RECORDED_ONLY and written != actual:
      raise errors.UserError(
        f"{path}: {FILE} says {name}={written}, but the arrays have {actual};"
        " the two belong to different models"
      )
  config = inferred
  for name in _RECORDED_ONLY:
    config = _replace(config, name, getattr(recorded, name), path)
  return config


def _replace(
  config: t5.T5Config, name: str, value: Any, path: str
) -> t5.T5Config:
  try:
    changed = dataclasses.replace(config, **{name: value})
  except ValueError as error:
    raise errors.UserError(f"{path}: {error}") from error
  kernels = len(config.mlp_activations)
  if len(changed.mlp_activations) != kernels:
    raise errors.UserError(
      f"{path}: mlp_activations={_text(value)}, but its arrays have"
      f" {kernels} input kernels per layer"
    )
  return changed


def _assumed(config: t5.T5Config, names: list[str]) -> tuple[str, ...]:
  if not names:
    return ()
  values = " and ".join(f"{n}={_text(getattr(config, n))}" for n in names)
  flags = " or ".join(f"--{name}" for name in names)
  return (
    f"assumed, as names and shapes do not determine them: {values}, T5's"
    f" defaults; for other values, run `rlhf-gap convert` with {flags}",
  )


def _text(value: object) -> str:
  if isinstance(value, tuple):
    return ",".join(map(str, value))
  return str(value)
