"""Which split a row belongs to: by file, by a column, or by its prompt.

By prompt: a row is held out, in the split "test", if the first 63 bits of the
SHA-256 of its rendered prompt in UTF-8, divided by 2^63, are below the share.
All rows of a prompt then stand on one side, on every machine and in any order.

By file or column a prompt may stand in several splits. It then stays where it
is held out: "train" gives way to every other split, and those to one another
in alphabetical order, the later one staying.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping

from rlhf_gap import errors
from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import sources

TRAIN, TEST, ALL = "train", "test", "all"
_WORDS = {
  "train": TRAIN,
  "training": TRAIN,
  "test": TEST,
  "validation": "validation",
  "valid": "validation",
  "val": "validation",
  "dev": "validation",
  "eval": "validation",
}


@dataclasses.dataclass(frozen=True)
class Splitter:
  """A rule for splits.

  Attributes:
    by: "none", "file", "column" or "hash".
    column: the column, for "column".
    share: the share of prompts that is held out, for "hash".
  """

  by: str = "none"
  column: str = ""
  share: float = 0.0

  @property
  def may_leak(self) -> bool:
    """Whether a prompt can occur in two splits."""
    return self.by in ("file", "column")

  def of_file(self, name: str) -> str | None:
    """Returns the split of all rows of a file, or None if rows differ."""
    if self.by == "none":
      return ALL
    return split_of_name(name) if self.by == "file" else None

  def of_row(self, fields: Mapping[str, object], prompt_key: int) -> str:
    """Returns a row's split if its file does not determine it.

    Args:
      fields: the row's columns.
      prompt_key: `Reading.prompt_key`.

    Raises:
      MalformedError: the column is missing or empty.
    """
    if self.by == "hash":
      return TEST if prompt_key / 2**63 < self.share else TRAIN
    name = rows.text(fields, self.column).strip()
    if not name:
      raise rows.MalformedError("no_split", self.column)
    return name

  def describe(self) -> str:
    """Returns the rule as `--split_by` takes it."""
    if self.by == "column":
      return f"column:{self.column}"
    return f"hash:{self.share:g}" if self.by == "hash" else self.by


def parse(text: str | None, files: Iterable[sources.SourceFile]) -> Splitter:
  """Returns the rule that `--split_by` names.

  Args:
    text: "none", "file", "column:NAME" or "hash:SHARE"; None is "file" if
      every file's name contains a split and "none" otherwise.
    files: the files.

  Raises:
    UserError: the rule is unknown, or a file's name contains no split.
  """
  files = tuple(files)
  names = [file.name for file in files]
  if any(file.format == "hub" for file in files):
    if text is not None:
      raise errors.UserError(
        f"--split_by={text}: a hub dataset has its own splits; choose with"
        " --split"
      )
    return Splitter()
  if text is None:
    told = all(split_of_name(name) is not None for name in names)
    return Splitter("file" if told else "none")
  by, _, detail = text.partition(":")
  if text == "file":
    mute = [name for name in names if split_of_name(name) is None]
    if mute:
      raise errors.UserError(
        f"--split_by=file: no split in the name of {mute[0]}; expected it to"
        f" contain one of {', '.join(_WORDS)}"
      )
    return Splitter("file")
  if text == "none":
    return Splitter()
  if by == "column" and detail:
    return Splitter("column", column=detail)
  if by == "hash":
    return Splitter("hash", share=_share(text, detail))
  raise errors.UserError(
    f"--split_by={text}; expected none, file, column:NAME or hash:SHARE"
  )


def _share(text: str, detail: str) -> float:
  try:
    share = float(detail)
  except ValueError:
    share = -1.0
  if not 0 < share < 1:
    raise errors.UserError(
      f"--split_by={text}; expected a share between 0 and 1, such as hash:0.1"
    )
  return share


def split_of_name(name: str) -> str | None:
  """Returns the split that a file's name, or else its folder's, tells.

  >>> split_of_name("val-00000-of-00001.parquet"), split_of_name("pairs.csv")
  ('validation', None)

  Args:
    name: relative to the source, with slashes.
  """
  for part in reversed(pathlib.PurePath(name).parts):
    words = re.split(r"[^a-z]+", part.lower())
    told = [_WORDS[word] for word in words if word in _WORDS]
    if told:
      return told[0]
  return None


def stays_before(split: str, other: str) -> bool:
  """Whether a prompt in two splits stays in `other` rather than in `split`."""
  return (split != TRAIN, split) < (other != TRAIN, other)
