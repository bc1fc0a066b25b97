"""Local folders and object storage, read and written with the same care."""

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

# T5X and Orbax write into a folder so named and rename it when it is whole.
_HALF_WRITTEN = re.compile(r"(\.tmp-|\.orbax-checkpoint-tmp)")


def is_remote(path: str) -> bool:
  """Tells object storage ("gs://...") from a local path."""
  return "://" in path


def kvstore(path: str) -> dict[str, Any]:
  """Returns the TensorStore spec of the folder `path`, local or remote."""
  if is_remote(path):
    return ts.KvStore.Spec(path.rstrip("/") + "/").to_json()
  return {"driver": "file", "path": os.path.abspath(path) + "/"}


def read(path: str, name: str) -> bytes | None:
  """Returns the content of file `name` in folder `path`; None if absent.

  Args:
    path: a local folder or an address in object storage.
    name: a file's name in it; may hold slashes.

  Returns:
    The file's bytes.

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
    found = store.read(name).result()
  except TENSORSTORE_ERRORS as error:
    raise errors.UserError(
      f"{path}: cannot be read ({first_line(error)}); check the address and"
      " your credentials"
    ) from error
  return found.value if found.state == "value" else None


def check_readable(path: str) -> None:
  """Raises a `UserError` unless `path` is a folder that is whole.

  Args:
    path: a local folder or an address in object storage, which is not checked.

  Raises:
    UserError: nothing is there, a file is there, or a half-written folder.
  """
  if _HALF_WRITTEN.search("/".join(path.rstrip("/").split("/")[-2:])):
    raise errors.UserError(
      f"{path}: a half-written checkpoint, left by a save that was"
      " interrupted; load another step, or finish the save"
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
  """Returns the bytes of all files under a local folder, None if remote."""
  if is_remote(path):
    return None
  regular = (p for p in pathlib.Path(path).rglob("*") if p.is_file())
  return sum(p.stat().st_size for p in regular)


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's text, without TensorStore's source."""
  lines = str(error).splitlines() or [type(error).__name__]
  return re.sub(r"\s*\[(source locations|tensorstore_spec)=.*", "", lines[0])


def check_new(path: str) -> None:
  """Raises a `UserError` unless the folder `path` can be made.

  Args:
    path: where a checkpoint is to be written.

  Raises:
    UserError: something is there, it is remote, or its parent is read-only.
  """
  if is_remote(path):
    raise errors.UserError(
      f"{path}: checkpoints are written to local folders; write one and copy"
      " it with `gcloud storage cp --recursive`"
    )
  if os.path.lexists(path):
    raise errors.UserError(
      f"{path}: exists already and is not overwritten; name another folder"
      " or remove it"
    )
  parent = os.path.dirname(os.path.abspath(path))
  while not os.path.exists(parent):
    parent = os.path.dirname(parent)
  if not os.path.isdir(parent):
    raise errors.UserError(f"{path}: {parent} is a file, not a folder")
  if not os.access(parent, os.W_OK | os.X_OK) or _is_read_only(parent):
    raise errors.UserError(
      f"{path}: no permission to write in {parent}; name a folder that you"
      " may write"
    )


def _is_read_only(folder: str) -> bool:
  # `os.access` tells root that a read-only file system may be written.
  return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def new_folder(path: str, needed_bytes: int = 0) -> Iterator[str]:
  """Yields a folder that becomes `path` when the block ends well.

  Whatever goes wrong in the block, nothing is left behind; a killed process
  leaves a folder named `.tmp-`, which no reader takes for a checkpoint.

  Args:
    path: the folder to make; its missing parents are made too.
    needed_bytes: what the content takes at most, for the message when it does
      not fit.

  Yields:
    The folder to write into.

  Raises:
    UserError: `path` cannot be made, or the disk is full.
  """
  check_new(path)
  path = os.path.abspath(path)
  made = _make_parents(path)
  scratch = f"{path}.tmp-{os.getpid()}"
  # Orbax writes beside the folder it is given: that has to lie in ours too.
  folder = os.path.join(scratch, os.path.basename(path))
  try:
    os.makedirs(folder)
    yield folder
    os.rename(folder, path)
    os.rmdir(scratch)
  except BaseException as error:
    shutil.rmtree(scratch, ignore_errors=True)
    for parent in reversed(made):
      os.rmdir(parent)
    if _is_full(error):
      raise errors.UserError(
        f"{path}: no space is left on the device; up to"
        f" {needed_bytes / 1e9:,.3f} GB were needed; nothing was kept"
      ) from error
    raise


def _make_parents(path: str) -> list[str]:
  made: list[str] = []
  parent = os.path.dirname(path)
  while not os.path.exists(parent):
    made.insert(0, parent)
    parent = os.path.dirname(parent)
  for folder in made:
    os.mkdir(folder)
  return made


def _is_full(error: BaseException) -> bool:
  # TensorStore and safetensors report the system's error inside their own.
  if isinstance(error, OSError) and error.errno in (
    errno.ENOSPC,
    errno.EDQUOT,
  ):
    return True
  text = str(error)
  return "No space left" in text or "quota exceeded" in text.lower()
