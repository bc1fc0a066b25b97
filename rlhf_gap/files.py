"""Reads small files that users provide, and writes files atomically.

Input is not trusted: only regular files are opened (a FIFO or device would
block forever), sizes are bounded, text is UTF-8 with an optional byte-order
mark, and JSON is decoded against a schema.
"""

import codecs
import contextlib
import dataclasses
import os
import pathlib
import resource
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
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


def check_tree(folder: str | os.PathLike[str]) -> None:
  """Checks that a folder holds nothing but regular files and folders.

  For libraries that open files themselves: a FIFO or device among them would
  block forever. Symbolic links are followed; what is not there is not checked.

  Args:
    folder: a local folder.

  Raises:
    UserError: an entry below `folder` is a FIFO, socket or device.
  """
  pending, seen = [os.fspath(folder)], set()
  while pending:
    path = pending.pop()
    try:
      status = os.stat(path)
      entries = list(os.scandir(path))
    except OSError:  # missing, a file, or unreadable: the reader reports it
      continue
    if (status.st_dev, status.st_ino) in seen:  # a link to a parent
      continue
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
      if entry.is_dir():
        pending.append(entry.path)
      elif not entry.is_file() and os.path.exists(entry.path):
        check_regular(entry.path)


def check_fits_memory(num_bytes: int, place: str) -> None:
  """Checks that an array fits in this machine's memory before it is allocated.

  Some libraries abort the process when an allocation fails.

  Args:
    num_bytes: the size of the array.
    place: what is read, for messages.

  Raises:
    UserError: the array is larger than the machine's memory.
  """
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  limit = resource.getrlimit(resource.RLIMIT_AS)[0]
  if limit != resource.RLIM_INFINITY:
    total = min(total, limit // 2)
  if num_bytes > total:
    raise errors.UserError(
      f"{place}: needs {num_bytes:,} bytes of memory, but this machine has"
      f" {total:,}; the file is damaged, or too large to be read here"
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


def decode_dataclass(
  content: bytes, schema: type[Schema], place: str, *, beside: Collection[str]
) -> Schema:
  """Decodes a JSON object to a dataclass, and refuses keys that it lacks.

  Args:
    content: UTF-8 bytes, with or without a byte-order mark.
    schema: a dataclass; its fields may be dataclasses as well.
    place: the file's name, for messages.
    beside: keys of the outermost object that are not fields of `schema`.

  Returns:
    The decoded value.

  Raises:
    UserError: as `decode_json`, or a key is unknown.
  """
  value = decode_json(content, schema, place)
  raw = decode_json(content, dict, place)
  unknown = _unknown_key(
    {k: v for k, v in raw.items() if k not in beside}, value
  )
  if unknown:
    raise errors.UserError(f"{place}: unknown key `{unknown}`")
  return value


def _unknown_key(raw: Any, value: Any) -> str | None:
  """Returns the first key of `raw` that has no field in `value`; or None."""
  if dataclasses.is_dataclass(value):
    names = {field.name for field in dataclasses.fields(value)}
    pairs = [(key, raw[key], getattr(value, key, None)) for key in raw]
    extra = next((key for key in raw if key not in names), None)
    if extra is not None:
      return extra
  elif isinstance(value, Mapping):
    pairs = [(key, raw[key], value[key]) for key in raw]
  elif (
    isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0])
  ):
    pairs = [(str(i), raw[i], value[i]) for i in range(len(value))]
  else:
    return None
  for key, child, known in pairs:
    unknown = _unknown_key(child, known)
    if unknown:
      return f"{key}.{unknown}"
  return None


def without_place(error: errors.UserError, place: str) -> str:
  """Returns the message of a decoding error without the leading "place: ".

  Args:
    error: as `decode_json` or `decode_dataclass` raised it.
    place: as it was given to them.
  """
  return str(error).removeprefix(f"{errors.printable(place)}: ")


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
