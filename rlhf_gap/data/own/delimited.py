"""CSV and TSV with a header."""

import csv
import io
import json
from collections.abc import Iterator
from typing import IO

from rlhf_gap import errors
from rlhf_gap.data.own import json_lines
from rlhf_gap.data.published import Row

DELIMITERS = {"csv": ",", "tsv": "\t"}
"""Format to what stands between cells."""


def rows(file: IO[bytes], place: str, format: str) -> Iterator[Row]:
  """Yields the rows under a header; every cell is text.

  A cell may hold line breaks between quotes, and `json_lines.MAX_ROW_BYTES`
  characters at most.

  Args:
    file: open for reading.
    place: its name, for messages.
    format: a key of `DELIMITERS`.

  Raises:
    UserError: the file is UTF-16, or two columns have one name.
  """
  csv.field_size_limit(json_lines.MAX_ROW_BYTES)
  # A bad byte becomes a surrogate here, so that only its own row is refused.
  text = io.TextIOWrapper(
    file, encoding="utf-8-sig", errors="surrogateescape", newline=""
  )
  reader = csv.reader(text, delimiter=DELIMITERS[format], strict=True)
  header: list[str] | None = None
  while True:
    try:
      cells = next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      yield Row(reader.line_num, None, "wrong_columns", str(error))
      continue
    if header is None:
      header = _header(cells, place)
    else:
      yield _row(reader.line_num, header, cells)


def _header(cells: list[str], place: str) -> list[str]:
  if any(cell.startswith(("\udcff\udcfe", "\udcfe\udcff")) for cell in cells):
    raise errors.UserError(f"{place}: looks like UTF-16; save it as UTF-8")
  repeated = sorted({cell for cell in cells if cells.count(cell) > 1})
  if repeated:
    raise errors.UserError(
      f"{place}: two columns are called {repeated[0]!r}; rename one"
    )
  return cells


def _row(line: int, header: list[str], cells: list[str]) -> Row:
  if not cells:
    return Row(line, None, "blank_line")
  if len(cells) != len(header):
    detail = f"{len(cells)} cells under {len(header)} columns"
    return Row(line, None, "wrong_columns", detail)
  try:
    "".join(cells).encode()
  except UnicodeEncodeError:
    return Row(line, None, "invalid_utf8")
  return Row(line, dict(zip(header, cells, strict=True)))


def value(text: str) -> object:
  """Returns what a cell that must hold a number or a list stands for.

  >>> value("[0.5, 2]"), value("0.25"), value(""), value("blue")
  ([0.5, 2], 0.25, None, 'blue')

  Args:
    text: the cell.
  """
  if not text.strip():
    return None
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return {"true": True, "false": False}.get(text.strip().lower(), text)
