"""The arguments of an import, and what follows from them and the files."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

from rlhf_gap import errors, stores
from rlhf_gap.data import catalog
from rlhf_gap.data.own import (
  columns,
  comparing,
  examples,
  forms,
  interpreting,
  outcomes,
  reading,
  sources,
  splits,
  templates,
)

SAMPLE_ROWS = 1000
"""Readable rows at the start of the source from which the form is told."""


@dataclasses.dataclass(frozen=True)
class Request:
  """How to read a user's own files.

  Attributes:
    source: see `sources.find`.
    names: what columns are for; see `columns.parse`.
    form: one of `forms.NAMES`; None tells it from the columns.
    kind: one of `catalog.KINDS`; None is the form's first.
    template: see `templates.find`.
    prompt_ends_with: the text with which implicit prompts end.
    split: the split to read; None is "train" where there are splits.
    split_by: see `splits.parse`.
    pairing: one of `comparing.PAIRINGS`.
    responses: one of `examples.RESPONSES`.
    pair_unpaired: whether to make pairs of single completions.
    allow_malformed: whether more than 1% of the rows may be malformed.
  """

  source: str
  names: columns.Columns = columns.Columns()
  form: str | None = None
  kind: str | None = None
  template: str = "markers"
  prompt_ends_with: str | None = None
  split: str | None = None
  split_by: str | None = None
  pairing: str = comparing.PAIRINGS[0]
  responses: str = examples.RESPONSES[0]
  pair_unpaired: bool = False
  allow_malformed: bool = False


@dataclasses.dataclass(frozen=True)
class Store:
  """The store to write.

  Attributes:
    output: its directory, local or a URL.
    vocabulary: the vocabulary to tokenize with.
    windows: tokens for "inputs" and "targets", EOS included.
    keep: which end of a long prompt stays, "start" or "end".
    name: the manifest's task is this and the kind.
  """

  output: str
  vocabulary: stores.Vocabulary
  windows: Mapping[str, int] = dataclasses.field(
    default_factory=lambda: dict(catalog.WINDOWS)
  )
  keep: str = "end"
  name: str = "own"


@dataclasses.dataclass(frozen=True)
class Plan:
  """A request resolved against the files.

  Attributes:
    walk: how their rows are read.
    present: columns of the sampled rows, in order of first appearance.
    sample: number of sampled rows.
  """

  walk: outcomes.Walk
  present: tuple[str, ...]
  sample: int

  @property
  def form(self) -> forms.Form:
    """The form of the rows."""
    return self.walk.interpreter.form

  def used(self) -> dict[str, str]:
    """Returns the column of each use that the form reads."""
    roles = self.walk.interpreter.names.roles(self.present)
    known = (*self.form.required, *self.form.optional)
    return {role: name for role, name in roles.items() if role in known}


def plan(request: Request, *, look: bool = False) -> Plan:
  """Finds the files and detects their form and splits.

  Args:
    request: the arguments.
    look: whether labelled completions may become SFT by default, because
      nothing is written.

  Raises:
    UserError: no files, no known form, or flags that do not fit the form.
  """
  source = sources.find(request.source)
  sampled = list(_sample(source, request.split))
  if request.form is not None:
    form = forms.named(request.form)
  else:
    form = forms.recognize(map(frozenset, sampled), request.names)
  present = tuple(dict.fromkeys(itertools.chain.from_iterable(sampled)))
  _check_columns(request.names, form, present)
  walk = outcomes.Walk(
    source=source,
    interpreter=interpreting.Interpreter(
      form=form,
      names=request.names,
      template=templates.find(request.template),
      prompt_ends_with=request.prompt_ends_with,
      pairing=request.pairing,
    ),
    splitter=splits.parse(request.split_by, source.files),
    kind=form.kinds[0] if look else _kind(request, form),
    responses=request.responses,
    pair_unpaired=request.pair_unpaired,
    split=request.split,
  )
  _check_flags(request, walk)
  return Plan(walk, present, len(sampled))


def kinds(request: Request) -> tuple[str, ...]:
  """Returns the kinds that a source's rows can become, of `catalog.KINDS`.

  Args:
    request: how to read the source; its `kind` does not count.

  Raises:
    UserError: see `plan`.
  """
  form = plan(dataclasses.replace(request, kind=None), look=True).form
  if form.name == "unpaired":
    pair = request.pair_unpaired
    return ("pairs", "preference") if pair else ("sft", "prompts")
  return tuple(kind for kind in catalog.KINDS if kind in form.kinds)


def _sample(
  source: sources.Source, split: str | None
) -> Iterator[tuple[str, ...]]:
  """Yields the columns of the first readable rows of all files in turn."""
  share = max(SAMPLE_ROWS // len(source.files), 1)
  for file in source.files:
    rows = reading.rows(file, None, split=split)
    sound = (tuple(row.fields) for row in rows if row.fields is not None)
    # A file of broken rows alone is read to its end here; the survey judges it.
    yield from itertools.islice(sound, share)


def _kind(request: Request, form: forms.Form) -> str:
  if request.pair_unpaired and form.name != "unpaired":
    raise errors.UserError(
      f"--pair_unpaired only applies to unpaired completions; these rows are"
      f" {form.name}: {form.title}"
    )
  if request.kind is None:
    if form.name == "unpaired" and not request.pair_unpaired:
      raise errors.UserError(
        "these are single labelled completions, not pairs; use --pair_unpaired"
        " to pair the good and bad completions of each prompt, or --kind=sft to"
        " keep only the good ones"
      )
    return "pairs" if form.name == "unpaired" else form.kinds[0]
  if request.kind not in form.kinds:
    raise errors.UserError(
      f"--kind={request.kind}: {form.title} can become"
      f" {' or '.join(form.kinds)}"
    )
  compares = request.kind in ("pairs", "preference")
  if form.name == "unpaired" and compares != request.pair_unpaired:
    wanted = "needs" if compares else "excludes"
    raise errors.UserError(
      f"--kind={request.kind} {wanted} --pair_unpaired for labelled completions"
    )
  return request.kind


def _check_columns(
  names: columns.Columns, form: forms.Form, present: tuple[str, ...]
) -> None:
  for role, name in names.given.items():
    if name not in present:
      raise errors.UserError(
        f"--columns={role}={name}: there is no column {name}, only"
        f" {', '.join(present)}"
      )
    if role not in (*form.required, *form.optional):
      raise errors.UserError(
        f"--columns={role}={name}: the form {form.name} ({form.title}) does not"
        f" read {role}"
      )
  missing = [r for r in form.required if names.of(r, present) is None]
  if missing:
    raise errors.UserError(
      f"--form={form.name} needs a column for {', '.join(missing)}; there are"
      f" {', '.join(present)}: say which with --columns"
    )


def _check_flags(request: Request, walk: outcomes.Walk) -> None:
  several = walk.interpreter.form.name in ("scored", "ranked")
  if request.pairing != comparing.PAIRINGS[0] and not several:
    raise errors.UserError(
      "--score_pairs has an effect only on several responses with scores or"
      " ranks"
    )
  if request.responses != examples.RESPONSES[0] and walk.kind != "sft":
    raise errors.UserError("--responses has an effect only with --kind=sft")
  implicit = walk.interpreter.form.name == "implicit"
  if request.prompt_ends_with is not None and not implicit:
    raise errors.UserError(
      "--prompt_ends_with has an effect only on implicit prompts"
    )
