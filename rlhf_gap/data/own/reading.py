"""Rows of any file; an invalid row is yielded with its error."""

import contextlib
import io
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any

from rlhf_gap import errors
from rlhf_gap.data.own import (
  arrow_files,
  delimited,
  hub,
  json_documents,
  json_lines,
  sources,
)
from rlhf_gap.data.published import Row

_ROWS_PER_UPDATE = 1000


def _ignore(count: int) -> None:
  del count


def rows(
  file: sources.SourceFile,
  wanted: Collection[str] | None = None,
  on_bytes: Callable[[int], object] = _ignore,
  split: str | None = None,
) -> Iterator[Row]:
  """Yields every row of a file, in its order, in bounded memory.

  Args:
    file: what to read.
    wanted: the columns that are used; columnar formats read no others. None
      reads all.
    on_bytes: is told how many more bytes of the file have been read.
    split: which split of a hub dataset to read.

  Yields:
    The rows, sound or not.

  Raises:
    UserError: the file cannot be read to its end, or holds no rows.
  """
  if file.format == "hub":
    yield from hub.rows(file.path, split)
    return
  count = seen = 0
  with open(file.path, "rb") as raw:
    for count, row in enumerate(_rows(file, raw, wanted), start=1):
      if count % _ROWS_PER_UPDATE == 0 and not raw.closed:
        position = raw.tell()
        on_bytes(max(position - seen, 0))
        seen = max(seen, position)
      yield row
  if not count:
    raise errors.UserError(f"{file.path} holds no rows; expected at least one")
  on_bytes(file.size_bytes - seen)


def _rows(
  file: sources.SourceFile, raw: IO[bytes], wanted: Collection[str] | None
) -> Iterator[Row]:
  place = file.path
  if file.format in ("parquet", "arrow"):
    yield from arrow_files.rows(raw, place, file.format, wanted)
    return
  with _decompressed(file, raw) as content:
    if file.format in delimited.DELIMITERS:
      yield from delimited.rows(content, place, file.format)
    elif file.format == "json":
      yield from json_documents.rows(content, place)
    else:
      yield from json_lines.rows(content, place)


@contextlib.contextmanager
def _decompressed(
  file: sources.SourceFile, raw: IO[bytes]
) -> Iterator[IO[bytes]]:
  if file.compression is None:
    yield raw
    return
  import pyarrow  # also reads zstd, which Python's library does not

  stream: Any = pyarrow.input_stream(raw, compression=file.compression)
  try:
    yield io.BufferedReader(stream, 1 << 18)
  except OSError as error:
    raise errors.UserError(
      f"{file.path}: the {file.compression} stream is damaged ({error}); was"
      " its download interrupted? Download it again"
    ) from None
