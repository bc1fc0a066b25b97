"""The first pass: counts every row, and refuses before anything is written."""

import dataclasses
from collections.abc import Mapping

from rlhf_gap import errors, progress
from rlhf_gap.data import surveys
from rlhf_gap.data.own import outcomes, seen, splits


@dataclasses.dataclass(frozen=True)
class Survey:
  """What a pass over all rows found.

  Attributes:
    counts: of each split, `surveys.UNKNOWN_SPLIT` included.
    split: the split that is asked for.
    elsewhere: keys of prompts that stay in another split.
    examples: rows that `kind` makes of the split, before tokenizing.
  """

  counts: Mapping[str, surveys.SplitCounts]
  split: str
  elsewhere: seen.SeenKeys

  @property
  def rows_read(self) -> int:
    """Rows of all splits."""
    return sum(count.read for count in self.counts.values())


def survey(
  walk: outcomes.Walk, *, allow_malformed: bool, split: str | None
) -> Survey:
  """Reads every row once.

  Args:
    walk: how to read them.
    allow_malformed: whether more than 1% of the rows may be malformed.
    split: the split that is asked for; None: "train", or all rows where there
      are no splits.

  Raises:
    UserError: a file is damaged, too many rows are malformed, or the split has
      no usable row.
  """
  counts: dict[str, surveys.SplitCounts] = {}
  elsewhere = seen.SeenKeys()
  example = ""
  asked = splits.ALL if walk.splitter.by == "none" else split or splits.TRAIN
  for outcome in _with_progress(walk):
    outcome.count(counts.setdefault(outcome.split, surveys.SplitCounts()))
    skipped = outcome.skipped()
    if not example and skipped and skipped.outcome == "malformed":
      example = f"{skipped.file}:{skipped.line} ({skipped.reason})"
    leaks = walk.splitter.may_leak and outcome.reading is not None
    if leaks and splits.stays_before(asked, outcome.split):
      elsewhere.add(outcome.reading.prompt_key)  # type: ignore[union-attr]
  surveys.check_malformed(counts, allowed=allow_malformed, example=example)
  _check_split(walk, counts, asked, split)
  return Survey(counts, asked, elsewhere)


def _with_progress(walk: outcomes.Walk):  # type: ignore[no-untyped-def]
  size = sum(file.size_bytes for file in walk.source.files)
  with progress.bar("reading", size, "B") as bar:
    yield from walk.outcomes(bar.update)


def _check_split(
  walk: outcomes.Walk,
  counts: Mapping[str, surveys.SplitCounts],
  asked: str,
  split: str | None,
) -> None:
  names = sorted(name for name, count in counts.items() if count.kept)
  is_hub = any(file.format == "hub" for file in walk.source.files)
  if not names:
    reasons = ", ".join(
      f"{reason} {n:,}"
      for count in counts.values()
      for reason, n in (count.dropped | count.malformed).items()
    )
    raise errors.UserError(
      f"no row is of use ({reasons}); rlhf-gap data own --look shows what the"
      " columns are taken for"
    )
  if walk.splitter.by == "none" and split not in (None, splits.ALL):
    if not is_hub:
      raise errors.UserError(
        f"--split={split}: the files name no splits; give --split_by"
      )
  elif asked not in names:
    raise errors.UserError(
      f"there is no split {asked} here, only {', '.join(names)}; choose with"
      " --split"
    )
