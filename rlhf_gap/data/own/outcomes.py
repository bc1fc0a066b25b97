"""What becomes of every row: kept in a split, dropped, or malformed."""

import dataclasses
from collections.abc import Callable, Collection, Iterator

from rlhf_gap import errors
from rlhf_gap.data import surveys
from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import (
  delimited,
  examples,
  interpreting,
  json_lines,
  reading,
  sources,
  splits,
  unpaired,
)
from rlhf_gap.data.published import Row


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One row, read and judged.

  Attributes:
    file: name of its file.
    line: line or row of the file, from 1.
    split: its split, or `surveys.UNKNOWN_SPLIT`.
    reading: what it says, if it is of use.
    error: why it is of no use, otherwise.
    num_rows: rows of the source behind it: 2 for a pair of completions.
  """

  file: str
  line: int
  split: str
  reading: interpreting.Reading | None = None
  error: rows.RowError | None = None
  num_rows: int = 1

  def skipped(self) -> surveys.SkippedRow | None:
    """Returns the row's line of the side file, or None if it is kept."""
    if self.error is None:
      return None
    malformed = isinstance(self.error, rows.MalformedError)
    return surveys.SkippedRow(
      file=self.file,
      line=self.line,
      split=self.split,
      outcome="malformed" if malformed else "dropped",
      reason=self.error.reason,
      detail=errors.printable(self.error.detail)[:200],
    )

  def count(self, counts: surveys.SplitCounts) -> None:
    """Adds the row to the counts of its split."""
    counts.read += self.num_rows
    if self.error is None:
      counts.kept += self.num_rows
      reasons, found = counts.notes, self.reading.notes if self.reading else ()
    elif isinstance(self.error, rows.MalformedError):
      reasons, found = counts.malformed, (self.error.reason,)
    else:
      reasons, found = counts.dropped, (self.error.reason,)
    for reason in found:
      reasons[reason] = reasons.get(reason, 0) + 1


@dataclasses.dataclass(frozen=True)
class Walk:
  """How the rows of a source are read.

  Attributes:
    source: the files.
    interpreter: reads a row.
    splitter: gives a row's split.
    kind: one of `catalog.KINDS`: what the rows become.
    responses: one of `examples.RESPONSES`.
    pair_unpaired: whether single completions are made into pairs.
    split: the requested split; of a hub dataset, only this one is streamed.
  """

  source: sources.Source
  interpreter: interpreting.Interpreter
  splitter: splits.Splitter
  kind: str
  responses: str = "all"
  pair_unpaired: bool = False
  split: str | None = None

  def outcomes(self, on_bytes: Callable[[int], object]) -> Iterator[Outcome]:
    """Yields every row's outcome, in the order of files and rows.

    Args:
      on_bytes: is told how many more bytes have been read.

    Raises:
      UserError: a file is damaged or empty.
    """
    pairer = unpaired.Pairer() if self.pair_unpaired else None
    for file in self.source.files:
      split = self.splitter.of_file(file.name)
      for row in reading.rows(file, self.wanted(), on_bytes, self.split):
        outcome = self._outcome(file, split, row)
        if pairer is not None and outcome.reading is not None:
          paired = pairer.add(
            (file.name, row.line), outcome.split, outcome.reading
          )
          if paired is None:
            continue
          outcome = dataclasses.replace(outcome, reading=paired, num_rows=2)
        yield outcome
    if pairer is not None:
      for (name, line), left_split in pairer.left():
        error = rows.DroppedError("no_counterpart")
        yield Outcome(name, line, left_split, error=error)

  def wanted(self) -> Collection[str]:
    """Returns the columns that are read."""
    form, names = self.interpreter.form, self.interpreter.names
    roles = (*form.required, *form.optional)
    known = {names.given.get(role, role) for role in roles} | {"response"}
    return known | {self.splitter.column} - {""}

  def _outcome(
    self, file: sources.SourceFile, split: str | None, row: Row
  ) -> Outcome:
    name = split or surveys.UNKNOWN_SPLIT
    try:
      if row.fields is None:
        raise rows.MalformedError(row.fault, row.detail)
      cells = file.format in delimited.DELIMITERS
      read = self.interpreter.read(row.fields, cells=cells)
      if split is None:
        name = self.splitter.of_row(row.fields, read.prompt_key)
      _check_size(read)
      examples.check_of_use(read, self.kind, self.responses)
    except rows.RowError as error:
      return Outcome(file.name, row.line, name, error=error)
    return Outcome(file.name, row.line, name, read)


def _check_size(read: interpreting.Reading) -> None:
  size = len(read.prompt) + sum(map(len, read.responses))
  if size > json_lines.MAX_ROW_BYTES:
    raise rows.MalformedError("row_too_long", f"{size:,} characters")
