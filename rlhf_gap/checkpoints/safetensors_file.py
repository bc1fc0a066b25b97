"""Writes a safetensors file an array at a time.

The library's own writer takes all arrays of a file at once, so that a model
would be held whole to be written. The format is a length, a JSON header and raw
bytes (https://github.com/huggingface/safetensors#format); what is written here
is byte for byte what the library writes.
"""

import json
import os
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from rlhf_gap.checkpoints import stored

DTYPES = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}


def write(
  path: str,
  arrays: Mapping[str, stored.StoredArray],
  metadata: Mapping[str, str],
) -> None:
  """Writes arrays into a new file.

  Args:
    path: the file, which does not exist yet.
    arrays: what to write; only a few are in memory at a time.
    metadata: words for the header's `__metadata__`.

  Raises:
    OSError: the disk is full or the file cannot be made.
  """
  header, offsets = _header(arrays, metadata)
  # Written where they belong as they come: their order in memory is free.
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
  """Returns the file's first bytes and where in it each array starts."""
  names = {dtype: name for name, dtype in DTYPES.items()}
  # Wide types first keeps every array aligned to its own type.
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
    # One call writes 2 GiB at most, and less where the disk fills up.
    written = os.pwrite(file, content, offset)
    content, offset = content[written:], offset + written
