"""The same rows from every format, compression, folder and glob."""

import gzip
import json
import os
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from rlhf_gap import errors
from rlhf_gap.data.own import reading, sources
from tests.data_own import made_up

ROWS = [
  made_up.pair(n, chosen=f'"quoted",\n{n}\u2028\tend', note=n, tags=["a"])
  for n in range(1203)
]
TEXT = [(row["prompt"], row["chosen"], row["rejected"]) for row in ROWS]
NAMES = ("prompt", "chosen", "rejected")
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def _table() -> pyarrow.Table:
  return pyarrow.Table.from_pylist(ROWS)


def _csv(delimiter: str) -> bytes:
  import csv
  import io

  file = io.StringIO()
  writer = csv.writer(file, delimiter=delimiter)
  writer.writerow(["id", *NAMES])
  writer.writerows([i, *row] for i, row in enumerate(TEXT))
  return file.getvalue().encode()


def _zstd(path: pathlib.Path, content: bytes) -> None:
  with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
    file.write(content)


def _ipc(path: pathlib.Path, open_writer: Callable[..., Any]) -> None:
  with open_writer(str(path), _table().schema) as writer:
    for batch in _table().to_batches(max_chunksize=500):
      writer.write_batch(batch)


WRITERS: dict[str, Callable[[pathlib.Path], Any]] = {
  "a.jsonl": lambda path: path.write_bytes(LINES),
  "a.ndjson": lambda path: path.write_bytes(LINES.rstrip(b"\n")),
  "lines.json": lambda path: path.write_bytes(LINES),
  "array.json": lambda path: path.write_text(json.dumps(ROWS)),
  "indented.json": lambda path: path.write_text(
    "\ufeff \n" + json.dumps(ROWS, indent=2, ensure_ascii=False)
  ),
  "columns.json": lambda path: path.write_text(
    json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]})
  ),
  "indexed.json": lambda path: path.write_text(
    json.dumps(
      {n: {str(i): row[n] for i, row in enumerate(ROWS)} for n in ROWS[0]},
      indent=1,
    )
  ),
  "a.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + _csv(",")),
  "a.tsv": lambda path: path.write_bytes(_csv("\t")),
  "a.parquet": lambda path: pyarrow.parquet.write_table(
    _table(), path, row_group_size=700
  ),
  "a.feather": lambda path: pyarrow.feather.write_feather(_table(), str(path)),
  "stream.arrow": lambda path: _ipc(path, pyarrow.ipc.new_stream),
  "file.arrow": lambda path: _ipc(path, pyarrow.ipc.new_file),
  "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
  "two_members.jsonl.gz": lambda path: path.write_bytes(
    gzip.compress(LINES[:100]) + gzip.compress(LINES[100:])
  ),
  "array.json.gz": lambda path: path.write_bytes(
    gzip.compress(json.dumps(ROWS).encode())
  ),
  "a.csv.gz": lambda path: path.write_bytes(gzip.compress(_csv(","))),
  "a.jsonl.zst": lambda path: _zstd(path, LINES),
  "a.tsv.zstd": lambda path: _zstd(path, _csv("\t")),
  "A.JSONL": lambda path: path.write_bytes(LINES),
}


def rows_of(source: sources.Source) -> list[tuple[Any, ...]]:
  """Returns the texts of all rows; none may be unsound."""
  rows = [row for file in source.files for row in reading.rows(file)]
  assert [row.fault for row in rows if row.fault] == []
  return [tuple(row.fields[name] for name in NAMES) for row in rows]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_has_the_same_rows(tmp_path: pathlib.Path, name: str):
  WRITERS[name](tmp_path / name)
  source = sources.find(str(tmp_path / name))
  assert rows_of(source) == TEXT
  seen: list[int] = []
  for file in source.files:
    list(reading.rows(file, NAMES, seen.append))
  assert sum(seen) == (tmp_path / name).stat().st_size


def test_lines_are_numbered(tmp_path: pathlib.Path):
  expected = list(range(1, len(ROWS) + 1))
  for name in ("a.jsonl", "array.json", "a.parquet", "stream.arrow"):
    WRITERS[name](tmp_path / name)
    (file,) = sources.find(str(tmp_path / name)).files
    assert [row.line for row in reading.rows(file)] == expected
  made_up.write(tmp_path / "gap.jsonl", {"a": 1}, b"", {"a": 2})
  (file,) = sources.find(str(tmp_path / "gap.jsonl")).files
  assert [row.line for row in reading.rows(file)] == [1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_an_array_in_pieces_of_any_size(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, size: int
):
  """Strings hold brackets, quotes and backslashes at every boundary."""
  rows = [{"t": t} for t in ('"]}', "\\", '\\"', "[{", "é\\u2028", "")]
  rows += [{"t": [[], {"u": "}"}]}]
  path = tmp_path / "a.json"
  path.write_text(json.dumps(rows, ensure_ascii=False))
  monkeypatch.setattr("rlhf_gap.data.own.json_documents._CHUNK_BYTES", size)
  (file,) = sources.find(str(path)).files
  assert [row.fields for row in reading.rows(file)] == rows


def test_faults_inside_an_array_are_of_their_row_alone(tmp_path: pathlib.Path):
  path = tmp_path / "a.json"
  path.write_bytes(b'[{"a": 1}, {"a": 1, "a": 2}, 3, {"a": \xff}, {"a" 1},]')
  (file,) = sources.find(str(path)).files
  assert [row.fault for row in reading.rows(file)] == [
    "",
    "duplicate_key",
    "not_an_object",
    "invalid_utf8",
    "malformed_json",
    "blank_line",
  ]


def test_one_row_of_lists_is_a_row(tmp_path: pathlib.Path):
  row = {
    "chosen": [made_up.ASKED, made_up.GOOD],
    "rejected": [made_up.ASKED, made_up.BAD],
  }
  path = tmp_path / "a.json"
  path.write_text(json.dumps(row, indent=2))
  (file,) = sources.find(str(path)).files
  assert [found.fields for found in reading.rows(file)] == [row]


def test_a_folder_a_glob_and_several(tmp_path: pathlib.Path):
  for name in ("a.jsonl", "b.csv.gz", "deep/c.parquet"):
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  (tmp_path / "data" / "README.md").write_text("about")
  for path in (tmp_path / "data").rglob("*.*"):
    path.write_text("x")
  (tmp_path / "text").mkdir()
  (tmp_path / "text" / "notes.md").write_text("x")
  folder = sources.find(str(tmp_path / "data"))
  assert [f.name for f in folder.files] == [
    "a.jsonl",
    "b.csv.gz",
    "deep/c.parquet",
  ]
  assert folder.left_aside == ("README.md",)
  globbed = sources.find(
    f"{tmp_path}/data/**/*.parquet,{tmp_path}/data/a.jsonl"
  )
  assert [f.name for f in globbed.files] == ["a.jsonl", "c.parquet"]
  with pytest.raises(errors.UserError, match="no file matches"):
    sources.find(f"{tmp_path}/*.arrow")
  with pytest.raises(errors.UserError, match="no data files, only 1 others"):
    sources.find(str(tmp_path / "text"))


def test_files_of_one_name_in_two_folders(tmp_path: pathlib.Path):
  for folder in ("a", "b"):
    made_up.write(tmp_path / folder / "rows.jsonl", made_up.pair())
  found = sources.find(f"{tmp_path}/a,{tmp_path}/b")
  assert len(found.files) == 2
  assert len({file.name for file in found.files}) == 2
  assert len(sources.find(f"{tmp_path}/a,{tmp_path}/a/rows.jsonl").files) == 1


def test_a_fifo_in_a_folder(tmp_path: pathlib.Path):
  made_up.write(tmp_path / "rows.jsonl", made_up.pair())
  os.mkfifo(tmp_path / "pipe.jsonl")
  with pytest.raises(errors.UserError, match="FIFO"):
    sources.find(str(tmp_path))


def _saved_dataset(folder: pathlib.Path) -> None:
  """Writes a folder as `datasets.Dataset.save_to_disk` lays it out."""
  folder.mkdir(parents=True)
  names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
  for name, table in zip(names, (_table()[:600], _table()[600:]), strict=True):
    with pyarrow.ipc.new_stream(str(folder / name), table.schema) as writer:
      writer.write_table(table)
  _ipc(folder / "cache-0123.arrow", pyarrow.ipc.new_stream)
  state = {"_data_files": [{"filename": name} for name in names]}
  (folder / "state.json").write_text(json.dumps(state))
  (folder / "dataset_info.json").write_text("{}")


def test_a_saved_dataset_and_its_splits(tmp_path: pathlib.Path):
  _saved_dataset(tmp_path / "saved")
  found = sources.find(str(tmp_path / "saved"))
  assert rows_of(found) == TEXT
  assert found.left_aside == ("cache-0123.arrow",)
  _saved_dataset(tmp_path / "dict" / "train")
  _saved_dataset(tmp_path / "dict" / "test")
  (tmp_path / "dict" / "dataset_dict.json").write_text("{}")
  assert len(sources.find(str(tmp_path / "dict")).files) == 4
  (tmp_path / "saved" / "state.json").write_text('{"x": 1}')
  with pytest.raises(errors.UserError, match="lists no data files"):
    sources.find(str(tmp_path / "saved"))


def test_fingerprints_follow_content(tmp_path: pathlib.Path):
  source = made_up.write(tmp_path / "rows.jsonl", made_up.pair())
  before = sources.find(str(source)).fingerprint()
  assert sources.find(str(source)).fingerprint() == before
  made_up.write(source, made_up.pair(1))
  assert sources.find(str(source)).fingerprint() != before


def test_a_hub_needs_its_library(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "datasets", None)
  with pytest.raises(errors.UserError, match=r"pip install -e '.\[hub\]'"):
    made_up.import_rows("hub:someone/pairs", tmp_path / "store")


def test_a_hub_is_streamed_through_the_library(tmp_path, monkeypatch):
  """The `datasets` library is not in the tests' environment: a stand-in."""
  library = types.ModuleType("datasets")
  asked = []

  def load_dataset(path: str, name: str | None, **how: Any) -> Any:
    asked.append((path, name, how))
    return iter(made_up.pair(n) for n in range(3))

  library.load_dataset = load_dataset  # type: ignore[attr-defined]
  monkeypatch.setitem(sys.modules, "datasets", library)
  report = made_up.import_rows(
    "hub:someone/pairs@abc:small", tmp_path / "store", split="test"
  )
  assert report.rows_written == 3
  how = {"split": "test", "revision": "abc", "streaming": True}
  assert asked[0] == ("someone/pairs", "small", how)
  with pytest.raises(errors.UserError, match="has its own splits"):
    made_up.import_rows("hub:a/b", tmp_path / "other", split_by="hash:0.1")
