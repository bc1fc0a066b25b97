"""Report of a store build: rows read, kept, dropped and truncated."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rlhf_gap import stores
from rlhf_gap.data import rows_to_columns, surveys
from rlhf_gap.token_ids import PAD_ID

_PERCENTILES = (50, 95, 99)
_HEADINGS = (*(f"p{p}" for p in _PERCENTILES), "max")
_UNKNOWN_SPLIT = surveys.UNKNOWN_SPLIT


@dataclasses.dataclass(frozen=True)
class Report:
  """Counts of a task's rows through the pipeline.

  Attributes:
    task: the task or mixture.
    split: the split.
    output: the store's directory.
    rows_written: rows in the store.
    files: the published files that were read.
    other_files: data files in the same folder that belong to no dataset of
      the task.
    datasets: for each dataset, the `surveys.SplitCounts` of the split, plus
      those of rows whose split could not be read, under "unknown".
    rows_read: published rows, summed over datasets.
    rows_kept: rows that yield a comparison.
    dropped: dropped rows by reason, summed over datasets and stages.
    notes: rows kept despite an oddity, by the oddity's name.
    truncated: rows with a truncated part, by part.
    lengths_tokens: p50, p95, p99 and max of each part before truncation,
      without EOS.
    unknown_token_rate: fraction of stored tokens that are unknown pieces.
    seconds: from opening the first file to writing the last row.
    rows_per_second: comparisons read, per second.
  """

  task: str
  split: str
  output: str
  rows_written: int
  files: Sequence[str]
  other_files: Sequence[str]
  datasets: Mapping[str, Mapping[str, Any]]
  rows_read: int
  rows_kept: int
  dropped: Mapping[str, int]
  notes: Mapping[str, int]
  truncated: Mapping[str, int]
  lengths_tokens: Mapping[str, Mapping[str, int]]
  unknown_token_rate: float
  seconds: float
  rows_per_second: float


class Tally:
  """Accumulates counts and lengths over a task's examples."""

  def __init__(self, kind: str, unknown_id: int | None):
    self.rows = 0
    self.identical_tokens = 0
    self._features = rows_to_columns.token_features(kind)
    self._unknown_id = unknown_id
    self._unknown = self._tokens = 0
    self._truncated = dict.fromkeys(stores.Truncated, 0)
    # Lengths are counted, not listed: a report takes no memory per row.
    self._lengths: dict[str, collections.Counter[int]] = {}

  def add(self, batch: rows_to_columns.Arrays) -> None:
    """Adds a padded batch of examples."""
    self.rows += len(batch["line"])
    for name in self._features:
      self._tokens += int((batch[name] != PAD_ID).sum())
      self._unknown += int((batch[name] == self._unknown_id).sum())
    for part in self._truncated:
      self._truncated[part] += int((batch["truncated"] & part != 0).sum())
    for name, values in batch.items():
      if name.endswith("_length"):
        counts = self._lengths.setdefault(
          name.removesuffix("_length"), collections.Counter()
        )
        counts.update(values.tolist())
    if "chosen" in batch:
      same = (batch["chosen"] == batch["rejected"]).all(axis=1)
      self.identical_tokens += int(same.sum())

  def truncated(self) -> dict[str, int]:
    """Returns the number of rows with a truncated part, by part."""
    return {
      p.name.lower(): n for p, n in self._truncated.items() if n and p.name
    }

  def lengths(self) -> dict[str, dict[str, int]]:
    """Returns percentiles and the maximum of each part's length in tokens."""
    return {
      part: _percentiles(counts)
      for part, counts in sorted(self._lengths.items())
    }

  def unknown_token_rate(self) -> float:
    """Returns the fraction of tokens that are unknown pieces."""
    return self._unknown / max(self._tokens, 1)


def report(
  *,
  task: str,
  split: str,
  output: str,
  files: Sequence[str],
  other_files: Sequence[str],
  counts: Mapping[str, Mapping[str, surveys.SplitCounts]],
  empty: int,
  tally: Tally,
  seconds: float,
) -> Report:
  """Combines the counts of the survey and the pipeline.

  Args:
    task: the task or mixture.
    split: the split.
    output: the store's directory.
    files: the published files that were read.
    other_files: data files beside them that were not.
    counts: the survey of each dataset.
    empty: examples dropped because a response has no tokens.
    tally: counts over the examples written.
    seconds: wall time.
  """
  datasets = {
    name: {s: c for s, c in surveyed.items() if s in (split, _UNKNOWN_SPLIT)}
    for name, surveyed in counts.items()
  }
  shown = [count for splits in datasets.values() for count in splits.values()]
  dropped = _total(count.dropped | count.malformed for count in shown)
  notes = _total(count.notes for count in shown)
  if empty:
    dropped["empty_after_tokenizing"] = empty
  if tally.identical_tokens:
    notes["identical_tokens"] = tally.identical_tokens
  rows_read = sum(count.read for count in shown)
  return Report(
    task=task,
    split=split,
    output=output,
    rows_written=tally.rows,
    files=files,
    other_files=other_files,
    datasets={
      name: {s: dataclasses.asdict(c) for s, c in splits.items()}
      for name, splits in datasets.items()
    },
    rows_read=rows_read,
    rows_kept=sum(count.kept for count in shown),
    dropped=dropped,
    notes=notes,
    truncated=tally.truncated(),
    lengths_tokens=tally.lengths(),
    unknown_token_rate=tally.unknown_token_rate(),
    seconds=round(seconds, 3),
    rows_per_second=round(rows_read / seconds, 1),
  )


def table(report: Report) -> str:
  """Formats the report for a terminal."""
  lines = [f"{report.task}, split {report.split}: {report.output}", ""]
  counted = {
    "files read": len(report.files),
    "  ignored, not part of this task": len(report.other_files),
    "rows read": report.rows_read,
    **{f"  dropped, {name}": n for name, n in report.dropped.items()},
    "rows kept": report.rows_kept,
    **{f"  of them, {name}": n for name, n in report.notes.items()},
    "rows written": report.rows_written,
    **{f"  {part} cut": n for part, n in report.truncated.items()},
  }
  width = max(map(len, counted))
  lines += [f"{name:<{width}}  {n:>9,}" for name, n in counted.items()]
  lines += ["", f"{'tokens':<10}" + "".join(f"{c:>8}" for c in _HEADINGS)]
  for part, lengths in report.lengths_tokens.items():
    values = "".join(f"{lengths[heading]:>8,}" for heading in _HEADINGS)
    lines.append(f"{part:<10}{values}")
  lines += [
    "",
    f"unknown tokens {report.unknown_token_rate:.3%};"
    f" {report.rows_per_second:,.0f} rows/s ({report.seconds:.1f} s)",
  ]
  return "\n".join(lines)


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
  total: collections.Counter[str] = collections.Counter()
  for count in counts:
    total.update(count)
  return dict(total.most_common())


def _percentiles(counts: collections.Counter[int]) -> dict[str, int]:
  """Returns percentiles, the higher of two neighbours, and the maximum."""
  lengths = np.array(sorted(counts))
  below = np.cumsum([counts[length] for length in lengths.tolist()])
  ranks = [-(-p * (counts.total() - 1) // 100) for p in _PERCENTILES]
  values = lengths[np.searchsorted(below, ranks, side="right")]
  named = zip(_PERCENTILES, values, strict=True)
  return {f"p{p}": int(value) for p, value in named} | {"max": int(lengths[-1])}
