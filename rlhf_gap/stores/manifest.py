"""`manifest.json`: what a store holds, where it came from, how far it got."""

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
"""Largest chunk of one column; the usual ones are below 1 MB."""


@dataclasses.dataclass(frozen=True)
class CheckpointIdentity:
  """The parameters that wrote, scored or judged rows.

  Attributes:
    path: where they lay; "" if unknown. It is for people: two manifests that
      differ in it alone describe the same store.
    sha256: of the parameters' bytes, as the caller defines it; hexadecimal.
    step: the training step they were saved at.
  """

  path: str
  sha256: str
  step: int


@dataclasses.dataclass(frozen=True)
class Label:
  """How each row was labelled.

  Attributes:
    by: "human", "rater" (the miniatures' noisy one), "judge" (a preference
      model), or "none" for rows without a preference.
    judge: the preference model, where `by` is "judge".
  """

  by: str = "none"
  judge: CheckpointIdentity | None = None

  def __post_init__(self) -> None:
    if self.by not in ("human", "rater", "judge", "none"):
      raise ValueError(f"{self.by!r} names no way of labelling")
    if (self.by == "judge") != (self.judge is not None):
      raise ValueError(f"labels by {self.by!r} with judge={self.judge}")


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a store holds.

  Attributes:
    task: the seqio task or the run that the rows come from.
    schema: a name for the set of columns: "prompts", "sft", "pairs".
    columns: the columns, in order.
    feature_lengths: tokens on each axis, such as
      `{"prompt": 1024, "response": 128}`.
    vocabulary: what the token ids belong to.
    chunk_rows: rows of one append; every chunk but the last is full.
    label: how each row was labelled and by which checkpoint.
    reference: the checkpoint behind the reference log-probabilities, if they
      were computed.
    source: anything else that made the rows what they are: split, files and
      their hashes, generator seed.
    dropped: how many rows of the source were left out, by reason.
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
          f"chunk_rows is {self.chunk_rows}: a chunk of {spec.name} would take"
          f" {chunk_bytes:,} bytes; expected at most {MAX_CHUNK_BYTES:,}"
        )

  @property
  def num_chunks(self) -> int:
    """Chunks committed so far; the last one may be short."""
    return -(-self.rows // self.chunk_rows)

  def column(self, name: str) -> ColumnSpec:
    """Returns the column called `name`, or raises `KeyError`."""
    return {spec.name: spec for spec in self.columns}[name]


def dumps(manifest: Manifest) -> bytes:
  """Returns the file's bytes: a function of the manifest alone."""
  content = {"format_version": FORMAT_VERSION} | dataclasses.asdict(manifest)
  text = json.dumps(
    content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
  )
  return (text + "\n").encode("utf-8")


def loads(content: bytes, path: str) -> Manifest:
  """Returns the manifest in `content`.

  Args:
    content: the bytes of `manifest.json`.
    path: the store's path, for messages.

  Raises:
    UserError: the bytes are no manifest, or one of a newer format.
  """
  place = f"{path}/manifest.json"
  try:
    version = files.decode_json(content, _Version, place).format_version
  except errors.UserError as error:
    raise errors.UserError(
      f"{place} is cut short or damaged ({_reason(error, place)}); copy the"
      " store again, or build it again"
    ) from error
  if version != FORMAT_VERSION:
    raise errors.UserError(
      f"{path} has store format {version}; this rlhf-gap reads format"
      f" {FORMAT_VERSION}: install a version that knows {version}"
    )
  try:
    return files.decode_dataclass(
      content, Manifest, place, beside=("format_version",)
    )
  except errors.UserError as error:
    raise errors.UserError(
      f"{place} does not describe a store ({_reason(error, place)}); copy the"
      " store again, or build it again"
    ) from error


class _Version(msgspec.Struct):
  format_version: int


def _reason(error: Exception, place: str) -> str:
  return str(error).removeprefix(f"{errors.printable(place)}: ")


def _identity(manifest: Manifest) -> dict[str, Any]:
  """Returns what must not change while a store is written."""
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


def differences(one: Manifest, other: Manifest) -> list[str]:
  """Returns the names of the fields in which two stores are not the same.

  How far each got, and where checkpoints and vocabulary lie, does not count.
  """
  mine, theirs = _identity(one), _identity(other)
  return [name for name in mine if mine[name] != theirs[name]]
