"""Access to local paths, `gs://` and other URLs through TensorStore.

Every part of a store, `manifest.json` included, is read and written this way,
so a store works the same on a disk and in object storage.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorstore as ts

from rlhf_gap import errors, files

CACHE_BYTES = 256 << 20
"""Size of the cache of decoded chunks, shared by all open stores."""

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

# One context per process, so that all stores share the cache limit and
# `memory://` stores exist beyond a call.
CONTEXT = ts.Context({"cache_pool": {"total_bytes_limit": CACHE_BYTES}})


# The built-in exceptions that TensorStore raises, depending on the status.
ERRORS = (ValueError, OSError, NotImplementedError, IndexError, TypeError)


def is_local(path: str) -> bool:
  """Returns whether `path` is local, not a URL such as `gs://bucket/store`."""
  return "://" not in path


def check_followed(name: str, store: str) -> None:
  """Checks that a store does not make the program contact another server.

  Stores are passed between people. Only a store in object storage may refer to
  a file in object storage.

  Args:
    name: the path or URL in the store's manifest.
    store: the store's path.

  Raises:
    UserError: `name` is a URL of another scheme than the store's.
  """
  if is_local(name):
    return
  scheme = name.partition("://")[0]
  if scheme not in ("gs", "memory") or not store.startswith(f"{scheme}://"):
    raise errors.UserError(
      f"{store} refers to the remote file {name}, which is not fetched only"
      " because a manifest names it"
    )


def exists(path: str) -> bool:
  """Returns whether a local path or URL is an existing file."""
  if is_local(path):
    return os.path.isfile(path)
  parent, _, name = path.rpartition("/")
  with reporting(f"cannot read {path}"):
    keys = directory(parent).list(ts.KvStore.KeyRange(name, f"{name}\0"))
    return bool(keys.result())


def spec(path: str) -> dict[str, Any]:
  """Returns TensorStore's key-value store spec of a directory.

  Args:
    path: a local directory, or a URL that TensorStore supports
      (`gs://bucket/x`, `memory://x`).

  Raises:
    UserError: TensorStore does not support the URL's scheme.
  """
  if is_local(path):
    return {"driver": "file", "path": os.path.abspath(path) + "/"}
  try:
    return ts.KvStore.Spec(path.rstrip("/") + "/").to_json()
  except ValueError as error:
    raise errors.UserError(
      f"{path}: {_first_line(error)}; expected a local path or gs://..."
    ) from error


def directory(path: str) -> ts.KvStore:
  """Opens a directory as a key-value store; it may not exist yet."""
  return ts.KvStore.open(spec(path), context=CONTEXT).result()


def read_file(path: str) -> bytes:
  """Reads one file.

  Args:
    path: a local path or a URL.

  Raises:
    UserError: the file is missing or cannot be read.
  """
  if is_local(path):
    if not os.path.exists(path):
      raise errors.UserError(f"{path} does not exist; check the path")
    return files.read_bytes(path)
  parent, _, name = path.rpartition("/")
  with reporting(f"cannot read {path}"):
    result = directory(parent).read(name.encode()).result()
  if result.state != "value":
    raise errors.UserError(f"{path} does not exist; check the path")
  return result.value


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
  """Converts TensorStore's errors within the block to a `UserError`.

  Args:
    what: the start of the message, such as "cannot write DIR".

  Raises:
    UserError: TensorStore raised an error.
  """
  try:
    yield
  except ERRORS as error:
    raise failure(what, error) from error


def failure(what: str, error: Exception) -> errors.UserError:
  """Converts an error of TensorStore's to a `UserError`.

  Args:
    what: the start of the message, such as "cannot write DIR".
    error: as TensorStore raised it.
  """
  code = _OS_ERROR.search(str(error))
  reason = _REASONS.get(int(code[1])) if code else None
  return errors.UserError(f"{what}: {reason or _first_line(error)}")


def _first_line(error: Exception) -> str:
  return " ".join(str(error).split("\n")[0].split())
