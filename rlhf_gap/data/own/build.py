"""The second pass: tokenizes rows and writes a pair store."""

import dataclasses
import json
import time

from rlhf_gap import errors, progress, stores
from rlhf_gap.data import reports, rows_to_columns, surveys
from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import (
  examples,
  outcomes,
  seen,
  side_file,
  survey,
  tokenizing,
)
from rlhf_gap.data.own import request as requests

# A kill loses the chunks since the last commit; each commit waits for the disk.
_CHUNKS_PER_COMMIT = 8


def build(request: requests.Request, store: requests.Store) -> reports.Report:
  """Builds a store, or resumes one that the same request started.

  Rows that are of no use are listed in `<output>.skipped_rows.jsonl`.

  Args:
    request: how to read the files.
    store: what to write.

  Returns:
    Counts of rows read, kept, dropped and truncated, and the time taken.

  Raises:
    UserError: see `requests.plan`, `survey.survey` and `stores.create`.
  """
  started = time.monotonic()
  plan = requests.plan(request)
  tokenizer = tokenizing.Tokenizer(
    store.vocabulary, plan.walk.kind, store.windows, store.keep
  )
  surveyed = survey.survey(plan.walk, allow_malformed=request.allow_malformed)
  split = survey.choose_split(plan.walk, surveyed)
  writer = stores.create(store.output, _manifest(request, store, plan, split))
  second = _SecondPass(plan, surveyed, split, store, tokenizer, writer)
  second.run()
  report = second.report(time.monotonic() - started)
  writer.finish(dropped=report.dropped)
  return report


class _SecondPass:
  """Reads the rows again and appends those of one split."""

  def __init__(
    self,
    plan: requests.Plan,
    surveyed: survey.Survey,
    split: str,
    store: requests.Store,
    tokenizer: tokenizing.Tokenizer,
    writer: stores.Writer,
  ):
    self._walk, self._store = plan.walk, store
    self._surveyed, self._split = surveyed, split
    self._tokenizer, self._writer = tokenizer, writer
    self._unknown_id = stores.unknown_id(store.vocabulary)
    schema = rows_to_columns.SCHEMAS[plan.walk.kind]
    self._tally = reports.Tally(schema, self._unknown_id)
    self._counts: dict[str, surveys.SplitCounts] = {}
    self._prompts = seen.SeenKeys()
    names = [file.name for file in plan.walk.source.files]
    self._files = {name: index for index, name in enumerate(names)}
    self._rows: list[tokenizing.TokenizedRow] = []
    self._origins: list[tuple[int, int]] = []
    self._chunk = 0

  def run(self) -> None:
    """Writes all rows and the side file."""
    total = self._surveyed.rows_read
    with (
      side_file.writer(self._store.output) as skip,
      progress.bar("writing", total, "rows") as bar,
    ):
      for outcome in self._walk.outcomes(lambda count: None):
        outcome = self._used(outcome)
        counts = self._counts.setdefault(outcome.split, surveys.SplitCounts())
        outcome.count(counts)
        skipped = outcome.skipped()
        if skipped is not None:
          skip(skipped)
        bar.update(outcome.num_rows)
      if self._rows:
        self._append()
      self._check_unchanged()

  def _used(self, outcome: outcomes.Outcome) -> outcomes.Outcome:
    """Adds a row's examples to the chunk; returns what became of the row."""
    reading = outcome.reading
    if reading is None or outcome.split != self._split:
      return outcome
    try:
      key = reading.prompt_key
      if self._surveyed.stays_elsewhere(self._split, key):
        raise rows.DroppedError("prompt_in_another_split")
      made = self._tokenized(outcome)
    except rows.DroppedError as error:
      return dataclasses.replace(outcome, reading=None, error=error)
    is_new = self._prompts.add(key)
    if is_new or self._walk.kind != "prompts":
      self._add(outcome, made)
    return outcome

  def _tokenized(
    self, outcome: outcomes.Outcome
  ) -> list[tokenizing.TokenizedRow]:
    assert outcome.reading is not None
    made = []
    for example in examples.of(
      outcome.reading, self._walk.kind, self._walk.responses
    ):
      row = self._tokenizer.row(example)
      if row is None:
        raise rows.DroppedError("empty_after_tokenizing")
      made.append(row)
    return made

  def _add(
    self, outcome: outcomes.Outcome, made: list[tokenizing.TokenizedRow]
  ) -> None:
    origin = (self._files[outcome.file], outcome.line)
    for row in made:
      self._rows.append(row)
      self._origins.append(origin)
      if len(self._rows) == self._writer.manifest.chunk_rows:
        self._append()

  def _append(self) -> None:
    arrays = tokenizing.batch(self._rows, self._store.windows)
    self._writer.append(
      self._chunk,
      tokenizing.columns(self._walk.kind, self._rows, arrays, self._origins),
    )
    self._tally.add({**arrays, "line": arrays["truncated"]})
    self._chunk += 1
    if self._chunk % _CHUNKS_PER_COMMIT == 0:
      self._writer.commit()
    self._rows, self._origins = [], []

  def _check_unchanged(self) -> None:
    read = sum(count.read for count in self._counts.values())
    if read != self._surveyed.rows_read:
      raise errors.UserError(
        f"the files had {self._surveyed.rows_read:,} rows at first and"
        f" {read:,} when they were read again; leave them unchanged and run"
        " the command again"
      )

  def report(self, seconds: float) -> reports.Report:
    """Returns the counts."""
    split = self._split
    if split in self._counts:
      self._counts[split].prompts = len(self._prompts)
    return reports.report(
      task=f"{self._store.name}_{self._walk.kind}",
      split=split,
      output=self._store.output,
      files=list(self._files),
      other_files=self._walk.source.left_aside,
      counts={self._store.name: self._counts},
      empty=0,
      tally=self._tally,
      seconds=seconds,
    )


def _manifest(
  request: requests.Request,
  store: requests.Store,
  plan: requests.Plan,
  split: str,
) -> stores.Manifest:
  kind = plan.walk.kind
  schema = rows_to_columns.SCHEMAS[kind]
  how = {
    "form": plan.form.name,
    "columns": plan.used(),
    "template": dataclasses.asdict(plan.walk.interpreter.template),
    "prompt_ends_with": request.prompt_ends_with,
    "pairing": request.pairing,
    "responses": request.responses,
    "pair_unpaired": request.pair_unpaired,
    "keep": store.keep,
  }
  return stores.Manifest(
    task=f"{store.name}_{kind}",
    schema=schema,
    columns=rows_to_columns.specs(kind),
    feature_lengths={
      "prompt": store.windows["inputs"],
      "response": store.windows["targets"],
    },
    vocabulary=store.vocabulary,
    label=stores.Label("human" if schema == "pairs" else "none"),
    source={
      "split": split,
      "split_by": plan.walk.splitter.describe(),
      "files": "\n".join(file.name for file in plan.walk.source.files),
      f"fingerprint_{store.name}": plan.walk.source.fingerprint(),
      "reading": json.dumps(how, sort_keys=True),
    },
  )
