"""Small stores whose every value is a function of its place."""

import pathlib
from typing import Any

import numpy as np

from rlhf_gap import stores

LENGTHS = {"prompt": 12, "response": 6}
CHUNK_ROWS = 8


def manifest(**changes: Any) -> stores.Manifest:
  fields: dict[str, Any] = {
    "task": "made_up_pairs",
    "schema": "pairs",
    "columns": stores.PAIRS,
    "feature_lengths": LENGTHS,
    "vocabulary": stores.byte(),
    "chunk_rows": CHUNK_ROWS,
    "label": stores.Label("rater"),
  }
  return stores.Manifest(**{**fields, **changes})


def values(
  first: int, rows: int, columns: tuple[stores.ColumnSpec, ...] = stores.PAIRS
) -> dict[str, np.ndarray]:
  """Returns `rows` distinct rows from row `first` on."""
  made = {}
  for number, spec in enumerate(columns):
    row = np.arange(first, first + rows, dtype=np.int64)
    if spec.axis is None:
      made[spec.name] = (row * 100 + number).astype(spec.dtype)
      continue
    position = np.arange(LENGTHS[spec.axis])
    used = (row % LENGTHS[spec.axis] + 1)[:, np.newaxis]
    ids = 3 + (row[:, np.newaxis] * 31 + position * 7 + number) % 250
    ids = np.where(position < used - 1, ids, position == used - 1)
    made[spec.name] = ids.astype(spec.dtype)
  return made


def write(
  path: pathlib.Path | str, rows: int = 21, **changes: Any
) -> stores.Store:
  """Writes and finishes a store of `rows` rows, and opens it."""
  about = manifest(**changes)
  writer = stores.create(str(path), about)
  append(writer, range(writer.num_chunks, -(-rows // about.chunk_rows)), rows)
  writer.finish({"tie": 4})
  return stores.open(str(path))


def append(writer: stores.Writer, chunks: range, rows: int) -> None:
  """Appends and commits chunks of a store that will hold `rows` rows."""
  about = writer.manifest
  for chunk in chunks:
    first = chunk * about.chunk_rows
    count = min(about.chunk_rows, rows - first)
    writer.append(chunk, values(first, count, about.columns))
    writer.commit()


def tree(path: pathlib.Path) -> dict[str, bytes | None]:
  """Returns the contents of every file below `path`; None for a folder."""
  return {
    str(p.relative_to(path)): p.read_bytes() if p.is_file() else None
    for p in path.rglob("*")
  }


def check_equal(
  actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> None:
  assert actual.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(actual[name], value, err_msg=name)
    assert actual[name].dtype == value.dtype
