"""Surveys a folder of published files before anything is written.

Every row is either kept or listed with the reason it was not, so that for each
split, rows read = rows kept + dropped + malformed.
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
  """How to read one dataset's rows.

  Attributes:
    split: maps a row's columns and file name to its split.
    comparison: maps a row's columns and file name to its comparison.
    drop_copies: drop rows that an earlier file already contained; for datasets
      published in several file formats.
    split_by_prompt: drop rows whose prompt appeared in another split earlier.
      If False, such rows are kept and counted.
  """

  split: Callable[[Mapping[str, object], str], str]
  comparison: Callable[[Mapping[str, object], str], rows.Comparison]
  drop_copies: bool = False
  split_by_prompt: bool = False


@dataclasses.dataclass
class SplitCounts:
  """Counts of one split's rows, or of the rows of no known split.

  Attributes:
    read: all rows.
    kept: rows that yield a comparison.
    prompts: distinct prompts among the kept rows.
    dropped: well-formed rows without a usable preference, by reason.
    malformed: rows that do not match the published schema, by reason.
    notes: kept rows with an oddity, by the oddity's name.
  """

  read: int = 0
  kept: int = 0
  prompts: int = 0
  dropped: dict[str, int] = dataclasses.field(default_factory=dict)
  malformed: dict[str, int] = dataclasses.field(default_factory=dict)
  notes: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SkippedRow:
  """A row that yields no comparison; one line of the side file."""

  file: str
  line: int
  split: str
  outcome: str  # "dropped" or "malformed"
  reason: str
  detail: str


@dataclasses.dataclass(frozen=True)
class KeptRow:
  """A comparison and where it was published."""

  file: str
  line: int
  prompt_repeats: bool  # an earlier kept row of the split has this prompt
  comparison: rows.Comparison


class Survey:
  """One pass over the files; `kept` then yields the comparisons.

  Attributes:
    counts: counts of each split, including `UNKNOWN_SPLIT` if it has rows.
    skipped: every row that is not kept, in file order.
  """

  def __init__(self, files: Mapping[str, etils.epath.Path], how: Format):
    """Reads every row once.

    Args:
      files: the published files by name, relative to the folder.
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
    """Returns the splits with at least one comparison, sorted."""
    return sorted(name for name, count in self.counts.items() if count.kept)

  def kept(self, split: str) -> Iterator[KeptRow]:
    """Yields the comparisons of one split in file order."""
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
  """Hashes of earlier rows: copies, prompts, pairs and labels."""

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
    # Parquet orders the keys of a message differently from JSON lines.
    key = rows.digest(json.dumps(fields, sort_keys=True, default=str))
    if key in self._earlier_files:
      raise rows.DroppedError("copy_in_another_file")
    self._this_file.add(key)

  def other_split(self, comparison: rows.Comparison, split: str) -> str:
    """Returns the other split in which this prompt appeared earlier, or ""."""
    first = self._prompt_splits.setdefault(comparison.prompt_id, split)
    return "" if first == split else first

  def notes(self, comparison: rows.Comparison) -> list[str]:
    pair = comparison.pair_id
    winners = self._winners[pair]
    notes = ["repeated_pair"] if pair in self._pairs else []
    if winners and comparison.chosen not in winners:
      notes.append("disagreeing_label")
    self._pairs.add(pair)
    winners.add(comparison.chosen)
    return notes

  def repeats_prompt(self, comparison: rows.Comparison, split: str) -> bool:
    key = (split, comparison.prompt_id)
    repeats = key in self._prompts
    self._prompts.add(key)
    return repeats


def check_malformed(
  counts: Mapping[str, SplitCounts], *, allowed: bool, example: str
) -> None:
  """Refuses files in which more than `MALFORMED_LIMIT` of rows are malformed.

  Args:
    counts: counts of each split, including the unknown one.
    allowed: whether the user accepts any number of malformed rows.
    example: one malformed row, for the message.

  Raises:
    UserError: too many rows are malformed and `allowed` is False.
  """
  read = sum(count.read for count in counts.values())
  reasons: collections.Counter[str] = collections.Counter()
  for count in counts.values():
    reasons.update(count.malformed)
  malformed = reasons.total()
  if allowed or malformed <= MALFORMED_LIMIT * read:
    return
  by_reason = ", ".join(
    f"{reason} {n:,}" for reason, n in reasons.most_common()
  )
  raise errors.UserError(
    f"{malformed:,} of {read:,} rows are malformed ({by_reason}), more than"
    f" {MALFORMED_LIMIT:.0%}, such as {example}; are these the published files?"
    " --allow_malformed skips such rows"
  )


def _increment(counts: dict[str, int], reason: str) -> None:
  counts[reason] = counts.get(reason, 0) + 1
