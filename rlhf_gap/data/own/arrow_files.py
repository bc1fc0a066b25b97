"""Parquet and Arrow (IPC file and stream), some rows at a time."""

from collections.abc import Collection, Iterator
from typing import IO, Any

from rlhf_gap import errors
from rlhf_gap.data.published import Row

_ROWS_AT_ONCE = 1000
# Decoded bytes of one batch, so that long rows do not fill the memory.
_BATCH_BYTES = 32 << 20


def rows(
  file: IO[bytes], place: str, format: str, wanted: Collection[str] | None
) -> Iterator[Row]:
  """Yields the rows of a file.

  Args:
    file: open for reading.
    place: its name, for messages.
    format: "parquet" or "arrow".
    wanted: columns to read; None reads all. Those that are absent are left out.

  Raises:
    UserError: the file is damaged or of another format.
  """
  import pyarrow

  batches = _parquet if format == "parquet" else _arrow
  number = 0
  try:
    for batch in batches(file, place, wanted):
      for fields in _records(batch):
        number += 1
        if fields is None:
          yield Row(number, None, "invalid_utf8")
        else:
          yield Row(number, fields)
  except (pyarrow.ArrowException, OSError, MemoryError) as error:
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    raise errors.UserError(
      f"{place}: not a sound {format.capitalize()} file after row {number}"
      f" ({reason}); was its download interrupted?"
    ) from None


def _records(batch: Any) -> Iterator[dict[str, Any] | None]:
  """Yields a batch's rows; None where a text is not UTF-8."""
  try:
    yield from batch.to_pylist()
    return
  except UnicodeDecodeError:
    pass
  for row in range(batch.num_rows):
    try:
      yield batch.slice(row, 1).to_pylist()[0]
    except UnicodeDecodeError:
      yield None


def _parquet(
  file: IO[bytes], place: str, wanted: Collection[str] | None
) -> Iterator[Any]:
  import pyarrow.parquet

  # Buffering ahead keeps what was read until the file is closed.
  parquet = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
  names = _names(parquet.schema_arrow, place, wanted)
  metadata = parquet.metadata
  groups = [
    metadata.row_group(group) for group in range(metadata.num_row_groups)
  ]
  row_bytes = max(
    (group.total_byte_size // max(group.num_rows, 1) for group in groups),
    default=1,
  )
  size = max(1, min(_ROWS_AT_ONCE, _BATCH_BYTES // max(row_bytes, 1)))
  for number in range(len(groups)):
    yield from parquet.iter_batches(
      batch_size=size, row_groups=[number], columns=names
    )


def _arrow(
  file: IO[bytes], place: str, wanted: Collection[str] | None
) -> Iterator[Any]:
  import pyarrow.ipc

  magic = file.read(6)
  file.seek(0)
  if magic == b"ARROW1":
    reader = pyarrow.ipc.open_file(file)
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
  else:
    reader = pyarrow.ipc.open_stream(file)
    batches = iter(reader)
  names = _names(reader.schema, place, wanted)
  for batch in batches:
    batch = batch.select(names)
    batch.validate(full=False)
    size = max(1, min(_ROWS_AT_ONCE, _size(batch)))
    for first in range(0, batch.num_rows, size):
      yield batch.slice(first, size)


def _size(batch: Any) -> int:
  row_bytes = max(batch.nbytes // max(batch.num_rows, 1), 1)
  return int(_BATCH_BYTES // row_bytes)


def _names(schema: Any, place: str, wanted: Collection[str] | None) -> list:
  names = list(schema.names)
  repeated = sorted({name for name in names if names.count(name) > 1})
  if repeated:
    raise errors.UserError(
      f"{place}: two columns are called {repeated[0]!r}; rename one"
    )
  return [name for name in names if wanted is None or name in wanted]
