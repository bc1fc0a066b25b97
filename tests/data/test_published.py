"""Reading published files: bad lines are reported, bad files refused."""

import gzip
import json
import os

import etils.epath
import pyarrow
import pyarrow.parquet
import pytest

from rlhf_gap import errors
from rlhf_gap.data import published
from rlhf_gap.data.formats import rows
from tests.data import made_up

GOOD = json.dumps({"a": 1}).encode() + b"\n"


@pytest.fixture
def folder(tmp_path) -> etils.epath.Path:
  return etils.epath.Path(tmp_path)


def read(path: etils.epath.Path) -> list[published.Row]:
  return list(published.rows(path.name, path))


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    (b'{"a": 1', "malformed_json"),
    (b"not json", "malformed_json"),
    (b"[" * 100_000, "malformed_json"),
    (b'{"a": "\xff"}', "invalid_utf8"),
    (b"[1, 2]", "not_an_object"),
    (b"null", "not_an_object"),
    (b"  ", "blank_line"),
  ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_a_bad_line_is_told_and_the_rest_is_read(folder, line, fault, suffix):
  path = folder / f"rows{suffix}"
  content = GOOD + line + b"\n" + GOOD
  path.write_bytes(gzip.compress(content) if suffix[-2:] == "gz" else content)
  rows = read(path)
  assert [row.line for row in rows] == [1, 2, 3]
  assert [row.fault for row in rows] == ["", fault, ""]
  assert rows[1].fields is None
  assert rows[2].fields == {"a": 1}


@pytest.mark.parametrize("cut", [12, 60, -9, -1])
def test_a_gzip_cut_short_is_a_user_error(folder, cut):
  path = folder / "rows.jsonl.gz"
  whole = gzip.compress(b"".join(b'{"a": %d}\n' % n for n in range(500)))
  path.write_bytes(whole[:cut])
  with pytest.raises(errors.UserError, match=r"rows.jsonl.gz.*damaged"):
    read(path)


def test_a_gzip_with_flipped_bits_is_a_user_error(folder):
  path = folder / "rows.jsonl.gz"
  whole = bytearray(gzip.compress(GOOD * 500))
  whole[len(whole) // 2] ^= 0xFF
  path.write_bytes(bytes(whole))
  with pytest.raises(errors.UserError, match="damaged"):
    read(path)


def test_plain_text_called_gz_is_a_user_error(folder):
  path = folder / "rows.jsonl.gz"
  path.write_bytes(GOOD)
  with pytest.raises(errors.UserError, match="damaged after line 0"):
    read(path)


@pytest.mark.parametrize(
  "name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"]
)
def test_an_empty_file_is_a_user_error(folder, name):
  path = folder / name
  path.write_bytes(b"")
  with pytest.raises(errors.UserError, match="is empty"):
    read(path)


def test_files_without_rows_are_user_errors(folder):
  compressed, header = folder / "a.jsonl.gz", folder / "a.csv"
  compressed.write_bytes(gzip.compress(b""))
  header.write_text("id,model_a\n")
  for path in (compressed, header):
    with pytest.raises(errors.UserError, match="holds no rows"):
      read(path)


def test_another_kind_of_file_is_a_user_error(folder):
  path = folder / "rows.zip"
  path.write_bytes(b"PK")
  with pytest.raises(errors.UserError, match="expected a file named"):
    read(path)


def test_csv_cells_with_newlines_and_bad_bytes(folder):
  path = folder / "rows.csv"
  good = made_up.row_55k(["a\nb"], ["c"], ["d"], "100")
  good[3] = "line\nbreak"
  made_up.write_csv(path, [good, good[:4], good])
  path.write_bytes(path.read_bytes() + b"1,2,\xff,4,5,6,7,8,9\n")
  rows = read(path)
  assert [row.fault for row in rows] == [
    "",
    "wrong_columns",
    "",
    "invalid_utf8",
  ]
  assert rows[0].fields["prompt"] == "line\nbreak"
  assert [row.line for row in rows] == [3, 5, 7, 8]


def test_parquet(folder):
  path = folder / "rows.parquet"
  table = pyarrow.table({"a": [1, 2], "b": [[{"role": "user"}], None]})
  pyarrow.parquet.write_table(table, path)
  rows = read(path)
  assert [row.line for row in rows] == [1, 2]
  assert rows[0].fields == {"a": 1, "b": [{"role": "user"}]}
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(errors.UserError, match="not a sound Parquet file"):
    read(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_every_byte_read_is_told(folder, suffix):
  path = folder / f"rows{suffix}"
  content = GOOD * 5000
  path.write_bytes(gzip.compress(content) if suffix[-2:] == "gz" else content)
  told: list[int] = []
  for _ in published.rows(path.name, path, told.append):
    pass
  assert sum(told) == path.stat().length
  assert len(told) == 6


def test_fingerprint_depends_on_names_and_bytes(folder):
  one, two = folder / "one", folder / "two"
  one.write_bytes(b"x")
  two.write_bytes(b"y")
  prints = {
    published.fingerprint({"a": one}),
    published.fingerprint({"b": one}),
    published.fingerprint({"a": two}),
    published.fingerprint({"a": one, "b": two}),
  }
  assert len(prints) == 4
  assert published.fingerprint({"b": two, "a": one}) in prints


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_marks_and_line_ends_change_no_row(folder, suffix):
  """A byte-order mark, CRLF, and U+2028, which ends no line of JSON."""
  text = '\ufeff{"a": "x\u2028y"}\r\n{"a": "z"}\r\n'.encode()
  path = folder / f"rows{suffix}"
  path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
  assert [r.fields for r in read(path)] == [{"a": "x\u2028y"}, {"a": "z"}]


def test_utf_16_is_named(folder):
  path = folder / "rows.jsonl"
  path.write_bytes('{"a": 1}\n'.encode("utf-16"))
  with pytest.raises(errors.UserError, match="looks like UTF-16"):
    read(path)


def test_a_fifo_is_not_waited_for(folder):
  path = folder / "rows.jsonl"
  os.mkfifo(path)
  with pytest.raises(errors.UserError, match="FIFO"):
    read(path)
  with pytest.raises(errors.UserError, match="FIFO"):
    published.fingerprint({"rows.jsonl": path})


@pytest.mark.parametrize(
  ("text", "reason"),
  [("a\0b", "nul_character"), ("\ud800", "unpaired_surrogate")],
)
def test_text_that_cannot_be_kept_is_dropped_by_name(text, reason):
  with pytest.raises(rows.DroppedError, match=reason):
    rows.text({"key": text}, "key")
