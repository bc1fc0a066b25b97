"""`rlhf-gap data show`, `data export` and `bench data` on small stores."""

import json
import os
import pathlib

import numpy as np
import pytest
from pyarrow import parquet

from rlhf_gap import errors, stores
from rlhf_gap.cli import data_export, data_show, main
from rlhf_gap.data import mini
from rlhf_gap.stores import manifest as manifests
from tests.stores import made_up


def _ids(text: str, length: int) -> np.ndarray:
  ids = [b + 3 for b in text.encode()] + [1]
  return np.array(ids + [0] * (length - len(ids)), np.int32)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> pathlib.Path:
  """Two readable pairs; the second was judged and cut."""
  values = made_up.values(0, 2)
  for row, texts in enumerate([("is it?", "yes", "no"), ("2+2?", "four", "5")]):
    for spec, text in zip(stores.PAIRS[:3], texts, strict=True):
      length = made_up.LENGTHS[str(spec.axis)]
      values[spec.name][row] = _ids(text, length)
  values["judge_r12"][:] = [np.nan, 0.75]
  values["truncated"][:] = [
    0,
    stores.Truncated.PROMPT | stores.Truncated.CHOSEN,
  ]
  writer = stores.create(str(tmp_path / "store"), made_up.manifest())
  writer.append(0, values)
  writer.finish()
  return tmp_path / "store"


@pytest.mark.parametrize(
  ("text", "rows"),
  [("3", [3]), ("3,10:14", [3, 10, 11, 12, 13]), (" 0 , 2:3", [0, 2])],
)
def test_rows_are_numbers_and_ranges(text: str, rows: list[int]):
  assert data_show.parse_rows(text) == rows


@pytest.mark.parametrize("text", ["", "a", "1:", "1:2:3", "1-3", "5:5"])
def test_rows_that_make_no_sense(text: str):
  with pytest.raises(errors.UserError, match="expected.* 3,10:14"):
    data_show.parse_rows(text)


def test_shows_responses_side_by_side(
  store: pathlib.Path,
  capsys: pytest.CaptureFixture[str],
  monkeypatch: pytest.MonkeyPatch,
):
  monkeypatch.setenv("COLUMNS", "60")
  assert main.main(["data", "show", str(store), "--rows=1"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "made_up_pairs: 2 rows"
  assert lines[1].startswith("row 1 ---")
  about = " ".join(lines)
  assert "judge_r12 0.75" in about
  assert "truncated prompt+chosen" in about
  prompt = lines.index("prompt (5 tokens)")
  assert lines[prompt + 1] == "2+2?"
  responses = lines[-2:]
  assert [cell.strip() for cell in responses[0].split("|")] == [
    "chosen (5 tokens)",
    "rejected (2 tokens)",
  ]
  assert [cell.strip() for cell in responses[1].split("|")] == ["four", "5"]
  assert max(map(len, lines)) <= 60


def test_long_text_is_wrapped_in_its_column():
  values = {
    "prompt_tokens": _ids("p" * 50, 60),
    "chosen_tokens": _ids("one two three four five", 60),
    "rejected_tokens": _ids("six", 60),
  }
  lines = data_show.render(0, values, stores.decoder(stores.byte()), 40)
  assert max(map(len, lines)) <= 40
  beside = [line.split("|") for line in lines if "|" in line]
  assert " ".join(left.strip() for left, _ in beside[1:]) == (
    "one two three four five"
  )
  assert [right.strip() for _, right in beside[1:]] == ["six", ""]


def test_says_that_a_store_is_unfinished(
  tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
  writer = stores.create(str(tmp_path), made_up.manifest())
  made_up.append(writer, range(1), rows=21)
  data_show.show(str(tmp_path), "0")
  assert "8 rows, still being written or interrupted" in capsys.readouterr().out
  with pytest.raises(errors.UserError, match="unfinished, with 8 rows so far"):
    data_export.export(str(tmp_path), "jsonl")


def test_row_out_of_range_is_one_line(
  store: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
  assert main.main(["data", "show", str(store), "--rows=0,7"]) == 2
  error = capsys.readouterr().err
  assert "row 7 is out of range" in error
  assert error.count("\n") == 1


def test_a_vocabulary_that_moved(tmp_path: pathlib.Path):
  lost = stores.Vocabulary("sentencepiece", "/lost.model", "ab" * 32, 100)
  made_up.write(tmp_path / "store", vocabulary=lost)
  with pytest.raises(errors.UserError, match="give --vocabulary=PATH if"):
    data_show.show(str(tmp_path / "store"))
  with pytest.raises(errors.UserError, match="token ids of /lost.model"):
    data_show.show(str(tmp_path / "store"), vocabulary=mini.VOCABULARY_PATH)
  with pytest.raises(errors.UserError, match="token ids of /lost.model"):
    data_show.show(str(tmp_path / "store"), vocabulary="bytes")


def _reimport(
  rows: list[dict[str, list[int] | float | None]], path: pathlib.Path
) -> None:
  """Writes exported rows into a new store, as a reader of the file would."""
  about = made_up.manifest()
  writer = stores.create(str(path), about)
  for chunk in range(-(-len(rows) // about.chunk_rows)):
    part = rows[chunk * about.chunk_rows :][: about.chunk_rows]
    values = {}
    for spec in about.columns:
      cells = [row[spec.name] for row in part]
      shape = (len(part), *spec.row_shape(about.feature_lengths))
      values[spec.name] = np.zeros(shape, spec.dtype)
      for i, cell in enumerate(cells):
        if isinstance(cell, list):
          values[spec.name][i, : len(cell)] = cell
        else:
          values[spec.name][i] = np.nan if cell is None else cell
    writer.append(chunk, values)
  writer.finish({"tie": 4})


def _read(path: pathlib.Path) -> list[dict[str, list[int] | float | None]]:
  if path.suffix == ".parquet":
    return parquet.read_table(path).to_pylist()
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("format", data_export.FORMATS)
def test_an_exported_store_can_be_imported(tmp_path: pathlib.Path, format: str):
  made_up.write(tmp_path / "store", rows=21)
  file = data_export.export(str(tmp_path / "store"), format)
  assert file == str(tmp_path / f"store.{format}")
  _reimport(_read(pathlib.Path(file)), tmp_path / "again")
  assert made_up.tree(tmp_path / "again") == made_up.tree(tmp_path / "store")
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "again",
    "store",
    f"store.{format}",
  ]


@pytest.mark.parametrize("format", data_export.FORMATS)
def test_exports_text_ids_and_provenance(store: pathlib.Path, format: str):
  output = store.parent / "rows.out"
  command = ["data", "export", str(store), f"--format={format}"]
  assert main.main([*command, f"--output={output}"]) == 0
  named = output.rename(output.with_suffix(f".{format}"))
  first, second = _read(named)
  assert first["prompt"] == "is it?"
  assert (second["chosen"], second["rejected"]) == ("four", "5")
  assert second["rejected_tokens"] == [ord("5") + 3, 1]
  assert (first["judge_r12"], second["judge_r12"]) == (None, 0.75)
  assert second["truncated"] == 5
  assert set(first) == {spec.name for spec in stores.PAIRS} | {
    "prompt",
    "chosen",
    "rejected",
  }


def test_parquet_carries_the_manifest(store: pathlib.Path):
  file = data_export.export(str(store), "parquet")
  about = parquet.read_schema(file).metadata[b"rlhf_gap.manifest"]
  assert manifests.loads(about, file) == stores.open(str(store)).manifest


def test_unknown_format(store: pathlib.Path):
  with pytest.raises(errors.UserError, match="expected jsonl or parquet"):
    data_export.export(str(store), "csv")


def test_an_output_without_its_folder(store: pathlib.Path):
  with pytest.raises(errors.UserError, match="there is no folder"):
    data_export.export(str(store), "jsonl", str(store.parent / "no" / "x"))


def test_a_failed_export_leaves_nothing(store: pathlib.Path):
  (store / "weight" / "c.0").write_bytes(b"damaged")
  with pytest.raises(errors.UserError, match="column weight"):
    data_export.export(str(store), "jsonl")
  assert os.listdir(store.parent) == ["store"]


def test_bench_data_measures(capsys: pytest.CaptureFixture[str]):
  words = ["--rows=300", "--seconds=0.2", "--batch_size=16", "--json"]
  assert main.main(["bench", "data", *words]) == 0
  figures = json.loads(capsys.readouterr().out)
  assert figures["rows"] == 300
  assert figures["seeded_epochs_batches_per_second"] > 0
  assert figures["written_rows_per_second"] > 0
  # 4 bytes a token, three token columns, 3 int64, 7 4-byte values.
  assert figures["uncompressed_bytes_per_row"] == 4 * 1280 + 3 * 8 + 7 * 4
  assert figures["bytes_per_row"] < figures["uncompressed_bytes_per_row"] / 3


def test_bench_data_wants_a_full_batch(capsys: pytest.CaptureFixture[str]):
  assert main.main(["bench", "data", "--rows=10"]) == 2
  assert "expected at least one full batch" in capsys.readouterr().err
