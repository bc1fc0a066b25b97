"""The columns of a store: names, types, shapes and meaning.

Shapes are those of one row. An axis is the name of a feature length, so the
same schema serves every window. Token columns hold ids, right-padded with 0. A
response ends with EOS (1) unless it was truncated.
"""

import dataclasses
import enum
import hashlib
from collections.abc import Mapping

import numpy as np

from rlhf_gap.token_ids import PAD_ID

DTYPES = ("int32", "int64", "float32")
NO_POLICY = -1
"""`policy_step` of a response that was not sampled from one of our policies."""


class Truncated(enum.IntFlag):
  """Bits of the `truncated` column: the parts truncated to their window."""

  PROMPT = 1
  RESPONSE = 2
  CHOSEN = 4
  REJECTED = 8


@dataclasses.dataclass(frozen=True)
class ColumnSpec:
  """One column of a store.

  Attributes:
    name: also the array's folder; letters, digits and underscores.
    dtype: one of `DTYPES`.
    axis: the name of the feature length that is the row's only dimension
      ("prompt", "response"), or None for one value per row.
    meaning: unit and meaning of the values, for people who read the manifest.
  """

  name: str
  dtype: str
  axis: str | None
  meaning: str

  def __post_init__(self) -> None:
    if not (self.name.isidentifier() and self.name.isascii()):
      raise ValueError(f"{self.name!r} cannot name a column")
    if self.dtype not in DTYPES:
      raise ValueError(
        f"column {self.name} has dtype {self.dtype}; expected one of {DTYPES}"
      )

  @property
  def itemsize(self) -> int:
    """Bytes of one value."""
    return np.dtype(self.dtype).itemsize

  @property
  def holds_tokens(self) -> bool:
    """Whether the values are token ids, right-padded with 0."""
    return self.axis is not None and self.dtype == "int32"

  def row_shape(self, feature_lengths: Mapping[str, int]) -> tuple[int, ...]:
    """Returns the shape of one row: `(length,)`, or `()` for a scalar."""
    return () if self.axis is None else (feature_lengths[self.axis],)


PROMPT_TOKENS = ColumnSpec(
  "prompt_tokens", "int32", "prompt", "token ids, padded with 0"
)
PROMPT_ID = ColumnSpec(
  "prompt_id", "int64", None, "names the prompt in its source, see prompt_id"
)
TRUNCATED = ColumnSpec(
  "truncated",
  "int32",
  None,
  "bits of what was cut: 1 prompt, 2 response, 4 chosen, 8 rejected",
)
WEIGHT = ColumnSpec(
  "weight", "float32", None, "the row's weight in a loss; 0 leaves it out"
)

PROMPTS = (PROMPT_TOKENS, PROMPT_ID, TRUNCATED)

SFT = (
  PROMPT_TOKENS,
  ColumnSpec(
    "response_tokens",
    "int32",
    "response",
    "token ids, EOS (1), then padding (0)",
  ),
  PROMPT_ID,
  TRUNCATED,
  WEIGHT,
)

PAIRS = (
  PROMPT_TOKENS,
  ColumnSpec(
    "chosen_tokens",
    "int32",
    "response",
    "token ids, EOS (1), then padding (0)",
  ),
  ColumnSpec(
    "rejected_tokens",
    "int32",
    "response",
    "token ids, EOS (1), then padding (0)",
  ),
  PROMPT_ID,
  ColumnSpec(
    "policy_step",
    "int32",
    None,
    "step of the policy that wrote both responses; -1: not ours",
  ),
  ColumnSpec(
    "chosen_seed", "int64", None, "seed that sampled chosen; -1: none"
  ),
  ColumnSpec(
    "rejected_seed", "int64", None, "seed that sampled rejected; -1: none"
  ),
  ColumnSpec(
    "judge_r12",
    "float32",
    None,
    "judge's P(chosen better), chosen shown first; NaN: not judged",
  ),
  ColumnSpec(
    "judge_r21",
    "float32",
    None,
    "judge's P(rejected better), rejected shown first; NaN: not judged",
  ),
  ColumnSpec(
    "chosen_reference_log_prob",
    "float32",
    None,
    "nats, summed over chosen with EOS, under the reference; NaN: not yet",
  ),
  ColumnSpec(
    "rejected_reference_log_prob",
    "float32",
    None,
    "nats, summed over rejected with EOS, under the reference; NaN: not yet",
  ),
  TRUNCATED,
  WEIGHT,
)

SCHEMAS = {"prompts": PROMPTS, "sft": SFT, "pairs": PAIRS}


def prompt_id(source_id: str) -> int:
  """Hashes a prompt's identifier to an int64.

  Args:
    source_id: the prompt's identifier in its data set, or its text if the data
      set has no identifiers.

  Returns:
    The first 63 bits of the SHA-256 of `source_id` in UTF-8: the same on every
    machine, and unique among 10^6 prompts with probability 1 - 10^-7.
  """
  digest = hashlib.sha256(source_id.encode("utf-8")).digest()
  return int.from_bytes(digest[:8], "big") >> 1


def num_rows(
  specs: tuple[ColumnSpec, ...],
  feature_lengths: Mapping[str, int],
  values: Mapping[str, np.ndarray],
) -> int:
  """Checks one chunk's arrays against their columns and counts its rows.

  Args:
    specs: the columns.
    feature_lengths: the length of each axis that a column names.
    values: by column name, an array `[rows, *row_shape]`.

  Returns:
    The number of rows, the same for every array.

  Raises:
    ValueError: a column is missing or unknown, has the wrong dtype or shape, or
      holds a token after padding.
  """
  names = [spec.name for spec in specs]
  if sorted(values) != sorted(names):
    missing = sorted(set(names) - set(values))
    unknown = sorted(set(values) - set(names))
    raise ValueError(f"columns {missing} are missing, {unknown} are unknown")
  rows = len(values[names[0]])
  for spec in specs:
    value = values[spec.name]
    shape = (rows, *spec.row_shape(feature_lengths))
    if value.shape != shape or value.dtype != np.dtype(spec.dtype):
      raise ValueError(
        f"column {spec.name} is {value.dtype} {value.shape}; expected"
        f" {spec.dtype} {shape}"
      )
    pads = value == PAD_ID
    if spec.holds_tokens and np.any(pads[:, :-1] & ~pads[:, 1:]):
      raise ValueError(
        f"column {spec.name} holds a token after padding (0); expected"
        " padding only at the end"
      )
  return rows
