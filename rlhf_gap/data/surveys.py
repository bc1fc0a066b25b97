"""Counts what a folder of published files holds before anything is written.

Every row is either kept or listed with the reason why it is not, so that
rows read = rows kept + dropped + malformed, for each split.
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import etils.epath

from rlhf_gap import errors, progress
from rlhf_gap.data import published
from rlhf_gap.data.formats import rows

UNKNOWN_SPLIT = "unknown"
MALFORMED_LIMIT = 0.01


@dataclasses.dataclass(frozen=True)
class Format:
  """How one dataset's rows are read.

  Attributes:
    split: gives the split of a row, from its columns and its file's name.
    comparison: gives the comparison of a row, likewise.
    drop_copies: whether a row that an earlier file already held is dropped.
      True where publishers give one dataset as several kinds of file.
    split_by_prompt: whether a row is dropped whose prompt an earlier row put
      in another split. Where False, such rows are kept and counted.
  """

  split: Callable[[Mapping[str, object], str], str]
  comparison: Callable[[Mapping[str, object], str], rows.Comparison]
  drop_copies: bool = False
  split_by_prompt: bool = False


@dataclasses.dataclass
class SplitCounts:
  """What became of the rows of one split; rows of no known split likewise.

  Attributes:
    read: all rows.
    kept: rows that give a comparison.
    prompts: distinct prompts among these.
    dropped: sound rows that say nothing of preference, by reason.
    malformed: rows that are not what the publisher promises, by reason.
    notes: kept rows with an oddity, by its name.
  """

  read: int = 0
  kept: int = 0
  prompts: int = 0
  dropped: dict[str, int] = dataclasses.field(default_factory=dict)
  malformed: dict[str, int] = dataclasses.field(default_factory=dict)
  notes: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SkippedRow:
  """One row that gives no comparison; a line of the side file."""

  file: str
  line: int
  split: str
  outcome: str  # "dropped" or "malformed"
  reason: str
  detail: str


@dataclasses.dataclass(frozen=True)
class KeptRow:
  """One comparison and where it was published."""

  file: str
  line: int
  prompt_repeats: bool  # an earlier kept row of the split has this prompt
  comparison: rows.Comparison


class Survey:
  """One pass over the files; `kept` then gives the comparisons.

  Attributes:
    counts: of each split, `UNKNOWN_SPLIT` included where rows fell there.
    skipped: every row that is not kept, in the files' order.
  """

  def __init__(self, files: Mapping[str, etils.epath.Path], how: Format):
    """Reads every row once.

    Args:
      files: the published files by their names relative to the folder.
      how: the dataset's format.

    Raises:
      UserError: a file is empty or damaged.
    """
    self.counts: dict[str, SplitCounts] = {}
    self.skipped: list[SkippedRow] = []
    self._files = files
    self._how = how
    self._repeats: set[tuple[str, int]] = set()
    self._pass()
    self._skipped = {(row.file, row.line) for row in self.skipped}

  def splits(self) -> list[str]:
    """Returns the splits that have a comparison, sorted."""
    return sorted(name for name, count in self.counts.items() if count.kept)

  def kept(self, split: str) -> Iterator[KeptRow]:
    """Yields the comparisons of one split in the files' order."""
    for file, path in self._files.items():
      for row in published.rows(file, path):
        where = (file, row.line)
        if where in self._skipped or row.fields is None:
          continue
        if self._how.split(row.fields, file) == split:
          comparison = self._how.comparison(row.fields, file)
          repeats = where in self._repeats
          yield KeptRow(file, row.line, repeats, comparison)

  def _pass(self) -> None:
    seen = _Seen()
    sizes = [path.stat().length for path in self._files.values()]
    with progress.bar("reading", sum(sizes), "B") as bar:
      for file, path in self._files.items():
        seen.next_file()
        for row in published.rows(file, path, bar.update):
          self._count(file, row, seen)

  def _count(self, file: str, row: published.Row, seen: "_Seen") -> None:
    split = UNKNOWN_SPLIT
    try:
      if row.fields is None:
        raise rows.MalformedError(row.fault, row.detail)
      split = self._how.split(row.fields, file)
      if self._how.drop_copies:
        seen.check_copy(row.fields)
      comparison = self._how.comparison(row.fields, file)
      elsewhere = seen.other_split(comparison, split)
      if elsewhere and self._how.split_by_prompt:
        raise rows.DroppedError("prompt_in_another_split", elsewhere)
    except rows.RowError as error:
      malformed = isinstance(error, rows.MalformedError)
      counts = self.counts.setdefault(split, SplitCounts())
      _increment(
        counts.malformed if malformed else counts.dropped, error.reason
      )
      self.skipped.append(
        SkippedRow(
          file=file,
          line=row.line,
          split=split,
          outcome="malformed" if malformed else "dropped",
          reason=error.reason,
          detail=error.detail,
        )
      )
    else:
      counts = self.counts.setdefault(split, SplitCounts())
      counts.kept += 1
      leak = ("prompt_in_another_split",) if elsewhere else ()
      for note in (*comparison.notes, *seen.notes(comparison), *leak):
        _increment(counts.notes, note)
      if seen.repeats_prompt(comparison, split):
        self._repeats.add((file, row.line))
      else:
        counts.prompts += 1
    counts.read += 1


class _Seen:
  """What earlier rows held, as hashes: copies, prompts, pairs and labels."""

  def __init__(self) -> None:
    self._earlier_files: set[str] = set()
    self._this_file: set[str] = set()
    self._prompt_splits: dict[str, str] = {}
    self._prompts: set[tuple[str, str]] = set()
    self._winners: dict[str, set[str]] = collections.defaultdict(set)
    self._pairs: set[str] = set()

  def next_file(self) -> None:
    self._earlier_files |= self._this_file
    self._this_file = set()

  def check_copy(self, fields: Mapping[str, Any]) -> None:
    # Parquet gives the keys of a message in another order than JSON lines do.
    key = rows.digest(json.dumps(fields, sort_keys=True, default=str))
    if key in self._earlier_files:
      raise rows.DroppedError("copy_in_another_file")
    self._this_file.add(key)

  def other_split(self, comparison: rows.Comparison, split: str) -> str:
    """Returns the split where an earlier row has this prompt, if another."""
    first = self._prompt_splits.setdefault(comparison.prompt_id, split)
    return "" if first == split else first

  def notes(self, comparison: rows.Comparison) -> list[str]:
    pair = comparison.pair_id
    winners = self._winners[pair]
    found = ["repeated_pair"] if pair in self._pairs else []
    if winners and comparison.chosen not in winners:
      found.append("disagreeing_label")
    self._pairs.add(pair)
    winners.add(comparison.chosen)
    return found

  def repeats_prompt(self, comparison: rows.Comparison, split: str) -> bool:
    key = (split, comparison.prompt_id)
    repeats = key in self._prompts
    self._prompts.add(key)
    return repeats


def check_malformed(
  counts: Mapping[str, SplitCounts], *, allowed: bool, example: str
) -> None:
  """Refuses files of which more than `MALFORMED_LIMIT` is malformed.

  Args:
    counts: of each split, the unknown one included.
    allowed: whether the user accepts any number.
    example: one malformed row, for the message.

  Raises:
    UserError: there are too many, and they are not allowed.
  """
  read = sum(count.read for count in counts.values())
  reasons: collections.Counter[str] = collections.Counter()
  for count in counts.values():
    reasons.update(count.malformed)
  malformed = reasons.total()
  if allowed or malformed <= MALFORMED_LIMIT * read:
    return
  told = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
  raise errors.UserError(
    f"{malformed:,} of {read:,} rows are malformed ({told}), more than"
    f" {MALFORMED_LIMIT:.0%}, such as {example}; are these the published files?"
    " --allow_malformed leaves such rows out"
  )


def _increment(counts: dict[str, int], reason: str) -> None:
  counts[reason] = counts.get(reason, 0) + 1
