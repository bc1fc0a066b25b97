"""The miniatures as seqio sources; ties are dropped and counted.

Their pretraining texts are a source of the same kind.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import seqio
import tensorflow as tf

from rlhf_gap.data import mini, surveys
from rlhf_gap.data.formats import rows
from rlhf_gap.data.mini import random_stream

SPLITS = mini.SPLITS
DEFAULT_ROWS = {"train": 32_768, "validation": 4_096, "test": 4_096}
"""Comparisons generated per split, before any are dropped."""

Columns = Mapping[str, Sequence[str | int]]


@dataclasses.dataclass(frozen=True)
class GeneratedRows:
  """Rows of one split of a miniature.

  Attributes:
    counts: number of rows generated, kept and dropped.
    columns: the kept rows, under the column names of published comparisons;
      a pretraining text's target is `response`. `file` is the miniature's name
      and `line` the row's index, from 0.
  """

  counts: surveys.SplitCounts
  columns: Columns


@functools.lru_cache(maxsize=8)
def generate(name: str, seed: int, split: str, num_rows: int) -> GeneratedRows:
  """Generates comparisons without ties or identical responses, or texts.

  Args:
    name: a miniature's name, or `mini_pretrain`.
    seed: selects the corpus.
    split: one of `SPLITS`.
    num_rows: number of rows to generate, before any are dropped.

  Raises:
    UserError: there is no such miniature or split.
  """
  if name == mini.pretraining.NAME:
    return _generate_texts(seed, split, num_rows)
  counts = surveys.SplitCounts()
  kept: list[dict[str, str | int]] = []
  prompts: set[str] = set()
  for index, row in enumerate(mini.pairs(name, seed, 0, num_rows, split=split)):
    counts.read += 1
    try:
      if row["label"] == mini.TIE:
        raise rows.DroppedError("tie")
      rows.check_responses(row["response_a"], row["response_b"])
    except rows.DroppedError as error:
      reason = error.reason
      counts.dropped[reason] = counts.dropped.get(reason, 0) + 1
      continue
    counts.kept += 1
    kept.append(
      {
        "prompt_head": "",
        "prompt_body": row["prompt"],
        "prompt_tail": "",
        "response_a": row["response_a"],
        "response_b": row["response_b"],
        "label": row["label"],
        "prompt_id": row["prompt_id"],
        "prompt_repeats": row["prompt_id"] in prompts,
        "file": name,
        "line": index,
      }
    )
    prompts.add(row["prompt_id"])
  counts.prompts = len(prompts)
  return GeneratedRows(
    counts, {key: [row[key] for row in kept] for key in kept[0]}
  )


def _generate_texts(seed: int, split: str, num_rows: int) -> GeneratedRows:
  texts = list(mini.texts(seed, 0, num_rows, split=split))
  inputs = [row["inputs"] for row in texts]
  counts = surveys.SplitCounts(
    read=num_rows, kept=num_rows, prompts=len(set(inputs))
  )
  name = mini.pretraining.NAME
  columns: Columns = {
    "prompt_head": [""] * num_rows,
    "prompt_body": inputs,
    "prompt_tail": [""] * num_rows,
    "response": [row["targets"] for row in texts],
    "prompt_id": [
      f"{random_stream.text_key(name, text):016x}" for text in inputs
    ],
    "file": [name] * num_rows,
    "line": list(range(num_rows)),
  }
  return GeneratedRows(counts, columns)


def source(
  name: str, *, corpus_seed: int = 0, num_rows: int | None = None
) -> seqio.DataSource:
  """Returns a miniature's rows as a seqio source.

  Args:
    name: a miniature's name, or `mini_pretrain`.
    corpus_seed: the seed of `generate`; seqio's own seeds only shuffle.
    num_rows: rows to generate for each split; None uses `DEFAULT_ROWS`.
  """
  sizes = {split: num_rows or DEFAULT_ROWS[split] for split in SPLITS}

  def dataset(
    split: str, shuffle_files: bool, seed: int | None = None
  ) -> tf.data.Dataset:
    del shuffle_files, seed
    rows_of_split = generate(name, corpus_seed, split, sizes[split])
    return tf.data.Dataset.from_tensor_slices(dict(rows_of_split.columns))

  return seqio.FunctionDataSource(dataset, SPLITS, num_input_examples=sizes)
