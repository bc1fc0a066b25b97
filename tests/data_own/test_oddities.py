"""Hostile rows and files: each is counted or refused, none silently changed."""

import codecs
import gzip
import json
import os
import pathlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from rlhf_gap import errors
from rlhf_gap.data.own import json_lines
from tests.data_own import made_up
from tests.data_own.made_up import ASKED, BAD, GOOD, pair

TWO = {"prompt": "p", "responses": ["a", "b"]}

# One odd row, and the reason why it is of no use.
ROWS: dict[str, tuple[Any, str]] = {
  "blank line": (b"  ", "blank_line"),
  "invalid UTF-8": (b'{"prompt": "\xff"}', "invalid_utf8"),
  "truncated JSON": (b'{"prompt": "a", "cho', "malformed_json"),
  "two objects on a line": (b'{"prompt": "a"} {}', "malformed_json"),
  "a list": ([1, 2], "not_an_object"),
  "a number": (b"17", "not_an_object"),
  "a duplicate key": (
    b'{"prompt": "p", "chosen": "a", "rejected": "b", "chosen": "c"}',
    "duplicate_key",
  ),
  "a duplicate key, nested": (
    b'{"prompt": "p", "chosen": "a", "rejected": "b", "x": {"y": 1, "y": 2}}',
    "duplicate_key",
  ),
  "nested too deeply": (b"[" * 100_000 + b"]" * 100_000, "malformed_json"),
  "an integer of 5,000 digits": (
    b'{"prompt": "p", "chosen": "a", "rejected": "b", "n": '
    + b"9" * 5000
    + b"}",
    "malformed_json",
  ),
  "a row over the bound": (
    b'{"prompt": "' + b"x" * json_lines.MAX_ROW_BYTES + b'"}',
    "row_too_long",
  ),
  "a lone surrogate": (pair(chosen="a \ud800"), "unpaired_surrogate"),
  "NUL": (pair(chosen="a\0b"), "nul_character"),
  "null": (pair(chosen=None), "null_field"),
  "a missing column": ({"prompt": "p", "chosen": "a"}, "missing_key"),
  "a number as text": (pair(rejected=3), "wrong_type"),
  "true as text": (pair(rejected=True), "wrong_type"),
  "an object as text": (pair(prompt={"text": "p"}), "wrong_type"),
  "an empty response": (pair(rejected=""), "empty_response"),
  "white space as response": (pair(chosen=" \n\u00a0"), "empty_response"),
  "white space as prompt": (pair(prompt="\t \u2003"), "empty_prompt"),
  "equal responses": (pair(rejected="A cat of 0"), "identical_responses"),
  "equal but for white space": (
    pair(rejected=" A cat of 0\n"),
    "identical_responses",
  ),
  "text beside messages": (pair(chosen=[GOOD]), "mixed_types"),
  "an unknown role": (
    pair(prompt=[{"role": "tool", "content": "x"}]),
    "unknown_role",
  ),
  "a message without content": (
    pair(prompt=[{"role": "user"}]),
    "missing_key",
  ),
  "content null": (
    pair(prompt=[{"role": "user", "content": None}]),
    "null_field",
  ),
  "content an image": (
    pair(prompt=[{"role": "user", "content": [{"type": "image"}]}]),
    "content_is_not_text",
  ),
  "no messages": (pair(prompt=[]), "empty_conversation"),
  "a prompt that is answered": (
    pair(prompt=[ASKED, GOOD]),
    "prompt_ends_with_assistant",
  ),
  "a response that goes on": (
    pair(prompt=[ASKED], chosen=[GOOD, ASKED, BAD], rejected=[BAD]),
    "response_has_user_turn",
  ),
  "another prompt than the conversation's": (
    pair(prompt="Else", chosen=[ASKED, GOOD], rejected=[ASKED, BAD]),
    "prompt_not_in_dialogue",
  ),
  "a probability above 1": (pair(probability=1.5), "not_a_probability"),
  "a probability of NaN": (pair(probability=float("nan")), "not_finite"),
  "a probability in words": (pair(probability="high"), "wrong_type"),
  "a negative weight": (pair(weight=-1), "negative_weight"),
  "a weight without end": (pair(weight=10**400), "not_finite"),
  "a prompt_id out of range": (
    pair(prompt_id=-1),
    "prompt_id_out_of_range",
  ),
}

# The same for rows of several responses.
SCORED_ROWS: dict[str, tuple[Any, str]] = {
  "NaN": (TWO | {"scores": [1, float("nan")]}, "not_finite"),
  "infinity": (TWO | {"scores": [float("inf"), 0]}, "not_finite"),
  "a score in words": (TWO | {"scores": ["good", 0]}, "wrong_type"),
  "a score of true": (TWO | {"scores": [True, 0]}, "wrong_type"),
  "a score too few": (TWO | {"scores": [1]}, "wrong_number"),
  "scores no list": (TWO | {"scores": 1}, "wrong_type"),
  "responses no list": (
    {"prompt": "p", "responses": "ab", "scores": [1, 2]},
    "wrong_type",
  ),
  "one response": (
    {"prompt": "p", "responses": ["a"], "scores": [1]},
    "fewer_than_two_responses",
  ),
  "a hundred responses": (
    {"prompt": "p", "responses": ["a"] * 100, "scores": [1] * 100},
    "too_many_responses",
  ),
  "an empty one": (
    {"prompt": "p", "responses": ["a", ""], "scores": [1, 2]},
    "empty_response",
  ),
  "all alike": (
    {"prompt": "p", "responses": ["a", "a "], "scores": [1, 2]},
    "identical_responses",
  ),
}


@pytest.mark.parametrize("name", ROWS)
def test_an_odd_row_is_counted(tmp_path: pathlib.Path, name: str):
  odd, reason = ROWS[name]
  source = made_up.write(tmp_path / "rows.jsonl", pair(1), odd, pair(2))
  report = made_up.import_rows(source, tmp_path / "store", form="pairs")
  assert report.dropped == {reason: 1}
  assert (report.rows_read, report.rows_kept, report.rows_written) == (3, 2, 2)
  assert made_up.skipped(tmp_path / "store") == [(2, reason)]
  assert [row[0] for row in made_up.texts(tmp_path / "store")] == [
    "Name animal 1",
    "Name animal 2",
  ]


@pytest.mark.parametrize("name", SCORED_ROWS)
def test_an_odd_row_of_scores_is_counted(tmp_path: pathlib.Path, name: str):
  odd, reason = SCORED_ROWS[name]
  source = made_up.write(tmp_path / "rows.jsonl", TWO | {"scores": [1, 2]}, odd)
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.dropped == {reason: 1}
  assert made_up.texts(tmp_path / "store") == [("p", "b", "a")]


@pytest.mark.parametrize(
  ("fields", "reason"),
  [
    ({"preference": "left"}, "unknown_preference"),
    ({"preference": 1}, "wrong_type"),
  ],
)
def test_preferences_in_other_words(
  tmp_path: pathlib.Path, fields: dict[str, Any], reason: str
):
  side = {"prompt": "p", "response_a": "a", "response_b": "b"}
  sound = side | {"preference": "model_a"}
  source = made_up.write(tmp_path / "rows.jsonl", sound, side | fields)
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.skipped(tmp_path / "store") == [(2, reason)]


def test_contexts_that_differ(tmp_path: pathlib.Path):
  other = {"role": "user", "content": "Something else?"}
  source = made_up.write(
    tmp_path / "rows.jsonl",
    {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {
      "chosen": [ASKED, GOOD, ASKED, BAD],
      "rejected": [ASKED, GOOD, other, BAD],
    },
    {"chosen": [ASKED, GOOD], "rejected": [other, BAD]},
    {"chosen": [ASKED, GOOD], "rejected": [ASKED, GOOD]},
    {"chosen": [ASKED, GOOD], "rejected": [ASKED]},
  )
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.skipped(tmp_path / "store") == [
    (2, "response_has_user_turn"),
    (3, "empty_prompt"),
    (4, "identical_responses"),
    (5, "empty_response"),
  ]


@pytest.mark.parametrize(
  "text",
  [
    "line\u2028separator",
    "next\u0085line\u2029paragraph",
    "carriage\r\nreturn",
    "form\x0cfeed\x1cfile",
    "\ufeffmark inside",
    "family \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "combining e\u0301 is not \u00e9",
    "</s> <pad> <extra_id_0>",
    " spaces around ",
  ],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_odd_text_is_kept_as_it_is(
  tmp_path: pathlib.Path, text: str, escaped: bool
):
  row = pair(chosen=text)
  line = json.dumps(row, ensure_ascii=escaped).encode()
  source = made_up.write(tmp_path / "rows.jsonl", line, pair(2))
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.rows_read == 2
  assert made_up.texts(tmp_path / "store")[0][1] == text


def test_a_byte_order_mark_and_crlf(tmp_path: pathlib.Path):
  lines = [json.dumps(pair(n)).encode() for n in range(2)]
  source = tmp_path / "rows.jsonl"
  source.write_bytes(codecs.BOM_UTF8 + b"\r\n".join(lines))
  report = made_up.import_rows(source, tmp_path / "store")
  assert (report.rows_read, report.rows_written) == (2, 2)


def test_a_row_of_megabytes_is_cut_to_its_window(tmp_path: pathlib.Path):
  long = "x" * (4 << 20)
  source = made_up.write(tmp_path / "rows.jsonl", pair(chosen=long))
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.truncated == {"chosen": 1}
  assert report.lengths_tokens["chosen"]["max"] == 4 << 20


def test_a_long_line_is_not_read_into_memory(tmp_path: pathlib.Path):
  """A line of 256 MiB of zeros, which take no space on disk."""
  source = tmp_path / "rows.jsonl"
  made_up.write(source, pair(1))
  with source.open("ab") as file:
    file.truncate(file.tell() + (256 << 20))
    file.seek(0, os.SEEK_END)
    file.write(b"\n" + json.dumps(pair(2)).encode())
  tracemalloc.start()
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.dropped == {"row_too_long": 1}
  assert report.rows_written == 2
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 6 * json_lines.MAX_ROW_BYTES


def test_mixed_schemas_are_counted(tmp_path: pathlib.Path):
  source = made_up.write(
    tmp_path / "rows.jsonl",
    pair(1),
    {"prompt": "p", "completion": "c"},
    {"messages": [ASKED, GOOD]},
    pair(2) | {"extra": {"nested": [1]}},
    pair(3, prompt=[ASKED], chosen=[GOOD], rejected=[BAD]),
  )
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.skipped(tmp_path / "store") == [
    (2, "missing_key"),
    (3, "missing_key"),
  ]
  assert len(made_up.texts(tmp_path / "store")) == 3


def _utf16(path: pathlib.Path) -> None:
  path.write_bytes(json.dumps(pair()).encode("utf-16"))


def _truncated_gzip(path: pathlib.Path) -> None:
  rows = b"".join(json.dumps(pair(n)).encode() + b"\n" for n in range(500))
  path.write_bytes(gzip.compress(rows)[:-20])


def _broken_gzip(path: pathlib.Path) -> None:
  path.write_bytes(b"no gzip at all")


def _truncated_zstd(path: pathlib.Path) -> None:
  rows = b"".join(json.dumps(pair(n)).encode() + b"\n" for n in range(500))
  with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
    file.write(rows)
  path.write_bytes(path.read_bytes()[:-20])


def _truncated_parquet(path: pathlib.Path) -> None:
  table = pyarrow.Table.from_pylist([pair(n) for n in range(500)])
  pyarrow.parquet.write_table(table, path)
  path.write_bytes(path.read_bytes()[:-20])


def _damaged_parquet(path: pathlib.Path) -> None:
  table = pyarrow.Table.from_pylist([pair(n) for n in range(500)])
  pyarrow.parquet.write_table(table, path, write_page_checksum=True)
  content = bytearray(path.read_bytes())
  content[40:400] = bytes(360)
  path.write_bytes(content)


def _truncated_arrow(path: pathlib.Path) -> None:
  table = pyarrow.Table.from_pylist([pair(n) for n in range(500)])
  with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
    writer.write_table(table)
  path.write_bytes(path.read_bytes()[:-200])


def _text(content: str) -> Callable[[pathlib.Path], None]:
  return lambda path: path.write_text(content) and None


FILES: dict[str, tuple[str, Callable[[pathlib.Path], None], str]] = {
  "nothing": ("a.jsonl", lambda path: None, "no such file"),
  "an empty file": ("a.jsonl", lambda path: path.touch(), "is empty; expected"),
  "a FIFO": ("a.jsonl", os.mkfifo, "is a FIFO, socket or device"),
  "another kind": ("a.xlsx", _text("x"), "of no known format; expected"),
  "UTF-16": ("a.jsonl", _utf16, "looks like UTF-16"),
  "UTF-16 CSV": ("a.csv", _utf16, "looks like UTF-16"),
  "UTF-16 JSON": ("a.json", _utf16, "looks like UTF-16"),
  "truncated gzip": ("a.jsonl.gz", _truncated_gzip, "gzip stream is damaged"),
  "no gzip": ("a.jsonl.gz", _broken_gzip, "gzip stream is damaged"),
  "truncated zstd": ("a.jsonl.zst", _truncated_zstd, "zstd stream is damaged"),
  "truncated parquet": (
    "a.parquet",
    _truncated_parquet,
    "not a sound Parquet file",
  ),
  "damaged parquet": (
    "a.parquet",
    _damaged_parquet,
    "not a sound Parquet file",
  ),
  "truncated arrow": ("a.arrow", _truncated_arrow, "not a sound Arrow file"),
  "text as parquet": ("a.parquet", _text("text"), "not a sound Parquet file"),
  "text as arrow": ("a.arrow", _text("text"), "not a sound Arrow file"),
  "a truncated array": (
    "a.json",
    _text('[{"prompt": "a"'),
    "damaged after row",
  ),
  "a brace too many": ("a.json", _text('[{"a": 1}}]'), "a } too many"),
  "text behind an array": ("a.json", _text("[{}] x"), "more text follows"),
  "no JSON": ("a.json", _text("prompt"), "not valid JSON"),
  "columns of two lengths": (
    "a.json",
    _text('{"prompt": ["a", "b"], "chosen": ["c"]}'),
    "columns do not have the same rows",
  ),
  "a header alone": ("a.csv", _text("prompt,chosen\n"), "holds no rows"),
  "an empty array": ("a.json", _text("[]"), "holds no rows"),
  "one name twice": (
    "a.csv",
    _text("prompt,prompt\na,b\n"),
    "two columns are called 'prompt'",
  ),
  "unknown columns": (
    "a.csv",
    _text("question,good,bad\na,b,c\n"),
    "bad, good, question make no known form; say what they are for",
  ),
  "nothing of use": ("a.csv", _text("prompt\n\n \n"), "no usable rows"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_is_refused(tmp_path: pathlib.Path, name: str):
  file, make, told = FILES[name]
  source = tmp_path / "source" / file
  source.parent.mkdir()
  make(source)
  with pytest.raises(errors.UserError, match=told):
    made_up.import_rows(source, tmp_path / "store")
  assert not (tmp_path / "store").exists()
  assert list(tmp_path.iterdir()) == [tmp_path / "source"]


def test_too_many_malformed_rows_are_refused(tmp_path: pathlib.Path):
  source = made_up.write(tmp_path / "rows.jsonl", pair(), b"{", b"{")
  with pytest.raises(errors.UserError, match="2 of 3 rows are malformed"):
    made_up.import_rows(source, tmp_path / "store", allow_malformed=False)
  assert not (tmp_path / "store").exists()


def test_a_text_that_no_encoding_has_in_parquet(tmp_path: pathlib.Path):
  broken = pyarrow.array([b"fine", b"\xff"]).view(pyarrow.string())
  words = pyarrow.array(["a", "b"])
  table = pyarrow.table({"prompt": words, "chosen": broken, "rejected": words})
  source = tmp_path / "rows.parquet"
  pyarrow.parquet.write_table(table, source)
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.skipped(tmp_path / "store") == [(2, "invalid_utf8")]


def test_numbers_and_bytes_in_parquet_are_no_text(tmp_path: pathlib.Path):
  source = tmp_path / "rows.parquet"
  table = pyarrow.table(
    {"prompt": ["a"], "chosen": np.array([1]), "rejected": [b"c"]}
  )
  pyarrow.parquet.write_table(table, source)
  with pytest.raises(errors.UserError, match="no usable rows"):
    made_up.import_rows(source, tmp_path / "store")


@pytest.mark.parametrize(
  ("line", "reason"),
  [
    ("a,b", "wrong_columns"),
    ("a,b,c,d", "wrong_columns"),
    ("", "blank_line"),
    ('"a" x,b,c', "wrong_columns"),
    ("a\0,b,c", "nul_character"),
  ],
)
def test_an_odd_line_of_csv_is_counted(
  tmp_path: pathlib.Path, line: str, reason: str
):
  source = tmp_path / "rows.csv"
  source.write_text(f"prompt,chosen,rejected\np,q,r\n{line}\ns,t,u\n")
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.skipped(tmp_path / "store") == [(3, reason)]
  assert len(made_up.texts(tmp_path / "store")) == 2
