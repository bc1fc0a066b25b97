"""Hugging Face folders: `config.json` and safetensors, one file or sharded."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors

from rlhf_gap import errors
from rlhf_gap.checkpoints import (
  architecture,
  files,
  hf_names,
  safetensors_file,
  stored,
)

NAME = "hf"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH_WEIGHTS = "pytorch_model.bin"
VOCABULARY = "spiece.model"  # the name transformers looks for

# The largest file that transformers itself writes by default.
MAX_FILE_BYTES = 5 * 10**9


def read(path: str) -> stored.StoredCheckpoint:
  """Opens a Hugging Face T5.

  Args:
    path: a local folder with safetensors and, usually, `config.json`.

  Returns:
    The checkpoint, not yet read. It has no step and no optimizer state.

  Raises:
    UserError: files are damaged or missing, it is no T5, or `config.json`
      contradicts the arrays.
  """
  tensors: dict[str, stored.StoredArray] = {}
  for file in _weight_files(path):
    tensors.update(_tensors(path, file))
  arrays = hf_names.to_t5x(tensors, path)
  shapes = {name: array.shape for name, array in arrays.items()}
  config = architecture.infer(shapes, path)
  content = files.read(path, CONFIG)
  if content is not None:
    described = hf_names.config_from_json(_json(content, path, CONFIG), path)
    config = hf_names.reconcile(described, config, path)
  return stored.StoredCheckpoint(NAME, config, 0, arrays)


def _weight_files(path: str) -> list[str]:
  if os.path.exists(os.path.join(path, WEIGHTS)):
    return [WEIGHTS]
  index = files.read(path, INDEX)
  if index is not None:
    weight_map = _json(index, path, INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
      raise errors.UserError(f"{path}: {INDEX} names no files; it is damaged")
    return sorted(set(weight_map.values()))
  if os.path.exists(os.path.join(path, TORCH_WEIGHTS)):
    raise errors.UserError(
      f"{path}: holds {TORCH_WEIGHTS}, which only PyTorch can read; where"
      ' transformers is installed, run python -c "from transformers import'
      f" T5ForConditionalGeneration as T; T.from_pretrained('{path}')"
      ".save_pretrained('DIR')\" and give DIR"
    )
  raise errors.UserError(
    f"{path}: holds {CONFIG} but neither {WEIGHTS} nor {INDEX}; the download"
    " may be incomplete"
  )


def _json(content: bytes, path: str, name: str) -> dict[str, Any]:
  try:
    value = json.loads(content)
  except ValueError as error:
    raise errors.UserError(
      f"{path}: {name} is not JSON ({error}); it is damaged"
    ) from error
  if not isinstance(value, dict):
    raise errors.UserError(f"{path}: {name} holds no JSON object")
  return value


def _tensors(path: str, file: str) -> dict[str, stored.StoredArray]:
  full = os.path.join(path, file)
  try:
    opened = safetensors.safe_open(full, framework="numpy")
  except FileNotFoundError as error:
    raise errors.UserError(
      f"{full}: missing, though {INDEX} names it; the download is incomplete"
    ) from error
  except safetensors.SafetensorError as error:
    raise errors.UserError(
      f"{full}: not a whole safetensors file ({files.first_line(error)};"
      f" {os.path.getsize(full):,} bytes); the download was cut short"
    ) from error
  return {name: _tensor(opened, name, full) for name in opened.keys()}  # noqa: SIM118


def _tensor(opened: Any, name: str, full: str) -> stored.StoredArray:
  part = opened.get_slice(name)
  dtype = safetensors_file.DTYPES.get(part.get_dtype())
  if dtype is None:
    raise errors.UserError(
      f"{full}: {name} is {part.get_dtype()}; expected one of"
      f" {', '.join(safetensors_file.DTYPES)}: quantised weights cannot be"
      " trained"
    )

  def read(index: stored.Index) -> np.ndarray:
    return np.asarray(part[index])

  return stored.StoredArray(tuple(part.get_shape()), dtype, read)


def write(path: str, checkpoint: stored.StoredCheckpoint) -> None:
  """Writes a Hugging Face T5 into the empty folder `path`.

  Args:
    path: an existing, empty, local folder.
    checkpoint: what to write; step and optimizer state have no place there.
  """
  tensors = hf_names.from_t5x(checkpoint.arrays)
  groups = _split(tensors, MAX_FILE_BYTES)
  weight_map = {}
  for number, group in enumerate(groups, 1):
    file = WEIGHTS
    if len(groups) > 1:
      file = f"model-{number:05}-of-{len(groups):05}.safetensors"
    safetensors_file.write(
      os.path.join(path, file),
      {name: tensors[name] for name in group},
      {"format": "pt"},
    )
    weight_map.update(dict.fromkeys(group, file))
  if len(groups) > 1:
    total = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(path, INDEX, index)
  dtypes = {array.dtype.name for array in tensors.values()}
  dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
  config = hf_names.config_to_json(checkpoint.config, dtype)
  _write_json(path, CONFIG, config)
  _write_json(path, "generation_config.json", hf_names.GENERATION_CONFIG)


def _split(
  tensors: Mapping[str, stored.StoredArray], max_bytes: int
) -> list[list[str]]:
  groups: list[list[str]] = [[]]
  size = 0
  for name, array in sorted(tensors.items()):
    if groups[-1] and size + array.nbytes > max_bytes:
      groups.append([])
      size = 0
    groups[-1].append(name)
    size += array.nbytes
  return groups


def _write_json(path: str, name: str, value: Mapping[str, Any]) -> None:
  with open(os.path.join(path, name), "w", encoding="utf-8") as file:
    json.dump(value, file, indent=2, sort_keys=True)
    file.write("\n")
