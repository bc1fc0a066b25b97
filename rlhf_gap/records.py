"""Records of measurements, one JSON object per line.

A record holds everything needed to reproduce a measurement and to plot its
figures. Repeating a study on the same machine gives equal records, except for
`environment`, which holds times and places.
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
"""Type of a hyperparameter."""


@dataclasses.dataclass(frozen=True)
class Measurement:
  """An estimate with its uncertainty.

  Attributes:
    value: the estimate.
    sem: its standard error.
    ci95_low: lower end of its 95% interval.
    ci95_high: upper end of its 95% interval.
    n: number of independent observations.

  Raises:
    ValueError: a number is not finite, or the numbers contradict each other.
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
      raise ValueError(f"the numbers contradict each other: {self}")


@dataclasses.dataclass(frozen=True)
class TrainingRun:
  """The training run that a checkpoint belongs to.

  Attributes:
    name: unique within a study.
    arm: the group that the study compares, such as "online" or "offline".
    method: the loss, such as "ipo"; "" if none was used.
    hyperparameters: by name, those that distinguish the runs of an arm.
    seed: the run's random seed.
  """

  name: str
  arm: str = ""
  method: str = ""
  hyperparameters: Mapping[str, Value] = dataclasses.field(default_factory=dict)
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class EvaluatedCheckpoint:
  """The parameters that were measured, independent of their folder.

  Attributes:
    fingerprint: SHA-256 of names and bits (`checkpoints.fingerprint`).
    step: the training step of the checkpoint.
  """

  fingerprint: str
  step: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The models, data and settings of a measurement.

  Attributes:
    golden: fingerprint of the golden preference model.
    proxy: fingerprint of the proxy preference model; None if not used.
    reference: fingerprint of the reference policy.
    golden_policy: fingerprint of the policy whose samples are the opponents.
    prompts: SHA-256 of the selected prompts, in order.
    pairs: SHA-256 of the selected labelled pairs; None if not used.
    settings: numbers of prompts and pairs, lengths, seed and so on.
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
  """The versions of the program that measured.

  Attributes:
    git_commit: of this repository, with "-dirty" if files had changed; "" if
      not in a git checkout.
    python: Python's version.
    packages: version by package.
  """

  git_commit: str
  python: str
  packages: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Environment:
  """Circumstances that may differ when a measurement is repeated.

  Attributes:
    device: number and kind of accelerators.
    wall_seconds: duration, including compilation and sampling.
    paths: locations of checkpoints and stores, by role.
  """

  device: str
  wall_seconds: float
  paths: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Example:
  """A prompt and the policy's response, as text."""

  prompt: str
  response: str


@dataclasses.dataclass(frozen=True)
class RunRecord:
  """The measurements of one checkpoint.

  Attributes:
    run: the training run that the checkpoint belongs to.
    checkpoint: the parameters that were measured.
    evaluation: the models, data and settings of the measurement.
    code: the versions of the program.
    metrics: estimates by name, with the unit in the name.
    by_prompt: per-prompt values of some metrics, for bootstraps over prompts.
      Records with equal `evaluation` list the same prompts in the same order.
    examples: the first few prompts with the policy's responses.
    environment: circumstances that may differ when it is repeated.
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

    Repeating a measurement on the same machine gives the same identity.
    """
    fields = _fields(self)
    del fields["environment"]
    return _json(fields)

  @property
  def key(self) -> tuple[str, str, int]:
    """(arm, run, step), unique within a file."""
    return (self.run.arm, self.run.name, self.checkpoint.step)


def dumps(record: RunRecord) -> str:
  """Returns a record as one line of JSON; equal records give equal lines."""
  return _json(_fields(record))


def _fields(record: RunRecord) -> dict[str, Any]:
  return {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(record)


def _json(fields: Mapping[str, Any]) -> str:
  return json.dumps(fields, sort_keys=True, ensure_ascii=False, allow_nan=False)


class _Version(msgspec.Struct):
  schema_version: int


def loads(line: str | bytes, place: str) -> RunRecord:
  """Parses a line of JSON.

  Args:
    line: as `dumps` writes it.
    place: file and line number, for messages.

  Raises:
    UserError: the line is damaged, or has another schema version.
  """
  content = line.encode() if isinstance(line, str) else line
  try:
    version = files.decode_json(content, _Version, place).schema_version
  except errors.UserError as error:
    raise errors.UserError(
      f"{place}: not a record, or one cut short"
      f" ({files.without_place(error, place)}); remove the line and evaluate"
      " again"
    ) from error
  if version != SCHEMA_VERSION:
    raise errors.UserError(
      f"{place}: a record of version {version}; expected version"
      f" {SCHEMA_VERSION}: evaluate again, or install the rlhf-gap that wrote"
      " it"
    )
  try:
    return files.decode_dataclass(
      content, RunRecord, place, beside=("schema_version",)
    )
  except errors.UserError as error:
    raise errors.UserError(
      f"{place}: does not describe a measurement"
      f" ({files.without_place(error, place)}); remove the line and evaluate"
      " again"
    ) from error


def read(path: str | os.PathLike[str]) -> list[RunRecord]:
  """Returns all records of a file.

  Args:
    path: a file of JSON lines. A missing file has no records.

  Raises:
    UserError: a line is damaged or has another schema version.
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
  """Adds a record to a file, replacing any with the same `key`.

  The file is replaced as a whole, so a killed process leaves either the old or
  the new file. Records are sorted by key, independent of the order of
  measuring.

  Args:
    path: a file of JSON lines; its folder must exist. Only one process may
      write to it.
    record: the record to add.

  Raises:
    UserError: a line of the file is not a record.
  """
  others = [other for other in read(path) if other.key != record.key]
  write(path, [*others, record])


def write(path: str | os.PathLike[str], records: Iterable[RunRecord]) -> None:
  """Replaces a file of records, sorted by key.

  Args:
    path: a file of JSON lines; its folder must exist.
    records: the new content.
  """
  partial = f"{os.fspath(path)}.partial"
  with open(partial, "w", encoding="utf-8") as file:
    for record in sorted(records, key=lambda record: record.key):
      file.write(dumps(record) + "\n")
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)
