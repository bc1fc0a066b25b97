"""Reads published files row by row: JSON lines, CSV, Parquet; gzip or not.

A line that is not a record is yielded with its fault, never skipped. A file
that cannot be read to its end is a `UserError`, because the number of lost rows
is unknown.
"""

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

import etils.epath

from rlhf_gap import errors, files

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet")

# Whole conversations stand in one cell; the csv module's own limit is 128 KiB.
_CELL_BYTES = 1 << 27
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Row:
  """One record of a published file, or the reason why it is not one.

  Attributes:
    line: its position, from 1: the (last) line in a text file, or the row in a
      Parquet file.
    fields: the record's columns, or None.
    fault: the reason why `fields` is None: "invalid_utf8", "malformed_json",
      "not_an_object", "blank_line" or "wrong_columns"; "" otherwise.
    detail: what was found.
  """

  line: int
  fields: Mapping[str, object] | None
  fault: str = ""
  detail: str = ""


def _ignore(count: int) -> None:
  del count


def rows(
  name: str,
  path: etils.epath.Path,
  on_bytes: Callable[[int], object] = _ignore,
) -> Iterator[Row]:
  """Yields every row of a file, in its order.

  Args:
    name: the published name; it ends in one of `SUFFIXES`.
    path: a local or `gs://` path, whatever its own name.
    on_bytes: called with the number of bytes read since the last call.

  Yields:
    The rows, valid or not.

  Raises:
    UserError: the file is empty, of another kind, or damaged.
  """
  _check_regular(path)
  size = path.stat().length
  if not size:
    raise errors.UserError(
      f"{path} is empty; expected rows: was its download interrupted?"
    )
  seen = count = 0
  with path.open("rb") as raw:
    for count, row in enumerate(_read(name, path, raw), start=1):
      if count % 1000 == 0:
        position = raw.tell()
        on_bytes(position - seen)
        seen = position
      yield row
  if not count:
    raise errors.UserError(f"{path} holds no rows; expected at least one")
  on_bytes(size - seen)


def fingerprint(paths: Mapping[str, etils.epath.Path]) -> str:
  """Returns 16 hex digits of the files' names and bytes."""
  hashed = hashlib.sha256()
  for name in sorted(paths):
    hashed.update(f"{len(name)}:{name}".encode())
    _check_regular(paths[name])
    with paths[name].open("rb") as file:
      while chunk := file.read(_CHUNK_BYTES):
        hashed.update(chunk)
  return hashed.hexdigest()[:16]


def _check_regular(path: etils.epath.Path) -> None:
  """Refuses local paths other than files: opening a FIFO would block."""
  if "://" not in str(path):
    files.check_regular(path)


def _read(name: str, path: etils.epath.Path, raw: IO[bytes]) -> Iterator[Row]:
  if not name.endswith(SUFFIXES):
    raise errors.UserError(
      f"{path}: expected a file named *{', *'.join(SUFFIXES)}"
    )
  if name.endswith(".parquet"):
    yield from _parquet(path, raw)
  elif name.endswith(".csv"):
    yield from _csv(raw)
  elif name.endswith(".gz"):
    yield from _gzipped_json_lines(path, raw)
  else:
    yield from _json_lines(files.without_bom(raw, str(path)))


def _gzipped_json_lines(
  path: etils.epath.Path, raw: IO[bytes]
) -> Iterator[Row]:
  line = 0
  try:
    with gzip.GzipFile(fileobj=raw) as file:
      for row in _json_lines(files.without_bom(file, str(path))):
        line = row.line
        yield row
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise errors.UserError(
      f"{path}: the gzip stream is damaged after line {line} ({error});"
      " was its download interrupted? Download it again"
    ) from None


def _json_lines(file: Iterable[bytes]) -> Iterator[Row]:
  for line, encoded in enumerate(file, start=1):
    if not encoded.strip():
      yield Row(line, None, "blank_line")
      continue
    try:
      record = json.loads(encoded.decode())
    except UnicodeDecodeError as error:
      yield Row(line, None, "invalid_utf8", f"byte {error.start}")
    except (json.JSONDecodeError, RecursionError) as error:
      yield Row(line, None, "malformed_json", str(error))
    else:
      if isinstance(record, dict):
        yield Row(line, record)
      else:
        yield Row(line, None, "not_an_object", type(record).__name__)


def _csv(raw: IO[bytes]) -> Iterator[Row]:
  csv.field_size_limit(_CELL_BYTES)
  # A bad byte becomes a surrogate here, so that only its own row is refused.
  file = io.TextIOWrapper(
    raw, encoding="utf-8-sig", errors="surrogateescape", newline=""
  )
  reader = csv.reader(file, strict=True)
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
      header = cells
      continue
    yield _csv_row(reader.line_num, header, cells)


def _csv_row(line: int, header: list[str], cells: list[str]) -> Row:
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


def _parquet(path: etils.epath.Path, raw: IO[bytes]) -> Iterator[Row]:
  import pyarrow
  import pyarrow.parquet

  try:
    file = pyarrow.parquet.ParquetFile(raw)
    line = 0
    for batch in file.iter_batches(batch_size=1000):
      for fields in batch.to_pylist():
        line += 1
        yield Row(line, fields)
  except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
    reason = str(error).splitlines()[0]
    raise errors.UserError(
      f"{path}: not a sound Parquet file ({reason}); download it again"
    ) from None
