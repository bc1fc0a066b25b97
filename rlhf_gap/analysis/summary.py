"""`study.json`: everything about a study that is not in its records.

The pipeline writes it and the report reads it:

  {"schema_version": 1, "name": "laptop",
   "stages": [{"name": "sft", "command": "rlhf-gap train ...",
               "status": "done", "seconds": 41.5, "reason": ""}],
   "tasks": [{"name": "mini_helpfulness", "records": "records.jsonl",
              "judges": [...], "samples": [...], "curves": [...]}]}
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from rlhf_gap import errors, files
from rlhf_gap.records import Measurement

SCHEMA_VERSION = 1
FILE_NAME = "study.json"
CLAIMS_FILE_NAME = "claims.sha256"
"""Fingerprint of the claims under which a study was begun."""

Status = Literal["done", "failed", "missing", "running"]


@dataclasses.dataclass(frozen=True)
class Decision:
  """A claim that a planned look has decided; later looks do not change it.

  Attributes:
    task: the task's name.
    claim: the claim's name.
    judge: "golden", "proxy" or "utility".
    verdict: "supported" or "contradicted".
    numbers: the estimates with the intervals of that look.
    num_seeds: seeds at that look.
  """

  task: str
  claim: str
  judge: str
  verdict: str
  numbers: str
  num_seeds: int


@dataclasses.dataclass(frozen=True)
class StageSummary:
  """One command of a study, and its outcome.

  Attributes:
    name: unique within the study.
    command: the command as typed in a shell.
    status: "missing" if it has not begun, or is stale.
    seconds: wall time including restarts; None if unknown.
    reason: why it failed or is missing, in one line; "" otherwise.
  """

  name: str
  command: str
  status: Status
  seconds: float | None = None
  reason: str = ""

  def __post_init__(self) -> None:
    if self.status not in get_args(Status):
      raise ValueError(f"stage {self.name} has the status {self.status!r}")


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
  """Pairs to which a judge assigned similar probabilities.

  Attributes:
    predicted: the mean of the judge's r(y1, y2) over the bin, in [0, 1].
    observed: how often y1 was better; its n is the bin's size.
  """

  predicted: float
  observed: Measurement


@dataclasses.dataclass(frozen=True)
class Judge:
  """A preference model, checked on held-out pairs.

  Attributes:
    name: "golden" or "proxy".
    accuracy: agreement by source of the labels: "rater" (a miniature's rater),
      "human" (published labels), "golden" (the golden model's labels) and
      "utility" (the miniature's hidden utility). Ties count 1/2.
    position_bias: probability that a response gains by being read first.
    calibration: its bins, in the order of `predicted`.
    calibrated_against: the key of `accuracy` that `observed` uses.
  """

  name: str
  accuracy: Mapping[str, Measurement]
  position_bias: Measurement | None = None
  calibration: tuple[CalibrationBin, ...] = ()
  calibrated_against: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
  """A prompt and the responses of several policies, by policy.

  Only for policies without records, since records hold samples.
  """

  prompt: str
  responses: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class LoggedCurve:
  """A metric of training over steps.

  Attributes:
    run: the run's name.
    arm: the group that the run belongs to, such as "online" or "proxy".
    metric: the metric's name in `metrics.jsonl`, such as "train/loss".
    steps: training steps, in ascending order.
    values: the metric's value at each step.
  """

  run: str
  arm: str
  metric: str
  steps: tuple[int, ...]
  values: tuple[float, ...]

  def __post_init__(self) -> None:
    if len(self.steps) != len(self.values):
      raise ValueError(
        f"curve {self.metric} of {self.run} has {len(self.steps)} steps and"
        f" {len(self.values)} values"
      )


@dataclasses.dataclass(frozen=True)
class TaskSummary:
  """One data set with all its arms.

  Attributes:
    name: the task, such as "mini_helpfulness".
    records: the file of its records, relative to the work folder.
    judges: its preference models.
    samples: samples of policies without records.
    curves: training curves.
    arms: names of the planned arms, finished or not.
    online_data: the file of records of how well classifiers do on the online
      runs' own pairs, relative to the work folder; "" for none.
    sizes: number of parameters of the policy, by size; "" is the study's own.
    own_golden: where the golden model of one's own pairs comes from: "trained"
      on these pairs, or "given"; "" for built-in tasks.
  """

  name: str
  records: str = "records.jsonl"
  judges: tuple[Judge, ...] = ()
  samples: tuple[Sample, ...] = ()
  curves: tuple[LoggedCurve, ...] = ()
  arms: tuple[str, ...] = ()
  online_data: str = ""
  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  own_golden: Literal["", "trained", "given"] = ""


@dataclasses.dataclass(frozen=True)
class Summary:
  """All of `study.json`.

  Attributes:
    name: the study's name.
    stages: its stages, in the order in which they run.
    tasks: its tasks, one per data set.
    num_seeds: number of seeds; 0 if unknown.
    earlier_looks: smaller numbers of seeds at which it was reported before.
    confidence: confidence of its intervals; more than 0.95 if further looks are
      planned (see `looks`).
    decisions: claims that planned looks have decided.
    claims_sha256: fingerprint of the claims under which the study was begun; ""
      if unknown.
  """

  name: str
  stages: tuple[StageSummary, ...] = ()
  tasks: tuple[TaskSummary, ...] = ()
  num_seeds: int = 0
  earlier_looks: tuple[int, ...] = ()
  confidence: float = 0.95
  decisions: tuple[Decision, ...] = ()
  claims_sha256: str = ""


def write(folder: str | os.PathLike[str], summary: Summary) -> None:
  """Writes `study.json` atomically.

  Args:
    folder: the study's work folder; it must exist.
    summary: what to write.
  """
  fields = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(summary)
  text = json.dumps(fields, ensure_ascii=False, indent=1, allow_nan=False)
  files.write_text(os.path.join(os.fspath(folder), FILE_NAME), f"{text}\n")


def read(folder: str | os.PathLike[str]) -> Summary | None:
  """Reads `study.json`.

  Args:
    folder: the study's work folder.

  Returns:
    The summary; None if there is no such file.

  Raises:
    UserError: the file does not describe a study, or has another version.
  """
  path = os.path.join(os.fspath(folder), FILE_NAME)
  if not os.path.lexists(path):
    return None
  try:
    return files.decode_versioned(
      files.read_bytes(path), Summary, path, version=SCHEMA_VERSION
    )
  except errors.UserError as error:
    reason = str(error).removeprefix(f"{errors.printable(path)}: ")
    raise errors.UserError(
      f"{path}: does not describe a study ({reason}); rerun the study command"
      " to rewrite it"
    ) from error


def thinned(
  lines: Iterable[Mapping[str, Any]], metric: str, *, most: int = 200
) -> tuple[tuple[int, ...], tuple[float, ...]]:
  """Returns steps and values of a metric, averaged to `most` points or fewer.

  [{"step": 1, "train/loss": 3.0}, {"step": 2, "train/loss": 1.0}] with most=1
  gives (2,), (2.0,): the last step of an interval, and the mean over it.

  Args:
    lines: lines of a run's `metrics.jsonl`, by step. Lines without a finite
      value of the metric are ignored.
    metric: the metric's name, such as "train/loss".
    most: the largest number of points, at least 1.

  Returns:
    Steps and values for `LoggedCurve`.
  """
  points = [
    (int(line["step"]), float(line[metric]))
    for line in lines
    if metric in line and math.isfinite(line[metric])
  ]
  length = max(-(-len(points) // most), 1)
  intervals = [points[i : i + length] for i in range(0, len(points), length)]
  return (
    tuple(each[-1][0] for each in intervals),
    tuple(math.fsum(v for _, v in each) / len(each) for each in intervals),
  )
