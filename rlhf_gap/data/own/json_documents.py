"""A `.json` file: an array of objects, an object of columns, or JSON lines."""

import codecs
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from rlhf_gap import errors, files
from rlhf_gap.data.own import json_lines
from rlhf_gap.data.published import Row

_CHUNK_BYTES = 1 << 20
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


def rows(file: IO[bytes], place: str) -> Iterator[Row]:
  """Yields the rows of a document.

  An array is read element by element. An object of columns is read whole, so
  it may have `files.MAX_BYTES` at most. Lines are counted from 1; in a document
  that is not JSON lines they are the rows' numbers.

  Args:
    file: open for reading.
    place: its name, for messages.

  Raises:
    UserError: the document is UTF-16, cut short, or holds no rows.
  """
  head = _Pushback(file)
  start = head.read(4).removeprefix(codecs.BOM_UTF8)
  if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    raise errors.UserError(f"{place}: looks like UTF-16; save it as UTF-8")
  while start and not start.strip(_SPACE):
    start = head.read(1)
  start = start.lstrip(_SPACE)
  head.push(start)
  if start.startswith(b"["):
    head.read(1)
    for number, element in enumerate(_elements(head, place), start=1):
      yield json_lines.row(number, element)
    return
  yield from _lines_or_columns(head, place)


class _Pushback:
  """A binary file to which bytes can be given back."""

  def __init__(self, file: IO[bytes]):
    self._file = file
    self._pending = b""

  def push(self, content: bytes) -> None:
    self._pending = content + self._pending

  def read(self, size: int) -> bytes:
    if not self._pending:
      return self._file.read(size)
    content, self._pending = self._pending[:size], self._pending[size:]
    return content

  def readline(self, size: int = -1, /) -> bytes:
    end = self._pending.find(b"\n") + 1
    if end:
      line, self._pending = self._pending[:end], self._pending[end:]
      return line
    line, self._pending = self._pending, b""
    return line + self._file.readline(size)


def _lines_or_columns(head: _Pushback, place: str) -> Iterator[Row]:
  first = head.readline(json_lines.MAX_ROW_BYTES + 1)
  row = json_lines.row(1, first)
  is_line = row.fields is not None and not _are_columns(row.fields)
  if is_line or row.fault in ("duplicate_key", "invalid_utf8"):
    head.push(first)
    yield from json_lines.rows(head, place)
    return
  content = first
  while chunk := head.read(_CHUNK_BYTES):
    content += chunk
    if len(content) > files.MAX_BYTES:
      raise errors.UserError(
        f"{place}: one JSON value of more than {files.MAX_BYTES:,} bytes;"
        " write it as JSON lines"
      )
  document = json_lines.row(1, content)
  if document.fields is None:
    head.push(content)
    yield from _as_lines(content, place, document)
  elif _are_columns(document.fields):
    yield from _columns(document.fields, place)
  else:
    yield document


def _as_lines(content: bytes, place: str, document: Row) -> Iterator[Row]:
  """Yields the lines of a text whose first line is no object."""
  lines = content.splitlines(keepends=True) if b"\n" in content else []
  decoded = [json_lines.row(n, line) for n, line in enumerate(lines, start=1)]
  if not any(row.fields for row in decoded):
    raise errors.UserError(
      f"{place}: not valid JSON ({document.fault} {document.detail}); the file"
      " is truncated or damaged"
    )
  yield from decoded


def _are_columns(fields: Mapping[str, Any]) -> bool:
  """Whether an object holds columns: lists of rows, all of one length.

  A row whose values are all lists of messages is a row.
  """
  values = list(fields.values())
  if not values or not all(isinstance(value, (list, dict)) for value in values):
    return False
  cells = itertools.chain.from_iterable(
    value.values() if isinstance(value, dict) else value for value in values
  )
  first = next(cells, None)
  return not (isinstance(first, dict) and {"role", "from"} & set(first))


def _columns(fields: Mapping[str, Any], place: str) -> Iterator[Row]:
  listed = {
    name: list(value.values()) if isinstance(value, dict) else value
    for name, value in fields.items()
  }
  keys = {tuple(value) for value in fields.values() if isinstance(value, dict)}
  lengths = {name: len(value) for name, value in listed.items()}
  if len(set(lengths.values())) != 1 or len(keys) > 1:
    raise errors.UserError(
      f"{place}: columns do not have the same rows (rows per column: {lengths})"
    )
  for number, cells in enumerate(zip(*listed.values(), strict=True), start=1):
    yield Row(number, dict(zip(listed, cells, strict=True)))


def _elements(file: _Pushback, place: str) -> Iterator[bytes | None]:
  """Yields the text of each element of an array whose bracket was read.

  Only the nesting is followed here; `json_lines.row` judges each element. An
  element that is too long is dropped as it is read and yields None.
  """
  element, depth, inside, escaped, count = bytearray(), 0, False, False, 0
  too_long = False
  while chunk := file.read(_CHUNK_BYTES):
    start, position = 0, int(escaped)
    escaped = False
    while match := (_INSIDE if inside else _OUTSIDE).search(chunk, position):
      position, mark = match.end(), match[0]
      if inside:
        inside = mark != b'"'
        if inside:  # a backslash: the byte after it means nothing here
          escaped = position == len(chunk)
          position += 1
      elif mark == b'"':
        inside = True
      elif mark in b"[{":
        depth += 1
      elif depth:
        depth -= mark in b"]}"
      else:
        element += chunk[start : match.start()]
        start = position
        if mark == b"}":
          raise _damaged(place, count, "a } too many")
        ends = mark == b"]"
        if not (ends and not count and not element.strip(_SPACE)):
          count += 1
          over = too_long or len(element) > json_lines.MAX_ROW_BYTES
          yield None if over else bytes(element)
        element.clear()
        too_long = False
        if ends:
          _check_ended(chunk[position:], file, place)
          return
    element += chunk[start:]
    if len(element) > json_lines.MAX_ROW_BYTES:
      too_long = True
      element.clear()
  raise _damaged(place, count, "it ends inside its array")


def _check_ended(rest: bytes, file: _Pushback, place: str) -> None:
  while rest or (rest := file.read(_CHUNK_BYTES)):
    if rest.strip(_SPACE):
      raise errors.UserError(
        f"{place}: more text follows its array; expected one JSON value"
      )
    rest = b""


def _damaged(place: str, count: int, reason: str) -> errors.UserError:
  return errors.UserError(
    f"{place}: damaged after row {count} ({reason}); was its download"
    " interrupted?"
  )
