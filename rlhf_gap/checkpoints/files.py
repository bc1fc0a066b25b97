"""Reads and writes checkpoint folders, local or in object storage."""

import contextlib
import errno
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap import files as local_files
from rlhf_gap.stores import locations

TENSORSTORE_ERRORS = locations.ERRORS

# T5X and Orbax write into a folder of such a name and rename it at the end.
_HALF_WRITTEN = re.compile(r"(\.tmp-|\.orbax-checkpoint-tmp)")


def is_remote(path: str) -> bool:
  """Returns whether `path` is in object storage ("gs://...")."""
  return "://" in path


def kvstore(path: str) -> dict[str, Any]:
  """Returns the TensorStore spec of the folder `path`, local or remote."""
  if is_remote(path):
    return ts.KvStore.Spec(path.rstrip("/") + "/").to_json()
  return {"driver": "file", "path": os.path.abspath(path) + "/"}


def read(path: str, name: str) -> bytes | None:
  """Reads the file `name` in the folder `path`.

  Args:
    path: a local folder or a URL.
    name: the file's name in it; may contain slashes.

  Returns:
    The file's bytes; None if there is no such file.

  Raises:
    UserError: the storage cannot be read, or the file is a FIFO or device.
  """
  if not is_remote(path):
    file = os.path.join(path, name)
    if not os.path.exists(file) or os.path.isdir(file):
      return None
    return local_files.read_bytes(file)
  try:
    store = ts.KvStore.open(kvstore(path)).result()
    result = store.read(name).result()
  except TENSORSTORE_ERRORS as error:
    raise errors.UserError(
      f"{path}: cannot be read ({first_line(error)}); check the address and"
      " your credentials"
    ) from error
  return result.value if result.state == "value" else None


def check_readable(path: str) -> None:
  """Checks that `path` is a readable folder that was written completely.

  Args:
    path: a local folder; for a URL, only its name is checked.

  Raises:
    UserError: `path` is missing, a file, unreadable, or half-written.
  """
  if _HALF_WRITTEN.search("/".join(path.rstrip("/").split("/")[-2:])):
    raise errors.UserError(
      f"{path}: a half-written checkpoint, left by an interrupted save; load"
      " another step"
    )
  if is_remote(path):
    return
  if not os.path.exists(path):
    raise errors.UserError(
      f"{path}: no such directory{_nearest(path)}; expected the folder of a"
      " checkpoint"
    )
  if not os.path.isdir(path):
    raise errors.UserError(
      f"{path}: is a file; expected the folder of a checkpoint, perhaps"
      f" {os.path.dirname(path) or '.'}"
    )
  if not os.access(path, os.R_OK | os.X_OK):
    raise errors.UserError(f"{path}: no permission to read it")


def _nearest(path: str) -> str:
  parent = os.path.dirname(os.path.abspath(path))
  while not os.path.isdir(parent):
    parent = os.path.dirname(parent)
  return f" (the nearest that exists is {parent})"


def size_bytes(path: str) -> int | None:
  """Returns the total size of a local folder's files; None for a URL."""
  if is_remote(path):
    return None
  regular = (p for p in pathlib.Path(path).rglob("*") if p.is_file())
  return sum(p.stat().st_size for p in regular)


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's text, without TensorStore's source."""
  lines = str(error).splitlines() or [type(error).__name__]
  return re.sub(r"\s*\[(source locations|tensorstore_spec)=.*", "", lines[0])


def check_new(path: str) -> None:
  """Checks that the folder `path` can be created.

  Args:
    path: the folder of a new checkpoint.

  Raises:
    UserError: `path` exists or is a URL, or its parent is read-only.
  """
  if is_remote(path):
    raise errors.UserError(
      f"{path}: checkpoints are written to local folders only; write one and"
      " copy it with `gcloud storage cp --recursive`"
    )
  if os.path.lexists(path):
    raise errors.UserError(
      f"{path}: exists already and is not overwritten; choose another folder"
      " or remove this one"
    )
  parent = os.path.dirname(os.path.abspath(path))
  while not os.path.exists(parent):
    parent = os.path.dirname(parent)
  if not os.path.isdir(parent):
    raise errors.UserError(f"{path}: {parent} is a file, not a folder")
  if not os.access(parent, os.W_OK | os.X_OK) or _is_read_only(parent):
    raise errors.UserError(
      f"{path}: no permission to write in {parent}; choose a writable folder"
    )


def _is_read_only(folder: str) -> bool:
  # For root, `os.access` calls even a read-only file system writable.
  return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def new_folder(path: str, needed_bytes: int = 0) -> Iterator[str]:
  """Yields a folder that is renamed to `path` if the block succeeds.

  If the block raises, nothing is left behind. A killed process leaves a folder
  with `.tmp-` in its name, which readers refuse as half-written.

  Args:
    path: the folder to create, with any missing parents.
    needed_bytes: upper bound on the content's size, for the message when the
      disk is full.

  Yields:
    The folder to write into.

  Raises:
    UserError: `path` cannot be created, or the disk is full.
  """
  check_new(path)
  path = os.path.abspath(path)
  created = _make_parents(path)
  scratch = f"{path}.tmp-{os.getpid()}"
  # Orbax also writes beside the folder it is given, so that needs a parent of
  # its own.
  folder = os.path.join(scratch, os.path.basename(path))
  try:
    os.makedirs(folder)
    yield folder
    os.rename(folder, path)
    os.rmdir(scratch)
  except BaseException as error:
    shutil.rmtree(scratch, ignore_errors=True)
    for parent in reversed(created):
      os.rmdir(parent)
    if _is_full(error):
      raise errors.UserError(
        f"{path}: no space is left on the device; up to"
        f" {needed_bytes / 1e9:,.3f} GB were needed; nothing was kept"
      ) from error
    raise


def _make_parents(path: str) -> list[str]:
  """Creates the missing parents of `path` and returns them, outermost first."""
  missing: list[str] = []
  parent = os.path.dirname(path)
  while not os.path.exists(parent):
    missing.insert(0, parent)
    parent = os.path.dirname(parent)
  for folder in missing:
    os.mkdir(folder)
  return missing


def _is_full(error: BaseException) -> bool:
  # TensorStore and safetensors put the system's error inside their own.
  if isinstance(error, OSError) and error.errno in (
    errno.ENOSPC,
    errno.EDQUOT,
  ):
    return True
  text = str(error)
  return "No space left" in text or "quota exceeded" in text.lower()
