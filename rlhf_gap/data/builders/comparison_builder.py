"""Base class of the four builders: survey, side file, examples."""

import abc
import dataclasses
import json
from collections.abc import Iterator

import etils.epath
import numpy as np
import tensorflow_datasets as tfds

from rlhf_gap import errors
from rlhf_gap.data import datasets, surveys

SKIPPED_ROWS_FILE = "skipped_rows.jsonl"
_DTYPES = {str: tfds.features.Text, int: lambda: tfds.features.Scalar(np.int64)}

Example = dict[str, str | int | bool]


class ComparisonBuilder(tfds.core.GeneratorBasedBuilder):
  """Reads published comparisons from a manual folder or downloads them.

  Besides TFDS's own files, the prepared folder contains `skipped_rows.jsonl`
  (file, line, split, outcome, reason and detail of each row that yields no
  example) and, in `metadata.json`, the counts of each split. Examples have

    prompt_head, prompt_body, prompt_tail   text; the prompt is all three joined
    response_a, response_b                  text
    label                                   0: a is better; 1: b is better
    prompt_id                               shared by all rows of a prompt
    prompt_repeats                          an earlier row has this prompt
    file, line                              where the row was published

  and the published columns in `dataset().columns`.

  Attributes:
    allow_malformed: accept files in which more than 1% of rows are malformed.
  """

  # Identifies prepared datasets: bump it whenever the examples change.
  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Put the published files, with their own names, below the manual folder."
  )

  # TFDS 4.9.10 would look this up with importlib_resources, which it does not
  # require on this Python.
  code_path = etils.epath.Path(__file__)

  allow_malformed = False

  @abc.abstractmethod
  def dataset(self) -> datasets.Dataset:
    """Returns the dataset that this builder reads."""

  def _info(self) -> tfds.core.DatasetInfo:
    dataset = self.dataset()
    text = tfds.features.Text
    return tfds.core.DatasetInfo(
      builder=self,
      description=dataset.title,
      features=tfds.features.FeaturesDict(
        {
          "prompt_head": text(),
          "prompt_body": text(),
          "prompt_tail": text(),
          "response_a": text(),
          "response_b": text(),
          "label": tfds.features.ClassLabel(names=["response_a", "response_b"]),
          "prompt_id": text(),
          "prompt_repeats": tfds.features.Scalar(np.bool_),
          "file": text(),
          "line": tfds.features.Scalar(np.int64),
          **{key: _DTYPES[kind]() for key, kind in dataset.columns.items()},
        }
      ),
      homepage=dataset.homepage,
      license=dataset.license,
      citation=dataset.citation,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[str, Example]]]:
    survey = surveys.Survey(self._files(dl_manager), self.dataset().how)
    surveys.check_malformed(
      survey.counts,
      allowed=self.allow_malformed,
      example=_first_malformed(survey.skipped),
    )
    if not survey.splits():
      raise errors.UserError(_nothing_left(self.dataset(), survey))
    with (self.data_path / SKIPPED_ROWS_FILE).open("w") as file:
      for row in survey.skipped:
        file.write(json.dumps(dataclasses.asdict(row)) + "\n")
    self.info.metadata["counts"] = {
      split: dataclasses.asdict(count) for split, count in survey.counts.items()
    }
    return {
      split: self._generate_examples(survey, split) for split in survey.splits()
    }

  def _generate_examples(
    self, survey: surveys.Survey, split: str
  ) -> Iterator[tuple[str, Example]]:
    for row in survey.kept(split):
      comparison = row.comparison
      yield (
        f"{row.file}:{row.line}",
        {
          "prompt_head": comparison.prompt_head,
          "prompt_body": comparison.prompt_body,
          "prompt_tail": comparison.prompt_tail,
          "response_a": comparison.response_a,
          "response_b": comparison.response_b,
          "label": comparison.label,
          "prompt_id": comparison.prompt_id,
          "prompt_repeats": row.prompt_repeats,
          "file": row.file,
          "line": row.line,
          **comparison.published,
        },
      )

  def _files(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, etils.epath.Path]:
    """Returns the files of the manual folder, or downloads them."""
    try:
      folder = dl_manager.manual_dir
    except AssertionError:  # TFDS: the folder is missing or empty.
      dataset = self.dataset()
      if not dataset.urls:
        raise errors.UserError(
          f"{dataset.name} requires signing in at {dataset.homepage};"
          " download its files there and pass their folder with --source"
        ) from None
      return {
        name: etils.epath.Path(path)
        for name, path in dl_manager.download(dict(dataset.urls)).items()
      }
    return self.dataset().find(etils.epath.Path(folder))


def _first_malformed(skipped: list[surveys.SkippedRow]) -> str:
  malformed = [row for row in skipped if row.outcome == "malformed"]
  if not malformed:
    return ""
  row = malformed[0]
  return f"{row.file}:{row.line} ({row.reason} {row.detail})"


def _nothing_left(dataset: datasets.Dataset, survey: surveys.Survey) -> str:
  by_split = ", ".join(
    f"{split}: {count.read:,} read, {count.dropped | count.malformed}"
    for split, count in sorted(survey.counts.items())
  )
  cut = any("different_contexts" in c.dropped for c in survey.counts.values())
  hint = "; chat_arena_shared_prefix_* tasks keep such rows" if cut else ""
  return f"no row of {dataset.name} yields a comparison ({by_split}){hint}"
