"""What `--look` prints: the form, the columns, counts and two rendered rows."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf_gap import errors
from rlhf_gap.data import surveys
from rlhf_gap.data.own import columns, examples, outcomes, survey
from rlhf_gap.data.own import request as requests

_ROWS_SHOWN = 2
_CHARACTERS_SHOWN = 600


@dataclasses.dataclass(frozen=True)
class Look:
  """What a source was found to hold.

  Attributes:
    form: the form's name.
    title: the form in words.
    kind: what it would become.
    columns: use to column.
    unused: columns that are not read.
    split: the split that would be read.
    split_by: how rows are split.
    files: names of the files.
    left_aside: files that are not read.
    counts: of each split.
    rows: the first kept rows of the split, rendered.
  """

  form: str
  title: str
  kind: str
  columns: Mapping[str, str]
  unused: Sequence[str]
  split: str
  split_by: str
  files: Sequence[str]
  left_aside: Sequence[str]
  counts: Mapping[str, Mapping[str, Any]]
  rows: Sequence[Mapping[str, Any]]


def look(request: requests.Request) -> Look:
  """Reads a source and writes nothing.

  Args:
    request: how to read it.

  Raises:
    UserError: see `requests.plan` and `survey.survey`.
  """
  by_default = request.kind is None and not request.pair_unpaired
  plan = requests.plan(request, look=by_default)
  surveyed = survey.survey(plan.walk, allow_malformed=True)
  split = survey.choose_split(plan.walk, surveyed)
  used = plan.used()
  return Look(
    form=plan.form.name,
    title=plan.form.title,
    kind=plan.walk.kind,
    columns=used,
    unused=[name for name in plan.present if name not in used.values()],
    split=split,
    split_by=plan.walk.splitter.describe(),
    files=[file.name for file in plan.walk.source.files],
    left_aside=plan.walk.source.left_aside,
    counts={s: dataclasses.asdict(c) for s, c in surveyed.counts.items()},
    rows=list(itertools.islice(_rendered(plan.walk, split), _ROWS_SHOWN)),
  )


def _rendered(walk: outcomes.Walk, split: str) -> Iterator[dict[str, Any]]:
  for outcome in walk.outcomes(lambda count: None):
    if outcome.reading is None or outcome.split != split:
      continue
    made = list(examples.of(outcome.reading, walk.kind, walk.responses))
    if made:
      yield _example(outcome, made)


def _example(
  outcome: outcomes.Outcome, made: Sequence[examples.Example]
) -> dict[str, Any]:
  first = made[0]
  names = {0: (), 1: ("response",), 2: ("chosen", "rejected")}
  responses = zip(names[len(first.responses)], first.responses, strict=True)
  return {
    "file": outcome.file,
    "line": outcome.line,
    "examples": len(made),
    "weight": first.weight,
    "prompt": first.prompt,
    **dict(responses),
  }


def text(found: Look) -> str:
  """Formats a look for a terminal.

  Args:
    found: what was found.
  """
  lines = [
    f"{len(found.files)} files: {_some(found.files)}",
    *([f"left aside: {_some(found.left_aside)}"] if found.left_aside else []),
    f"form {found.form}: {found.title}; makes {found.kind}",
    "",
    *(
      f"  {role:<12} <- {name:<16} {columns.ROLES[role]}"
      for role, name in found.columns.items()
    ),
    f"  not read: {', '.join(found.unused) or 'none'}",
    "",
    *_counts(found),
  ]
  for row in found.rows:
    lines += ["", *_row(row)]
  return "\n".join(map(errors.printable, lines))


def _some(names: Sequence[str]) -> str:
  shown = ", ".join(names[:3])
  return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _counts(found: Look) -> Iterator[str]:
  yield f"splits by {found.split_by}; reads {found.split}"
  for split, fields in sorted(found.counts.items()):
    counts = surveys.SplitCounts(**fields)
    yield f"  {split}: {counts.read:,} rows, {counts.kept:,} usable"
    reasons = collections.Counter(counts.malformed | counts.dropped)
    for reason, count in reasons.most_common():
      kind = "malformed" if reason in counts.malformed else "dropped"
      yield f"    {kind}, {reason}: {count:,}"
    for note, count in counts.notes.items():
      yield f"    usable, {note}: {count:,}"


def _row(row: Mapping[str, Any]) -> Iterator[str]:
  several = f", {row['examples']} examples" if row["examples"] > 1 else ""
  yield f"{row['file']}:{row['line']}{several}"
  for name in ("prompt", "chosen", "rejected", "response"):
    if name in row:
      value = row[name]
      more = len(value) - _CHARACTERS_SHOWN
      shown = repr(value[:_CHARACTERS_SHOWN])
      yield f"  {name}: {shown}" + (f" and {more:,} more" if more > 0 else "")
