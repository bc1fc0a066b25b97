"""JSON lines: one object a line, each line bounded."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from rlhf_gap import errors
from rlhf_gap.data.published import Row

MAX_ROW_BYTES = 16 << 20
"""Longest row that is read; a longer one is counted, not read into memory."""


@runtime_checkable
class Lines(Protocol):
  """What lines are read from: any open binary file."""

  def readline(self, size: int = -1, /) -> bytes:
    """Returns the next line, or its first `size` bytes."""
    ...


class DuplicateKeyError(ValueError):
  """An object names a key twice, so one of its values would be lost."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  record = dict(pairs)
  if len(record) != len(pairs):
    names = [name for name, _ in pairs]
    repeated = next(name for name in names if names.count(name) > 1)
    raise DuplicateKeyError(repeated)
  return record


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def rows(file: Lines, place: str) -> Iterator[Row]:
  """Yields each line of a file: an object, or why it is not one.

  Only a line feed ends a line: strings may contain U+2028 and the like.

  Args:
    file: open for reading.
    place: its name, for messages.

  Raises:
    UserError: the file is UTF-16.
  """
  for line, content in enumerate(_lines(file, place), start=1):
    yield row(line, content)


def row(line: int, content: bytes | None) -> Row:
  """Returns the row that a JSON text holds, or its error.

  Args:
    line: where it is.
    content: the text; None if it is longer than `MAX_ROW_BYTES`.
  """
  if content is None:
    return Row(line, None, "row_too_long", f"over {MAX_ROW_BYTES:,} bytes")
  try:
    text = content.decode()
  except UnicodeDecodeError as error:
    return Row(line, None, "invalid_utf8", f"byte {error.start}")
  # Only JSON's own white space makes a line blank.
  if not text.strip(" \t\r\n"):
    return Row(line, None, "blank_line")
  return _decoded(line, text)


def _decoded(line: int, text: str) -> Row:
  try:
    record = _DECODER.decode(text)
  except DuplicateKeyError as error:
    return Row(line, None, "duplicate_key", str(error))
  except RecursionError:
    return Row(line, None, "malformed_json", "nested too deeply")
  except ValueError as error:  # also integers of thousands of digits
    return Row(line, None, "malformed_json", str(error)[:200])
  if not isinstance(record, dict):
    return Row(line, None, "not_an_object", type(record).__name__)
  return Row(line, record)


def _lines(file: Lines, place: str) -> Iterator[bytes | None]:
  first = True
  while line := file.readline(MAX_ROW_BYTES + 1):
    if first:
      first = False
      if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise errors.UserError(f"{place}: looks like UTF-16; save it as UTF-8")
      line = line.removeprefix(codecs.BOM_UTF8)
    if len(line) <= MAX_ROW_BYTES:
      yield line
      continue
    while line and not line.endswith(b"\n"):
      line = file.readline(MAX_ROW_BYTES)
    yield None
