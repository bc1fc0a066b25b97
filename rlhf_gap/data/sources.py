"""Prepares and describes the comparisons that a task reads."""

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Mapping

import etils.epath
import seqio
import tensorflow_datasets as tfds

from rlhf_gap import errors
from rlhf_gap.data import (
  catalog,
  datasets,
  procedural,
  published,
  surveys,
  tasks,
)
from rlhf_gap.data.builders import comparison_builder


@dataclasses.dataclass(frozen=True)
class Source:
  """Comparisons that are ready to be read.

  Attributes:
    entry: the task that reads them.
    data: the comparisons as a seqio source.
    counts: counts of rows by split, including `surveys.UNKNOWN_SPLIT`.
    files: sorted names of the published files, or the miniature's name.
    fingerprint: identifies the content: a hash of the files, or seed and size.
    other_files: data files in the same folder that belong to no such data set.
    skipped: one JSON object for each published row without a comparison.
  """

  entry: catalog.TaskEntry
  data: seqio.DataSource
  counts: Mapping[str, surveys.SplitCounts]
  files: tuple[str, ...]
  fingerprint: str
  other_files: tuple[str, ...] = ()
  skipped: tuple[str, ...] = ()

  def check_split(self, split: str) -> None:
    """Raises `UserError` unless the split has a comparison."""
    splits = sorted(name for name, c in self.counts.items() if c.kept)
    if split not in splits:
      raise errors.UserError(
        f"{self.entry.dataset} has no split {split} here, only"
        f" {', '.join(splits)}; choose with --split"
      )


def generated(
  entry: catalog.TaskEntry, *, seed: int, split: str, num_rows: int | None
) -> Source:
  """Generates a miniature's comparisons; see `procedural.generate`."""
  if split not in procedural.SPLITS:
    raise errors.UserError(
      f"{entry.dataset} has no split {split}, only"
      f" {', '.join(procedural.SPLITS)}; choose with --split"
    )
  size = num_rows or procedural.DEFAULT_ROWS[split]
  rows = procedural.generate(entry.dataset, seed, split, size)
  return Source(
    entry=entry,
    data=procedural.source(entry.dataset, corpus_seed=seed, num_rows=size),
    counts={split: rows.counts},
    files=(entry.dataset,),
    fingerprint=f"seed {seed}, {size} rows",
  )


def prepared(
  entry: catalog.TaskEntry,
  *,
  folder: str | None,
  tfds_data_dir: str,
  allow_malformed: bool,
) -> Source:
  """Prepares published comparisons, or reuses prepared ones.

  They are stored below `tfds_data_dir` under a name that depends on the files'
  bytes, so that changed files are prepared anew.

  Args:
    entry: the task.
    folder: the folder of the published files; None downloads them.
    tfds_data_dir: where TFDS keeps data sets.
    allow_malformed: whether more than 1% of the rows may be malformed.

  Raises:
    UserError: the files are missing, damaged, or too malformed.
  """
  builder = tasks.tfds_builder(entry, tfds_data_dir)
  dataset = builder.dataset()
  if folder is None:
    files, fingerprint = tuple(sorted(dataset.urls)), "published"
    others: tuple[str, ...] = ()
  else:
    paths = dataset.find(etils.epath.Path(folder))
    files, fingerprint = tuple(paths), published.fingerprint(paths)
    below = datasets.data_files(etils.epath.Path(folder))
    others = tuple(name for name in below if name not in paths)
  data_dir = os.path.join(tfds_data_dir, "rlhf_gap", fingerprint)
  builder = tasks.tfds_builder(entry, data_dir)
  builder.allow_malformed = allow_malformed
  _prepare(builder, folder)
  stored = json.loads((builder.data_path / "metadata.json").read_text())
  counts = {
    split: surveys.SplitCounts(**count)
    for split, count in stored["counts"].items()
  }
  side_file = builder.data_path / comparison_builder.SKIPPED_ROWS_FILE
  skipped = tuple(side_file.read_text().splitlines())
  # A data set that was prepared with --allow_malformed may be reused.
  surveys.check_malformed(
    counts,
    allowed=allow_malformed,
    example=next((s for s in skipped if '"malformed"' in s), ""),
  )
  return Source(
    entry=entry,
    data=tasks.published_source(entry, data_dir),
    counts=counts,
    files=files,
    fingerprint=fingerprint,
    other_files=others,
    skipped=skipped,
  )


def _prepare(
  builder: comparison_builder.ComparisonBuilder, folder: str | None
) -> None:
  tfds.disable_progress_bar()
  config = tfds.download.DownloadConfig(manual_dir=folder)
  # TFDS prints to standard output, which is reserved for the command's report.
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_config=config)
