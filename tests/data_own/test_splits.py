"""Splits by file, by column and by a hash of the prompt."""

import hashlib
import pathlib

import pytest

from rlhf_gap import errors, stores
from rlhf_gap.data.own import seen, splits
from tests.data_own import made_up
from tests.data_own.made_up import pair


def prompts(output: pathlib.Path) -> list[str]:
  return [row[0] for row in made_up.texts(output)]


def test_by_a_hash_of_the_prompt(tmp_path: pathlib.Path):
  """The rule as documented, computed here from the text."""
  rows = [pair(n // 2, chosen=f"A cat, {n}") for n in range(400)]
  source = made_up.write(tmp_path / "rows.jsonl", *rows)

  def held_out(prompt: str) -> bool:
    digest = hashlib.sha256(prompt.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 1) / 2**63 < 0.25

  expected = {
    "test": [row["prompt"] for row in rows if held_out(row["prompt"])],
    "train": [row["prompt"] for row in rows if not held_out(row["prompt"])],
  }
  assert 60 < len(expected["test"]) < 140
  for split, names in expected.items():
    report = made_up.import_rows(
      source, tmp_path / split, split=split, split_by="hash:0.25"
    )
    assert prompts(tmp_path / split) == names
    assert report.rows_read == len(names)


def test_by_file_a_prompt_stays_where_it_is_held_out(tmp_path: pathlib.Path):
  folder = tmp_path / "data"
  made_up.write(folder / "train-0.jsonl", pair(1), pair(2), pair(3))
  made_up.write(folder / "test.jsonl", pair(2), pair(4))
  made_up.write(folder / "dev.jsonl", pair(3), pair(4, chosen="A dog"))
  found = {}
  for split in ("train", "test", "validation"):
    report = made_up.import_rows(folder, tmp_path / split, split=split)
    found[split] = prompts(tmp_path / split)
    if split == "train":
      assert report.dropped == {"prompt_in_another_split": 2}
      assert made_up.skipped(tmp_path / split) == [
        (2, "prompt_in_another_split"),
        (3, "prompt_in_another_split"),
      ]
  assert found == {
    "train": ["Name animal 1"],
    "test": ["Name animal 2"],
    "validation": ["Name animal 3", "Name animal 4"],
  }


def test_by_column(tmp_path: pathlib.Path):
  source = made_up.write(
    tmp_path / "rows.jsonl",
    pair(1, part="train"),
    pair(2, part="held out"),
    pair(3),
    pair(4, part=""),
  )
  how = {"split_by": "column:part"}
  made_up.import_rows(source, tmp_path / "store", split="held out", **how)
  assert prompts(tmp_path / "store") == ["Name animal 2"]
  assert made_up.skipped(tmp_path / "store") == [
    (3, "missing_key"),
    (4, "no_split"),
  ]
  with pytest.raises(errors.UserError, match="only held out, train; choose"):
    made_up.import_rows(source, tmp_path / "none", split="test", **how)


def test_without_splits_every_row_is_read(tmp_path: pathlib.Path):
  made_up.write(tmp_path / "data" / "train.jsonl", pair(1))
  made_up.write(tmp_path / "data" / "more.jsonl", pair(2))
  report = made_up.import_rows(tmp_path / "data", tmp_path / "store")
  assert (report.split, report.rows_written) == ("all", 2)


@pytest.mark.parametrize(
  ("name", "split"),
  [
    ("train.jsonl", "train"),
    ("data/train-00000-of-00002.parquet", "train"),
    ("test/data-00000-of-00001.arrow", "test"),
    ("my_eval_set.csv", "validation"),
    ("dev.tsv", "validation"),
    ("training.jsonl.gz", "train"),
    ("constrained/pairs.jsonl", None),
    ("latest.jsonl", None),
  ],
)
def test_what_a_name_tells(name: str, split: str | None):
  assert splits.split_of_name(name) == split


def test_keys_that_were_seen(monkeypatch: pytest.MonkeyPatch):
  """Against a set; the array is merged every 16 keys here."""
  monkeypatch.setattr(seen, "_RECENT", 16)
  keys, oracle = seen.SeenKeys(), set()
  for number in range(500):
    key = stores.prompt_id(str(number % 77))
    assert keys.add(key) == (key not in oracle)
    oracle.add(key)
    assert len(keys) == len(oracle)
  assert all(key in keys for key in oracle)
  assert stores.prompt_id("other") not in keys
