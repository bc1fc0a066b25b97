"""Converts a padded batch of a seqio task to the columns of a store."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlhf_gap import stores

Arrays = Mapping[str, np.ndarray]

ORIGIN = (
  stores.ColumnSpec(
    "source_file",
    "int32",
    None,
    "place of the published file in the manifest's source.files, from 0",
  ),
  stores.ColumnSpec(
    "source_line",
    "int32",
    None,
    "line of the file, or row of a Parquet file, from 1",
  ),
)

SCHEMAS = {
  "sft": "sft",
  "pairs": "pairs",
  "preference": "pairs",
  "prompts": "prompts",
  "text": "sft",
}
"""The store schema of each kind of task."""

_TOKENS = {
  "sft": {"prompt_tokens": "inputs", "response_tokens": "targets"},
  "pairs": {
    "prompt_tokens": "inputs",
    "chosen_tokens": "chosen",
    "rejected_tokens": "rejected",
  },
  "preference": {
    "prompt_tokens": "prompt",
    "chosen_tokens": "chosen",
    "rejected_tokens": "rejected",
  },
  "prompts": {"prompt_tokens": "inputs"},
  "text": {"prompt_tokens": "inputs", "response_tokens": "targets"},
}
UNKNOWN: dict[str, Any] = {
  "policy_step": np.int32(stores.NO_POLICY),
  "chosen_seed": np.int64(-1),
  "rejected_seed": np.int64(-1),
  "judge_r12": np.float32(np.nan),
  "judge_r21": np.float32(np.nan),
  "chosen_reference_log_prob": np.float32(np.nan),
  "rejected_reference_log_prob": np.float32(np.nan),
  "weight": np.float32(1),
}
"""Placeholders for columns that human-written, human-labelled pairs lack."""


def specs(kind: str) -> tuple[stores.ColumnSpec, ...]:
  """Returns the store columns for a kind of task."""
  return stores.SCHEMAS[SCHEMAS[kind]] + ORIGIN


def token_features(kind: str) -> tuple[str, ...]:
  """Returns the names of the features that hold token ids."""
  return tuple(_TOKENS[kind].values())


def columns(
  kind: str, batch: Arrays, file_indices: Mapping[str, int]
) -> dict[str, np.ndarray]:
  """Returns a chunk for `stores.Writer.append`.

  Args:
    kind: the task's kind, as in `catalog.TaskEntry`.
    batch: features of the task, padded with 0 to their windows.
    file_indices: index of each published file in the manifest.

  Returns:
    Arrays `[rows]` or `[rows, window]` by column name.
  """
  rows = len(batch["line"])
  known = {name: batch[feature] for name, feature in _TOKENS[kind].items()}
  known |= {
    "prompt_id": np.array(
      [stores.prompt_id(name.decode()) for name in batch["prompt_id"]], np.int64
    ),
    "truncated": batch["truncated"],
    "source_file": np.array(
      [file_indices[name.decode()] for name in batch["file"]], np.int32
    ),
    "source_line": batch["line"].astype(np.int32),
  }
  unknown = {name: np.full(rows, value) for name, value in UNKNOWN.items()}
  names = [spec.name for spec in specs(kind)]
  return {name: (known | unknown)[name] for name in names}
