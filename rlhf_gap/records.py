"""What was measured, on what and with which seeds: one JSON object a line.

A record holds all that is needed to repeat a measurement and all that a figure
is drawn from. What may differ between two runs of the same study on the same
machine (time, place) is apart, in `environment`: everything else is equal.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rlhf_gap import errors, files

SCHEMA_VERSION = 1

Value = str | int | float | bool | None
"""What a hyper-parameter may be."""


@dataclasses.dataclass(frozen=True)
class Measurement:
  """A figure and how sure it is.

  Attributes:
    value: the estimate.
    sem: its standard error.
    ci95_low: lower end of its 95% interval.
    ci95_high: upper end.
    n: how many independent observations it rests on.

  Raises:
    ValueError: a number is not finite, or they contradict each other.
  """

  value: float
  sem: float
  ci95_low: float
  ci95_high: float
  n: int

  def __post_init__(self) -> None:
    numbers = (self.value, self.sem, self.ci95_low, self.ci95_high)
    if not all(map(math.isfinite, numbers)):
      raise ValueError(f"not every number is finite: {self}")
    if self.sem < 0 or self.ci95_low > self.ci95_high or self.n < 1:
      raise ValueError(f"no measurement can be {self}")


@dataclasses.dataclass(frozen=True)
class TrainingRun:
  """The training run that a checkpoint belongs to.

  Attributes:
    name: distinct for every run of a study.
    arm: what the study compares it as, such as "online" or "offline".
    method: the loss, such as "ipo"; "" where none was used.
    hyperparameters: by name; what distinguishes runs of one arm.
    seed: of the run's own random bits.
  """

  name: str
  arm: str = ""
  method: str = ""
  hyperparameters: Mapping[str, Value] = dataclasses.field(default_factory=dict)
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class EvaluatedCheckpoint:
  """Parameters: which, whatever folder they lie in.

  Attributes:
    fingerprint: SHA-256 of names and bits (`checkpoints.fingerprint`).
    step: the training step they were saved at.
  """

  fingerprint: str
  step: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What a checkpoint was measured against, and how.

  Attributes:
    golden: fingerprint of the golden preference model.
    proxy: of the proxy; None where there was none.
    reference: of the reference policy.
    golden_policy: of the policy whose samples are the opponents.
    prompts: SHA-256 of the prompts that were chosen, in their order.
    pairs: of the labelled pairs that were chosen; None where there were none.
    settings: numbers of prompts and pairs, lengths, seed and the like.
  """

  golden: str
  proxy: str | None
  reference: str
  golden_policy: str
  prompts: str
  pairs: str | None
  settings: Mapping[str, Value]


@dataclasses.dataclass(frozen=True)
class Code:
  """The program that measured.

  Attributes:
    git_commit: of this repository, "-dirty" where files differed from it; ""
      outside of one.
    python: its version.
    packages: version by package.
  """

  git_commit: str
  python: str
  packages: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Environment:
  """What may differ when the same measurement is made again.

  Attributes:
    device: kind of the accelerator, and how many.
    wall_seconds: what the measurement took, compilation and sampling included.
    paths: where the checkpoints and stores lay, by role.
  """

  device: str
  wall_seconds: float
  paths: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Example:
  """A prompt and what the policy answered, as text."""

  prompt: str
  response: str


@dataclasses.dataclass(frozen=True)
class RunRecord:
  """One checkpoint, measured.

  Attributes:
    run: the run that the checkpoint belongs to.
    checkpoint: what was measured.
    evaluation: what it was measured against, and how.
    code: the program that did.
    metrics: the figures, by name; units are in the names.
    by_prompt: the values behind some of the figures, one a prompt in the
      evaluation's order, for bootstraps over prompts: equal places are equal
      prompts in all records of equal `evaluation`.
    examples: the first few prompts with the policy's responses.
    environment: what may differ when the same is measured again.
  """

  run: TrainingRun
  checkpoint: EvaluatedCheckpoint
  evaluation: Evaluation
  code: Code
  metrics: Mapping[str, Measurement]
  by_prompt: Mapping[str, tuple[float, ...]]
  examples: tuple[Example, ...]
  environment: Environment

  def identity(self) -> str:
    """Returns the record without `environment`, as JSON.

    Equal for two measurements of the same on the same machine.
    """
    fields = _fields(self)
    del fields["environment"]
    return _json(fields)

  @property
  def key(self) -> tuple[str, str, int]:
    """(arm, run, step): at most one record of a file has it."""
    return (self.run.arm, self.run.name, self.checkpoint.step)


def dumps(record: RunRecord) -> str:
  """Returns a record as one line of JSON, a function of the record alone."""
  return _json(_fields(record))


def _fields(record: RunRecord) -> dict[str, Any]:
  return {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(record)


def _json(fields: Mapping[str, Any]) -> str:
  return json.dumps(fields, sort_keys=True, ensure_ascii=False, allow_nan=False)


class _Version(msgspec.Struct):
  schema_version: int


def loads(line: str | bytes, place: str) -> RunRecord:
  """Returns the record in a line of JSON.

  Args:
    line: as `dumps` writes it.
    place: file and line, for messages.

  Raises:
    UserError: the line is damaged, or of another version.
  """
  content = line.encode() if isinstance(line, str) else line
  try:
    version = files.decode_json(content, _Version, place).schema_version
  except errors.UserError as error:
    raise errors.UserError(
      f"{place}: no record, or one cut short ({_reason(error, place)}); remove"
      " the line and evaluate again"
    ) from error
  if version != SCHEMA_VERSION:
    raise errors.UserError(
      f"{place}: a record of version {version}; this rlhf-gap reads version"
      f" {SCHEMA_VERSION}: evaluate again, or install a version that knows it"
    )
  try:
    return files.decode_dataclass(
      content, RunRecord, place, beside=("schema_version",)
    )
  except errors.UserError as error:
    raise errors.UserError(
      f"{place}: does not describe a measurement ({_reason(error, place)});"
      " remove the line and evaluate again"
    ) from error


def _reason(error: Exception, place: str) -> str:
  return str(error).removeprefix(f"{errors.printable(place)}: ")


def read(path: str | os.PathLike[str]) -> list[RunRecord]:
  """Returns all records of a file.

  Args:
    path: a file of JSON lines; one that does not exist holds no records.

  Raises:
    UserError: a line is damaged or of another version; it is named.
  """
  path = os.fspath(path)
  if not os.path.lexists(path):
    return []
  files.check_regular(path)
  with open(path, "rb") as file:
    return [
      loads(line, f"{path}:{number}") for number, line in enumerate(file, 1)
    ]


def put(path: str | os.PathLike[str], record: RunRecord) -> None:
  """Adds a record to a file, in the place of one with the same `key`.

  The file is replaced as a whole, so a kill leaves it as it was or as it will
  be. Records stay sorted by key: the order of measuring does not show.

  Args:
    path: a file of JSON lines; its folder must exist. One process writes it.
    record: what to add.

  Raises:
    UserError: the file holds a line that is no record.
  """
  others = [one for one in read(path) if one.key != record.key]
  write(path, [*others, record])


def write(path: str | os.PathLike[str], records: Iterable[RunRecord]) -> None:
  """Replaces a file of records, sorted by key.

  Args:
    path: a file of JSON lines; its folder must exist.
    records: all that it shall hold.
  """
  partial = f"{os.fspath(path)}.partial"
  with open(partial, "w", encoding="utf-8") as file:
    for record in sorted(records, key=lambda one: one.key):
      file.write(dumps(record) + "\n")
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)
