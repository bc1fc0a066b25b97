"""`manifest.json`: a store's content, its origin and the writer's progress."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from rlhf_gap import errors, files
from rlhf_gap.stores import vocabularies
from rlhf_gap.stores.columns import ColumnSpec

FORMAT_VERSION = 1
DEFAULT_CHUNK_ROWS = 256
MAX_ROWS = 2**31
MAX_CHUNK_BYTES = 2**30
"""Largest chunk of a column; the usual size is below 1 MB."""


@dataclasses.dataclass(frozen=True)
class CheckpointIdentity:
  """Identifies the parameters that sampled, scored or judged rows.

  Attributes:
    path: their location at the time; "" if unknown. It is informative only and
      ignored when stores are compared.
    sha256: hash of the parameters' bytes, as the caller defines it;
      hexadecimal.
    step: the training step of the checkpoint.
  """

  path: str
  sha256: str
  step: int


@dataclasses.dataclass(frozen=True)
class Label:
  """The source of the rows' preference labels.

  Attributes:
    by: "human", "rater" (the miniatures' noisy rater), "utility" (their hidden
      utility, without noise), "judge" (a preference model), or "none" for rows
      without a preference.
    judge: the preference model, if `by` is "judge".
  """

  by: str = "none"
  judge: CheckpointIdentity | None = None

  def __post_init__(self) -> None:
    if self.by not in ("human", "rater", "utility", "judge", "none"):
      raise ValueError(f"unknown source of labels: {self.by!r}")
    if (self.by == "judge") != (self.judge is not None):
      raise ValueError(f"labels by {self.by!r} with judge={self.judge}")


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Describes a store.

  Attributes:
    task: the seqio task or the run that the rows come from.
    schema: a name for the set of columns: "prompts", "sft", "pairs".
    columns: the columns, in order.
    feature_lengths: tokens on each axis, such as
      `{"prompt": 1024, "response": 128}`.
    vocabulary: the vocabulary of the token ids.
    chunk_rows: rows per chunk; every chunk but the last is full.
    label: the source of the preference labels.
    reference: the policy that computed the reference log-probabilities, if they
      were computed.
    source: everything else that determines the rows, such as split, files with
      their hashes, and generator seed.
    dropped: number of rows of the source that were left out, by reason.
    rows: rows committed so far.
    complete: whether the writer has finished.
  """

  task: str
  schema: str
  columns: tuple[ColumnSpec, ...]
  feature_lengths: Mapping[str, int]
  vocabulary: vocabularies.Vocabulary
  chunk_rows: int = DEFAULT_CHUNK_ROWS
  label: Label = Label()
  reference: CheckpointIdentity | None = None
  source: Mapping[str, str | int | float | bool | None] = dataclasses.field(
    default_factory=dict
  )
  dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
  rows: int = 0
  complete: bool = False

  def __post_init__(self) -> None:
    if self.chunk_rows < 1:
      raise ValueError(f"chunk_rows is {self.chunk_rows}; expected >= 1")
    if not 0 <= self.rows <= MAX_ROWS:
      raise ValueError(f"rows is {self.rows}; expected 0 to {MAX_ROWS}")
    names = [spec.name for spec in self.columns]
    if not names or len(set(names)) != len(names):
      raise ValueError(f"columns {names}: expected distinct names, at least 1")
    axes = {spec.axis for spec in self.columns if spec.axis is not None}
    unknown = sorted(a for a in axes if a not in self.feature_lengths)
    if unknown:
      raise ValueError(
        f"feature_lengths {dict(self.feature_lengths)} lacks {unknown}"
      )
    if min(self.feature_lengths.values(), default=1) < 1:
      raise ValueError(
        f"feature_lengths {dict(self.feature_lengths)}; expected >= 1"
      )
    for spec in self.columns:
      row = spec.row_shape(self.feature_lengths)
      chunk_bytes = self.chunk_rows * math.prod(row) * spec.itemsize
      if chunk_bytes > MAX_CHUNK_BYTES:
        raise ValueError(
          f"chunk_rows is {self.chunk_rows}; a chunk of {spec.name} would take"
          f" {chunk_bytes:,} bytes; expected at most {MAX_CHUNK_BYTES:,}"
        )

  @property
  def num_chunks(self) -> int:
    """Chunks committed so far; the last one may be partial."""
    return -(-self.rows // self.chunk_rows)

  def column(self, name: str) -> ColumnSpec:
    """Returns the column called `name`, or raises `KeyError`."""
    return {spec.name: spec for spec in self.columns}[name]


def dumps(manifest: Manifest) -> bytes:
  """Returns the file's bytes; equal manifests give equal bytes."""
  content = {"format_version": FORMAT_VERSION} | dataclasses.asdict(manifest)
  text = json.dumps(
    content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
  )
  return (text + "\n").encode("utf-8")


def loads(content: bytes, path: str) -> Manifest:
  """Parses a manifest.

  Args:
    content: the bytes of `manifest.json`.
    path: the store's path, for messages.

  Raises:
    UserError: the bytes are not a manifest, or one of another format version.
  """
  place = f"{path}/manifest.json"
  try:
    version = files.decode_json(content, _Version, place).format_version
  except errors.UserError as error:
    raise errors.UserError(
      f"{place} is cut short or damaged ({files.without_place(error, place)});"
      " copy or rebuild the store"
    ) from error
  if version != FORMAT_VERSION:
    raise errors.UserError(
      f"{path} has store format {version}; expected format {FORMAT_VERSION}:"
      " install the rlhf-gap that wrote it, or rebuild the store"
    )
  try:
    return files.decode_dataclass(
      content, Manifest, place, beside=("format_version",)
    )
  except errors.UserError as error:
    raise errors.UserError(
      f"{place} does not describe a store"
      f" ({files.without_place(error, place)}); copy or rebuild the store"
    ) from error


class _Version(msgspec.Struct):
  format_version: int


def _identity(manifest: Manifest) -> dict[str, Any]:
  """Returns the fields that must not change while a store is written."""
  fields = dataclasses.asdict(manifest)
  for progress in ("rows", "complete", "dropped"):
    del fields[progress]
  fields["vocabulary"] = manifest.vocabulary.fingerprint
  for checkpoint in (fields["reference"], fields["label"]["judge"]):
    if checkpoint is not None:
      del checkpoint["path"]
  for column in fields["columns"]:
    del column["meaning"]
  return fields


def differences(manifest: Manifest, other: Manifest) -> list[str]:
  """Returns the names of the fields in which two stores differ.

  Progress and the locations of checkpoints and vocabulary are ignored.
  """
  mine, theirs = _identity(manifest), _identity(other)
  return [name for name in mine if mine[name] != theirs[name]]
