"""`rlhf-gap data export`: exports a store as JSON lines or Parquet.

Each row has the text of every token column (`prompt`, `chosen`, `rejected`, as
Hugging Face's preference tools expect), the token ids without padding
(`chosen_tokens`, because text does not always tokenize back to the same ids),
and the scalar columns. NaN, a value that was not computed, becomes null.
"""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rlhf_gap import errors, progress, stores
from rlhf_gap.cli import data_show, flag_types, shared_flags
from rlhf_gap.stores import manifest as manifests
from rlhf_gap.token_ids import PAD_ID

_ROWS_AT_ONCE = 1024
_ARROW_TYPES = {"int32": "int32", "int64": "int64", "float32": "float32"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap data export`."""
  parser.add_argument(
    "directory", type=flag_types.storage, metavar="DIR", help="the store"
  )
  parser.add_argument("--format", required=True, help=" or ".join(FORMATS))
  parser.add_argument(
    "--output",
    type=flag_types.local,
    metavar="FILE",
    help="file to write (default: DIR.jsonl or DIR.parquet)",
  )
  shared_flags.add_moved_vocabulary(parser)


def run(arguments: argparse.Namespace) -> None:
  """Exports the store and prints the file's path."""
  print(
    export(
      arguments.directory,
      arguments.format,
      arguments.output,
      arguments.vocabulary,
    )
  )


def _ids(tokens: np.ndarray) -> list[int]:
  """Returns one row's token ids, with EOS and without padding."""
  return tokens[: np.count_nonzero(tokens != PAD_ID)].tolist()


def _column(
  spec: stores.ColumnSpec,
  values: np.ndarray,
  decode: Callable[[Sequence[int]], str],
) -> dict[str, list[Any]]:
  """Converts a column of a store to one or two exported columns."""
  if spec.holds_tokens:
    ids = [_ids(row) for row in values]
    text = [decode(row) for row in ids]
    return {spec.name.removesuffix("_tokens"): text, spec.name: ids}
  return {
    spec.name: [
      None if isinstance(v, float) and not math.isfinite(v) else v
      for v in values.tolist()
    ]
  }


def _tables(
  store: stores.Store, decode: Callable[[Sequence[int]], str]
) -> Iterator[dict[str, list[Any]]]:
  """Yields the exported columns in blocks of rows, with a progress bar."""
  with progress.bar("exporting", store.num_rows, "rows") as done:
    for first in range(0, store.num_rows, _ROWS_AT_ONCE):
      rows = range(first, min(first + _ROWS_AT_ONCE, store.num_rows))
      values = store.read(rows)
      table: dict[str, list[Any]] = {}
      for spec in store.manifest.columns:
        table |= _column(spec, values[spec.name], decode)
      yield table
      done.update(len(rows))


def _write_jsonl(
  path: str, store: stores.Store, decode: Callable[[Sequence[int]], str]
) -> None:
  with open(path, "w", encoding="utf-8") as file:
    for table in _tables(store, decode):
      for values in zip(*table.values(), strict=True):
        row = dict(zip(table, values, strict=True))
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_parquet(
  path: str, store: stores.Store, decode: Callable[[Sequence[int]], str]
) -> None:
  import pyarrow  # only here: JSON lines do not need it
  from pyarrow import parquet

  fields = []
  for spec in store.manifest.columns:
    dtype = pyarrow.type_for_alias(_ARROW_TYPES[spec.dtype])
    if spec.holds_tokens:
      text = spec.name.removesuffix("_tokens")
      fields.append(pyarrow.field(text, pyarrow.string()))
      dtype = pyarrow.list_(dtype)
    fields.append(pyarrow.field(spec.name, dtype))
  about = {"rlhf_gap.manifest": manifests.dumps(store.manifest)}
  schema = pyarrow.schema(fields, metadata=about)
  with parquet.ParquetWriter(path, schema) as writer:
    for table in _tables(store, decode):
      writer.write_table(pyarrow.table(table, schema=schema))


_WRITERS = {"jsonl": _write_jsonl, "parquet": _write_parquet}
FORMATS = tuple(_WRITERS)


def export(
  directory: str,
  format: str,
  output: str | None = None,
  vocabulary: str | None = None,
) -> str:
  """Writes a finished store as one file.

  Args:
    directory: the store.
    format: one of `FORMATS`.
    output: the file. None for the store's name with the format as suffix, next
      to a local store, or in the working directory for a URL.
    vocabulary: the SentencePiece model, if it has moved.

  Returns:
    The file's path. On failure no file is left behind.

  Raises:
    UserError: no such store, format or vocabulary, or the store is unfinished.
  """
  if format not in _WRITERS:
    raise errors.UserError(
      f"--format={format}; expected {' or '.join(FORMATS)}"
    )
  store = stores.open(directory)
  if not store.manifest.complete:
    raise errors.UserError(
      f"{directory} is unfinished, with {store.num_rows} rows so far; wait for"
      " its writer to finish, or restart it, before exporting"
    )
  decode = data_show.decoder(store, vocabulary)
  place = directory.rstrip("/")
  if "://" in place:
    place = place.rpartition("/")[2]
  output = output or f"{place}.{format}"
  parent = os.path.dirname(os.path.abspath(output))
  if not os.path.isdir(parent):
    raise errors.UserError(
      f"--output={output}: there is no folder {parent}; create it first"
    )
  with tempfile.TemporaryDirectory(dir=parent, prefix=".export-") as folder:
    unfinished = os.path.join(folder, "rows")
    _WRITERS[format](unfinished, store, decode)
    os.replace(unfinished, output)
  return output
