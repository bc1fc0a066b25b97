"""Hugging Face folders: `config.json` and safetensors, whole or sharded."""

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.checkpoints import (
  architecture,
  hf_config,
  hf_names,
  safetensors_file,
  stored,
)

NAME = "hf"
CONFIG = hf_config.CONFIG
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

MAX_FILE_BYTES = 5 * 10**9
"""Size above which weights are sharded: the default of transformers."""

# Weights that transformers can rewrite as safetensors: the file's name, the
# arguments that make `from_pretrained` read it, and what must be installed.
_OTHER_WEIGHTS = (
  (
    re.compile(r"model\.(?P<variant>\w+)(-\d+-of-\d+)?\.safetensors"),
    ', variant="{variant}"',
    "",
  ),
  (re.compile(r"pytorch_model.*\.bin(\.index\.json)?"), "", ""),
  (
    re.compile(r"flax_model.*\.msgpack(\.index\.json)?"),
    ", from_flax=True",
    " 4 (5 reads no Flax) and flax",
  ),
  (
    re.compile(r"tf_model.*\.h5(\.index\.json)?"),
    ", from_tf=True",
    " 4 (5 reads no TensorFlow) and tensorflow",
  ),
)


class _Index(msgspec.Struct):
  weight_map: dict[str, str]


def holds(names: list[str]) -> bool:
  """Returns whether files of these names form a Hugging Face folder."""
  return any(
    name in (CONFIG, WEIGHTS, INDEX) or _rewriting(name) is not None
    for name in names
  )


def _rewriting(name: str) -> tuple[str, str] | None:
  """Returns the arguments and the packages that read a weights file.

  None if the file holds no weights, or safetensors that are read here.
  """
  for pattern, keywords, needs in _OTHER_WEIGHTS:
    match = pattern.fullmatch(name)
    if match:
      return keywords.format(**match.groupdict()), needs
  return None


def read(path: str) -> stored.StoredCheckpoint:
  """Opens a Hugging Face T5.

  Args:
    path: a local folder with safetensors and, usually, `config.json`.

  Returns:
    The checkpoint, not yet read. It has no step and no optimizer state.

  Raises:
    UserError: files are damaged or missing, it is not a T5, or `config.json`
      contradicts the arrays.
  """
  # First, so that the message about another model names its type.
  described = hf_config.read(path)
  arrays, notes = hf_names.to_t5x(_tensors(path), path, described)
  shapes = {name: array.shape for name, array in arrays.items()}
  config = architecture.infer(shapes, path)
  if described is not None:
    config = hf_config.reconcile(described, config, path)
  return stored.StoredCheckpoint(NAME, config, 0, arrays, notes=notes)


def _tensors(path: str) -> dict[str, stored.StoredArray]:
  """Returns all tensors of a folder, not yet read."""
  whole = os.path.join(path, WEIGHTS)
  if os.path.lexists(whole):
    return safetensors_file.read(whole)
  place = os.path.join(path, INDEX)
  if not os.path.lexists(place):
    raise errors.UserError(_no_weights(path))
  weight_map = local_files.read_json(place, _Index).weight_map
  if not weight_map:
    raise errors.UserError(f"{path}: {INDEX} lists no files; it is damaged")
  tensors: dict[str, stored.StoredArray] = {}
  for file in sorted(set(weight_map.values())):
    full = local_files.inside(path, file, place)
    if not os.path.lexists(full):
      raise errors.UserError(
        f"{full}: missing, but {INDEX} lists it; the download is incomplete"
      )
    part = safetensors_file.read(full)
    for name in sorted(set(part) & set(tensors)):
      raise errors.UserError(
        f"{full}: holds {name}, which another file of {INDEX} holds too; files"
        " of two models are mixed"
      )
    for name in sorted(n for n, f in weight_map.items() if f == file):
      if name not in part:
        raise errors.UserError(
          f"{full}: holds no {name}, but {INDEX} says it does; files of two"
          " models are mixed"
        )
    tensors.update(part)
  return tensors


def _no_weights(path: str) -> str:
  names = sorted(os.listdir(path))
  for name in sorted(names, key=_preference):
    rewriting = _rewriting(name)
    if rewriting is None:
      continue
    keywords, needs = rewriting
    code = (
      "from transformers import AutoModelForSeq2SeqLM as M;"
      f' M.from_pretrained("{path}"{keywords}).save_pretrained("DIR")'
    )
    return (
      f"{path}: holds {name} but no {WEIGHTS}; only safetensors without a"
      f" variant are supported: with transformers{needs} installed, run python"
      f" -c {shlex.quote(code)} and give DIR instead"
    )
  if any(re.fullmatch(r"model-\d+-of-\d+\.safetensors", n) for n in names):
    return (
      f"{path}: holds shards of a model but not {INDEX}; the download is"
      " incomplete"
    )
  return (
    f"{path}: holds {CONFIG} but neither {WEIGHTS} nor {INDEX}; the download"
    " may be incomplete"
  )


def _preference(name: str) -> tuple[int, bool, str]:
  """Sort key: transformers 5's own order, each index before its shards."""
  kinds = [bool(pattern.fullmatch(name)) for pattern, _, _ in _OTHER_WEIGHTS]
  kind = kinds.index(True) if any(kinds) else len(kinds)
  return kind, not name.endswith(".json"), name


def write(path: str, checkpoint: stored.StoredCheckpoint) -> None:
  """Writes a Hugging Face T5 into the empty folder `path`.

  Args:
    path: an existing, empty, local folder.
    checkpoint: what to write, without its step and optimizer state.
  """
  tensors = hf_names.from_t5x(checkpoint.arrays)
  dtypes = {array.dtype.name for array in tensors.values()}
  dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
  config = hf_config.to_json(checkpoint.config, dtype)
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
  _write_json(path, CONFIG, config)
  _write_json(path, hf_config.GENERATION, hf_config.SPECIAL_IDS)


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
  local_files.write_json(os.path.join(path, name), value)
