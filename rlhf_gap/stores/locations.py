"""Local paths, `gs://` and other URLs, through one door: TensorStore's.

Every part of a store, `manifest.json` included, is read and written here, so
that what works on a disk works on object storage.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorstore as ts

from rlhf_gap import errors

CACHE_BYTES = 256 << 20
"""Decoded chunks held in memory, all open stores together."""

_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_REASONS = {
  errno.ENOSPC: "no space is left on the device",
  errno.EDQUOT: "the disk quota is used up",
  errno.EFBIG: "a file would exceed the file size limit (ulimit -f)",
  errno.EACCES: "no permission",
  errno.EPERM: "no permission",
  errno.EROFS: "the file system is read-only",
  errno.ENOTDIR: "a part of the path is a file, not a folder",
}

# One context for the process: its cache limit holds for all stores together,
# and `memory://` stores live in it.
CONTEXT = ts.Context({"cache_pool": {"total_bytes_limit": CACHE_BYTES}})


def spec(path: str) -> dict[str, Any]:
  """Returns TensorStore's key-value store spec of a directory.

  Args:
    path: a local directory, or a URL that TensorStore knows (`gs://bucket/x`,
      `memory://x`).

  Raises:
    UserError: the URL's scheme is not one that TensorStore knows.
  """
  if "://" not in path:
    return {"driver": "file", "path": os.path.abspath(path) + "/"}
  try:
    return ts.KvStore.Spec(path.rstrip("/") + "/").to_json()
  except ValueError as error:
    raise errors.UserError(
      f"{path}: {_first_line(error)}; expected a local path or gs://..."
    ) from error


def directory(path: str) -> ts.KvStore:
  """Opens a directory as a key-value store; it need not exist yet."""
  return ts.KvStore.open(spec(path), context=CONTEXT).result()


def read_file(path: str) -> bytes:
  """Returns the bytes of one file.

  Args:
    path: a local path or a URL.

  Raises:
    UserError: the file is missing or cannot be read.
  """
  parent, _, name = path.rpartition("/")
  if "://" not in path:
    parent, name = os.path.split(os.path.abspath(path))
  with reporting(f"cannot read {path}"):
    result = directory(parent).read(name.encode()).result()
  if result.state != "value":
    raise errors.UserError(f"{path} does not exist; check the path")
  return result.value


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
  """Turns TensorStore's errors within the block into one line for the user.

  Args:
    what: what could not be done: "cannot write DIR".

  Raises:
    UserError: TensorStore raised an error.
  """
  try:
    yield
  except ValueError as error:
    raise failure(what, error) from error


def failure(what: str, error: ValueError) -> errors.UserError:
  """Returns TensorStore's error as one line for the user.

  Args:
    what: what could not be done: "cannot write DIR".
    error: as TensorStore raised it.
  """
  code = _OS_ERROR.search(str(error))
  reason = _REASONS.get(int(code[1])) if code else None
  return errors.UserError(f"{what}: {reason or _first_line(error)}")


def _first_line(error: ValueError) -> str:
  return " ".join(str(error).split("\n")[0].split())
