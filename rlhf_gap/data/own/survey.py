"""The first pass: counts every row, and refuses before anything is written."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping

from rlhf_gap import errors, progress
from rlhf_gap.data import surveys
from rlhf_gap.data.own import outcomes, seen, splits


@dataclasses.dataclass(frozen=True)
class Survey:
  """What a pass over all rows found.

  Attributes:
    counts: of each split, `surveys.UNKNOWN_SPLIT` included.
    prompts: of each split that holds prompts out, their keys; none where no
      prompt can stand in two splits.
  """

  counts: Mapping[str, surveys.SplitCounts]
  prompts: Mapping[str, seen.SeenKeys]

  @property
  def rows_read(self) -> int:
    """Rows of all splits."""
    return sum(count.read for count in self.counts.values())

  @property
  def splits(self) -> tuple[str, ...]:
    """The splits with a usable row, sorted."""
    return tuple(sorted(s for s, count in self.counts.items() if count.kept))

  def stays_elsewhere(self, split: str, prompt_key: int) -> bool:
    """Whether another split than `split` keeps a prompt.

    Args:
      split: where a row stands.
      prompt_key: of its prompt.
    """
    return any(
      splits.stays_before(split, other) and prompt_key in keys
      for other, keys in self.prompts.items()
    )


def survey(walk: outcomes.Walk, *, allow_malformed: bool) -> Survey:
  """Reads every row once.

  Args:
    walk: how to read them.
    allow_malformed: whether more than 1% of the rows may be malformed.

  Raises:
    UserError: a file is damaged, too many rows are malformed, or none is of
      use.
  """
  counts: dict[str, surveys.SplitCounts] = {}
  prompts: dict[str, seen.SeenKeys] = {}
  example = ""
  for outcome in _with_progress(walk):
    outcome.count(counts.setdefault(outcome.split, surveys.SplitCounts()))
    skipped = outcome.skipped()
    if not example and skipped and skipped.outcome == "malformed":
      example = f"{skipped.file}:{skipped.line} ({skipped.reason})"
    held_out = walk.splitter.may_leak and outcome.split != splits.TRAIN
    if held_out and outcome.reading is not None:
      keys = prompts.setdefault(outcome.split, seen.SeenKeys())
      keys.add(outcome.reading.prompt_key)
  surveys.check_malformed(counts, allowed=allow_malformed, example=example)
  if not any(count.kept for count in counts.values()):
    raise errors.UserError(_none_of_use(counts))
  return Survey(counts, prompts)


def choose_split(walk: outcomes.Walk, surveyed: Survey) -> str:
  """Returns the requested split.

  Args:
    walk: names the split; None means "train", or all rows without splits.
    surveyed: the survey, with the splits that exist.

  Raises:
    UserError: there is no such split.
  """
  if walk.splitter.by == "none":
    is_hub = any(file.format == "hub" for file in walk.source.files)
    if walk.split not in (None, splits.ALL) and not is_hub:
      raise errors.UserError(
        f"--split={walk.split}: the files name no splits; give --split_by"
      )
    return splits.ALL
  split = walk.split or splits.TRAIN
  if split not in surveyed.splits:
    raise errors.UserError(
      f"there is no split {split} here, only {', '.join(surveyed.splits)};"
      " choose with --split"
    )
  return split


def _with_progress(walk: outcomes.Walk) -> Iterator[outcomes.Outcome]:
  size = sum(file.size_bytes for file in walk.source.files)
  with progress.bar("reading", size, "B") as bar:
    yield from walk.outcomes(bar.update)


def _none_of_use(counts: Mapping[str, surveys.SplitCounts]) -> str:
  reasons: collections.Counter[str] = collections.Counter()
  for count in counts.values():
    reasons.update(count.dropped)
    reasons.update(count.malformed)
  told = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
  return (
    f"no usable rows ({told}); map the columns with --columns, or give the form"
    " of the rows with --form"
  )
