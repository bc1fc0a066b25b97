"""The TFDS builders: side file, refusals, URLs."""

import json
import pathlib

import pytest
import tensorflow_datasets as tfds

from rlhf_gap import errors
from rlhf_gap.data import builders, datasets
from rlhf_gap.data.builders import comparison_builder
from tests.data import made_up


def prepare(
  builder: builders.ComparisonBuilder, folder: pathlib.Path
) -> builders.ComparisonBuilder:
  config = tfds.download.DownloadConfig(manual_dir=str(folder))
  builder.download_and_prepare(download_config=config)
  return builder


def test_side_file_counts_and_examples(tmp_path):
  made_up.write_all(tmp_path / "source")
  builder = builders.AnthropicHarmlessness(data_dir=tmp_path / "tfds")
  prepare(builder, tmp_path / "source")
  side_file = builder.data_path / comparison_builder.SKIPPED_ROWS_FILE
  skipped = [json.loads(line) for line in side_file.read_text().splitlines()]
  assert [row["line"] for row in skipped] == [5, 6, 7, 8]
  stored = json.loads((builder.data_path / "metadata.json").read_text())
  assert stored["counts"]["train"]["read"] == 8
  assert stored["counts"]["train"]["notes"] == {"turn_count_mismatch": 1}
  (example,) = tfds.as_numpy(builder.as_dataset(split="test"))
  label = int(example["label"])
  assert example[("response_a", "response_b")[label]] == b"Here."
  assert example["prompt_body"] == b"[HUMAN] Where?\n[ASSISTANT]"
  assert example["file"] == b"hh_rlhf/harmless-base/test.jsonl.gz"
  assert example["line"] == 1
  assert example["subset"] == b"harmless-base"


def test_too_many_malformed_rows_stop_a_build_unless_allowed(tmp_path):
  rows = [*made_up.HH_ROWS, b"{"]
  made_up.write_json_lines(
    tmp_path / "source" / "harmless-base" / "train.jsonl.gz", rows
  )
  builder = builders.AnthropicHarmlessness(data_dir=tmp_path / "tfds")
  with pytest.raises(errors.UserError, match="1 of 9 rows are malformed"):
    prepare(builder, tmp_path / "source")
  assert not builder.is_prepared()
  builder.allow_malformed = True
  prepare(builder, tmp_path / "source")
  assert builder.info.metadata["counts"]["unknown"]["malformed"] == {
    "malformed_json": 1
  }


def test_nothing_left_is_a_user_error(tmp_path):
  tie = made_up.ARENA_ROWS[4]
  made_up.write_json_lines(tmp_path / "source" / "a.jsonl", [tie])
  builder = builders.ChatArena(data_dir=tmp_path / "tfds")
  with pytest.raises(errors.UserError, match=r"no row of chat_arena.*tie"):
    prepare(builder, tmp_path / "source")


class _Downloads(tfds.download.DownloadManager):
  """Has no manual folder; records the URLs and downloads nothing."""

  def __init__(self, folder: pathlib.Path):
    super().__init__(
      download_dir=folder,
      manual_dir=folder / "absent",
      manual_dir_instructions="none",
    )
    self.urls: dict[str, str] = {}
    self._folder = folder

  def download(self, urls: dict[str, str]) -> dict[str, str]:
    self.urls = urls
    return {name: str(self._folder / name) for name in urls}


def test_without_a_folder_the_published_urls_are_read(tmp_path):
  downloads = _Downloads(tmp_path)
  builder = builders.AnthropicHarmlessness(data_dir=tmp_path / "tfds")
  files = builder._files(downloads)
  assert downloads.urls == {
    f"harmless-base/{split}.jsonl.gz": (
      "https://huggingface.co/datasets/Anthropic/hh-rlhf/resolve/main/"
      f"harmless-base/{split}.jsonl.gz"
    )
    for split in ("train", "test")
  }
  assert [str(path) for path in files.values()] == [
    str(tmp_path / name) for name in downloads.urls
  ]
  assert len(datasets.HELPFULNESS.urls) == 6
  assert len(datasets.SUMMARIZATION.urls) == 23


def test_a_gated_data_set_without_a_folder_is_a_user_error(tmp_path):
  builder = builders.ChatArena(data_dir=tmp_path / "tfds")
  with pytest.raises(errors.UserError, match="requires signing in"):
    builder._files(_Downloads(tmp_path))
