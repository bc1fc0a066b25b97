"""Runs a task's seqio pipeline once and writes a pair store."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping

import etils.epath
import numpy as np
import seqio
import tensorflow as tf

from rlhf_gap import errors, interrupts, progress, stores
from rlhf_gap.data import (
  catalog,
  native_logs,
  preprocessors,
  reports,
  rows_to_columns,
  sources,
  tasks,
  vocabularies,
)

# Features carried along that are not among seqio's output features.
_EXTRA = (
  "prompt_id",
  "file",
  "line",
  "truncated",
  "prompt_length",
  "response_length",
  "chosen_length",
  "rejected_length",
  "prompt",
  "label",
)
# A kill loses the chunks since the last commit; each commit waits for the disk.
_CHUNKS_PER_COMMIT = 8
# Seeds the order in which a mixture interleaves its tasks.
_MIXING_SEED = 0


@dataclasses.dataclass(frozen=True)
class Request:
  """The arguments of `rlhf-gap data TASK`.

  Attributes:
    task: name of a task or mixture in `catalog`.
    vocabulary: the vocabulary to tokenize with.
    output: the store's directory, local or `gs://`.
    split: the split to read.
    windows: tokens for "inputs" and "targets", EOS included.
    folder: the folder of published files; None downloads them.
    tfds_data_dir: where TFDS keeps prepared datasets.
    allow_malformed: whether more than 1% of the rows may be malformed.
    seed: seed of a miniature's corpus.
    num_rows: number of comparisons to generate for a miniature; None uses the
      default.
  """

  task: str
  vocabulary: stores.Vocabulary
  output: str
  split: str
  windows: Mapping[str, int]
  folder: str | None
  tfds_data_dir: str
  allow_malformed: bool = False
  seed: int = 0
  num_rows: int | None = None


def build(request: Request) -> reports.Report:
  """Builds a store, or resumes one that the same request started.

  Rows that yield no comparison are listed in `<output>.skipped_rows.jsonl`.

  Args:
    request: the arguments.

  Returns:
    Counts of rows read, kept, dropped and truncated, and the time taken.

  Raises:
    UserError: see `sources.prepared` and `stores.create`.
  """
  started = time.monotonic()
  entries = catalog.entries(request.task)
  kind = entries[0].kind
  task_sources = [_source(entry, request) for entry in entries]
  for source in task_sources:
    source.check_split(request.split)
  vocabulary = vocabularies.seqio_vocabulary(request.vocabulary)
  # TensorFlow reports a Ctrl-C during tracing as an error of its own.
  with interrupts.deferred():
    dataset = _dataset(request, task_sources, vocabulary)
  files = sorted({file for source in task_sources for file in source.files})
  writer = stores.create(
    request.output, _manifest(request, task_sources, files)
  )
  _write_skipped(request.output, task_sources)
  tally = reports.Tally(kind, vocabulary.unk_id)
  indices = {file: index for index, file in enumerate(files)}
  expected = _expected_rows(kind, task_sources, request.split)
  chunk_rows = writer.manifest.chunk_rows
  batches = _batches(dataset, kind, request.windows, chunk_rows)
  with progress.bar("writing", expected, "rows") as bar:
    for chunk, batch in enumerate(batches):
      writer.append(chunk, rows_to_columns.columns(kind, batch, indices))
      if chunk % _CHUNKS_PER_COMMIT == _CHUNKS_PER_COMMIT - 1:
        writer.commit()
      tally.add(batch)
      bar.update(len(batch["line"]))
  report = reports.report(
    task=request.task,
    split=request.split,
    output=request.output,
    files=files,
    other_files=sorted(
      {name for source in task_sources for name in source.other_files}
      - set(files)
    ),
    counts={s.entry.dataset: s.counts for s in task_sources},
    empty=_check_none_lost(
      request, task_sources, vocabulary, expected, tally.rows
    ),
    tally=tally,
    seconds=time.monotonic() - started,
  )
  writer.finish(dropped=report.dropped)
  return report


def _source(entry: catalog.TaskEntry, request: Request) -> sources.Source:
  if catalog.is_procedural(entry):
    if request.folder is not None:
      raise errors.UserError(
        f"{entry.dataset} is generated and reads no files; remove --source"
      )
    return sources.generated(
      entry,
      seed=request.seed,
      split=request.split,
      num_rows=request.num_rows,
    )
  if request.num_rows is not None or request.seed:
    raise errors.UserError(
      f"{entry.dataset} is a published dataset; --rows and --seed apply to"
      " miniatures only"
    )
  return sources.prepared(
    entry,
    folder=request.folder,
    tfds_data_dir=request.tfds_data_dir,
    allow_malformed=request.allow_malformed,
  )


def _dataset(
  request: Request,
  task_sources: list[sources.Source],
  vocabulary: seqio.Vocabulary,
) -> tf.data.Dataset:
  parts = [
    tasks.with_vocabulary(source.entry, vocabulary, source.data)
    for source in task_sources
  ]
  if request.task not in catalog.MIXTURES:
    return parts[0].get_dataset(
      request.windows,
      split=request.split,
      shuffle=False,
      trim_output_features=False,
    )
  return tasks.mixture(request.task, parts, request.split).get_dataset(
    request.windows,
    split=request.split,
    shuffle=False,
    seed=_MIXING_SEED,
    num_epochs=1,
    trim_output_features=False,
    passthrough_features=_EXTRA,
  )


def _batches(
  dataset: tf.data.Dataset,
  kind: str,
  windows: Mapping[str, int],
  chunk_rows: int,
) -> Iterator[Mapping[str, np.ndarray]]:
  """Yields one chunk at a time, token ids padded with 0 to the windows."""
  tokens = rows_to_columns.token_features(kind)
  spec = dataset.element_spec
  kept = [name for name in spec if name in tokens or name in _EXTRA]

  def width(name: str) -> list[int]:
    if name not in tokens:
      return []
    prompt = name in ("inputs", "prompt")
    return [windows["inputs" if prompt else "targets"]]

  batches = (
    dataset.map(
      tf.autograph.experimental.do_not_convert(
        lambda example: {name: example[name] for name in kept}
      )
    )
    .padded_batch(chunk_rows, {name: width(name) for name in kept})
    .prefetch(tf.data.AUTOTUNE)
    .as_numpy_iterator()
  )
  with native_logs.held_back():  # Tokenizers log when they are loaded.
    first = list(itertools.islice(batches, 1))
  yield from first
  yield from batches


def _manifest(
  request: Request, task_sources: list[sources.Source], files: list[str]
) -> stores.Manifest:
  entry = task_sources[0].entry
  rater = "rater" if catalog.is_procedural(entry) else "human"
  labelled = rows_to_columns.SCHEMAS[entry.kind] == "pairs"
  return stores.Manifest(
    task=request.task,
    schema=rows_to_columns.SCHEMAS[entry.kind],
    columns=rows_to_columns.specs(entry.kind),
    feature_lengths={
      "prompt": request.windows["inputs"],
      "response": request.windows["targets"],
    },
    vocabulary=request.vocabulary,
    label=stores.Label(rater if labelled else "none"),
    source={
      "split": request.split,
      "files": "\n".join(files),
      **{
        f"fingerprint_{source.entry.dataset}": source.fingerprint
        for source in task_sources
      },
    },
  )


def _expected_rows(
  kind: str, task_sources: list[sources.Source], split: str
) -> int:
  """Returns the number of examples that the kept comparisons should yield."""
  kept = sum(source.counts[split].kept for source in task_sources)
  if kind == "sft":
    return 2 * kept
  if kind == "prompts":
    return sum(source.counts[split].prompts for source in task_sources)
  return kept


def _check_none_lost(
  request: Request,
  task_sources: list[sources.Source],
  vocabulary: seqio.Vocabulary,
  expected: int,
  written: int,
) -> int:
  """Returns the number of examples lost because a response has no tokens.

  Raises:
    RuntimeError: examples are missing for any other reason.
  """
  if written == expected:
    return 0
  kind = task_sources[0].entry.kind
  empty = 0
  for source in task_sources:
    rows = source.data.get_dataset(split=request.split, shuffle=False)
    for row in rows.as_numpy_iterator():
      names = [name for name in preprocessors.RESPONSES if name in row]
      texts = [row[name].decode() for name in names]
      if not all(map(vocabulary.encode, texts)):
        repeats = kind == "prompts" and row["prompt_repeats"]
        empty += 2 if kind == "sft" else int(not repeats)
  if written + empty != expected:
    raise RuntimeError(
      f"{written} of {expected} examples of {request.task} were written and"
      f" {empty} have an empty response: a bug in the pipeline lost the rest"
    )
  return empty


def _write_skipped(output: str, task_sources: list[sources.Source]) -> None:
  lines = [line for source in task_sources for line in source.skipped]
  if lines:
    path = etils.epath.Path(f"{output.rstrip('/')}.skipped_rows.jsonl")
    path.write_text("\n".join(lines) + "\n")
