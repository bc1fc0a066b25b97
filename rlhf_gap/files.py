"""Reads the small files a user hands us, and writes files atomically.

Everything here is defensive in the same way: only regular files are opened (a
FIFO or device would block forever), sizes are bounded, text is UTF-8 with an
optional byte-order mark, and JSON is decoded against a schema before any of it
is used.
"""

import codecs
import contextlib
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator
from typing import IO, Any, TypeVar

import msgspec

from rlhf_gap import errors

MAX_BYTES = 256 << 20
"""Largest JSON, text or index file read into memory."""

Schema = TypeVar("Schema")


def check_regular(path: str | os.PathLike[str]) -> None:
  """Checks that `path` is a regular file (symbolic links are followed).

  Args:
    path: a local path.

  Raises:
    UserError: nothing is there, or it is a directory, FIFO, socket or device.
  """
  try:
    mode = os.stat(path).st_mode
  except (FileNotFoundError, NotADirectoryError) as error:
    raise errors.UserError(f"{path}: no such file") from error
  except ValueError as error:  # an embedded NUL
    raise errors.UserError(f"{path!r}: not a valid path ({error})") from error
  if stat.S_ISDIR(mode):
    raise errors.UserError(f"{path}: is a directory; expected a file")
  if not stat.S_ISREG(mode):
    raise errors.UserError(
      f"{path}: is a FIFO, socket or device; expected a regular file"
    )


def read_bytes(
  path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES
) -> bytes:
  """Reads a whole local file.

  Args:
    path: a local path.
    max_bytes: refuse larger files.

  Returns:
    The file's content.

  Raises:
    UserError: it is missing, not a regular file, unreadable or too large.
  """
  check_regular(path)
  try:
    with open(path, "rb") as file:
      content = file.read(max_bytes + 1)
  except PermissionError as error:
    raise errors.UserError(f"{path}: no permission to read it") from error
  if len(content) > max_bytes:
    raise errors.UserError(
      f"{path}: larger than {max_bytes:,} bytes; is it the right file?"
    )
  return content


def read_text(path: str | os.PathLike[str]) -> str:
  """Reads a whole text file; see `decode_text`."""
  return decode_text(read_bytes(path), str(path))


def decode_text(content: bytes, place: str) -> str:
  """Decodes UTF-8, dropping a leading byte-order mark.

  Args:
    content: the bytes.
    place: the file's name, for messages.

  Returns:
    The text, line endings unchanged.

  Raises:
    UserError: the bytes are not UTF-8.
  """
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    hint = ""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
      hint = "; it looks like UTF-16: save it as UTF-8"
    raise errors.UserError(
      f"{place}: not UTF-8 (byte {error.start}){hint}"
    ) from error


def without_bom(lines: Iterable[bytes], place: str) -> Iterator[bytes]:
  """Yields the lines of a UTF-8 file, the first without a byte-order mark.

  For files too large for `decode_text`: the caller decodes line by line.

  Args:
    lines: as an open binary file yields them.
    place: the file's name, for messages.

  Yields:
    Each line.

  Raises:
    UserError: the file starts with UTF-16's mark.
  """
  for number, line in enumerate(lines):
    if number == 0 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
      raise errors.UserError(f"{place}: looks like UTF-16; save it as UTF-8")
    yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line


def decode_json(content: bytes, schema: type[Schema], place: str) -> Schema:
  """Decodes JSON against a schema.

  Args:
    content: UTF-8 bytes, with or without a byte-order mark.
    schema: a `msgspec.Struct` or any other type that msgspec converts to.
    place: the file's name, for messages.

  Returns:
    The decoded value.

  Raises:
    UserError: the bytes are not JSON, or do not match the schema; the message
      names the offending key.
  """
  text = decode_text(content, place)
  try:
    return msgspec.json.decode(text, type=schema)
  except msgspec.ValidationError as error:
    raise errors.UserError(f"{place}: {error}") from error
  except msgspec.DecodeError as error:
    raise errors.UserError(
      f"{place}: not valid JSON ({error}); the file is truncated or damaged"
    ) from error
  except RecursionError as error:
    raise errors.UserError(f"{place}: JSON nested too deeply") from error


def read_json(path: str | os.PathLike[str], schema: type[Schema]) -> Schema:
  """Reads a JSON file against a schema; see `decode_json`."""
  return decode_json(read_bytes(path), schema, str(path))


def inside(folder: str, name: str, named_by: str) -> str:
  """Joins a file name read from an index or manifest to its folder.

  Such a name comes with the data, not from the user, so it must not lead out
  of the folder.

  Args:
    folder: the folder that the index describes.
    name: the name it gives, relative to `folder`; may contain slashes.
    named_by: the file that gives the name, for messages.

  Returns:
    The joined path.

  Raises:
    UserError: the name is empty or absolute, a URL, or climbs out of `folder`.
  """
  parts = pathlib.PurePosixPath(name).parts
  if (
    not name
    or "\0" in name
    or "\\" in name
    or "://" in name
    or name.startswith("/")
    or ".." in parts
  ):
    raise errors.UserError(
      f"{named_by}: names the file {name!r}; expected a relative path inside"
      f" {folder}"
    )
  return os.path.join(folder, name)


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
  """Yields a file that replaces `path` only if the block succeeds.

  A reader sees the old content or the new content, never a mixture, even if
  the process is killed.

  Args:
    path: the file to write; its folder must exist.

  Yields:
    A binary file open for writing.
  """
  partial = f"{os.fspath(path)}.partial"
  try:
    with open(partial, "wb") as file:
      yield file
    os.replace(partial, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.remove(partial)
    raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes a UTF-8 text file atomically; see `atomic_writer`."""
  with atomic_writer(path) as file:
    file.write(text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
  """Writes indented JSON with sorted keys atomically; see `atomic_writer`."""
  content = msgspec.json.encode(value, order="sorted")
  with atomic_writer(path) as file:
    file.write(msgspec.json.format(content, indent=1) + b"\n")
