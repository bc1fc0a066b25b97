"""Reads a safetensors file, and writes one array by array.

The library's own writer takes all arrays of a file at once and so needs the
whole model in memory. The format is a length, a JSON header and raw bytes
(https://github.com/huggingface/safetensors#format). The files written here are
identical, byte for byte, to the library's.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.checkpoints import files, stored

DTYPES = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}


def read(path: str) -> dict[str, stored.StoredArray]:
  """Opens a safetensors file.

  Args:
    path: a local file.

  Returns:
    Its arrays by name, not yet read.

  Raises:
    UserError: it is missing, damaged, or holds a dtype that cannot be trained.
  """
  local_files.check_regular(path)
  try:
    opened = safetensors.safe_open(path, framework="numpy")
  except OSError as error:
    raise errors.UserError(
      f"{path}: cannot be read ({files.first_line(error)})"
    ) from error
  except safetensors.SafetensorError as error:
    size = os.path.getsize(path)
    cause = "the download was cut short"
    if size >= 8 and not _is_short(path, size):
      cause = "its header is damaged"
    raise errors.UserError(
      f"{path}: not a complete safetensors file ({files.first_line(error)};"
      f" {size:,} bytes); {cause}"
    ) from error
  return {name: _tensor(opened, name, path) for name in opened.keys()}  # noqa: SIM118


def _is_short(path: str, size: int) -> bool:
  """Returns whether a file is shorter than its header announces."""
  with open(path, "rb") as file:
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
      return True
    header = file.read(length)
  try:
    entries = json.loads(header)
    ends = [
      entry["data_offsets"][1]
      for name, entry in entries.items()
      if name != "__metadata__"
    ]
    return bool(8 + length + max(ends, default=0) > size)
  except (ValueError, TypeError, KeyError, IndexError, AttributeError):
    return False
  except RecursionError:
    return False


def _tensor(opened: Any, name: str, path: str) -> stored.StoredArray:
  part = opened.get_slice(name)
  dtype = DTYPES.get(part.get_dtype())
  if dtype is None:
    raise errors.UserError(
      f"{path}: {name[:120]} is {part.get_dtype()}; expected one of"
      f" {', '.join(DTYPES)}: quantized weights cannot be trained"
    )

  def read(index: stored.Index) -> np.ndarray:
    return np.asarray(part[index])

  return stored.StoredArray(tuple(part.get_shape()), dtype, read)


def write(
  path: str,
  arrays: Mapping[str, stored.StoredArray],
  metadata: Mapping[str, str],
) -> None:
  """Writes arrays into a new file.

  Args:
    path: the file, which does not exist yet.
    arrays: what to write; only a few are in memory at a time.
    metadata: texts for the header's `__metadata__`.

  Raises:
    OSError: the disk is full or the file cannot be created.
  """
  header, offsets = _header(arrays, metadata)
  # Each array is written at its offset, so they may be read in any order.
  file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
  try:
    _write_at(file, np.frombuffer(header, np.uint8), 0)
    stored.for_each(
      arrays,
      f"writing {os.path.basename(path)}",
      lambda name, array: _write_at(file, array.read_all(), offsets[name]),
    )
  finally:
    os.close(file)


def _header(
  arrays: Mapping[str, stored.StoredArray], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
  """Returns the file's first bytes and the offset of each array."""
  names = {dtype: name for name, dtype in DTYPES.items()}
  # Widest types first, so that every array is aligned.
  order = sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n))
  entries: dict[str, object] = {"__metadata__": dict(metadata)}
  starts, end = {}, 0
  for name in order:
    array = arrays[name]
    starts[name], end = end, end + array.nbytes
    entries[name] = {
      "dtype": names[array.dtype],
      "shape": list(array.shape),
      "data_offsets": [starts[name], end],
    }
  text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
  text += b" " * (-len(text) % 8)
  header = len(text).to_bytes(8, "little") + text
  return header, {name: len(header) + start for name, start in starts.items()}


def _write_at(file: int, array: np.ndarray, offset: int) -> None:
  content = np.ascontiguousarray(array).view(np.uint8).reshape(-1).data
  while content:
    # One call writes at most 2 GiB, and fewer bytes if the disk is full.
    written = os.pwrite(file, content, offset)
    content, offset = content[written:], offset + written
