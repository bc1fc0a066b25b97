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

from rlhf_gap import errors
from rlhf_gap.records import Measurement

SCHEMA_VERSION = 1
FILE_NAME = "study.json"

Status = Literal["done", "failed", "missing", "running"]


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
    observed: how often y1 was the better one; its n is the bin's size.
  """

  predicted: float
  observed: Measurement


@dataclasses.dataclass(frozen=True)
class Judge:
  """A preference model, checked on held-out pairs.

  Attributes:
    name: "golden" or "proxy".
    accuracy: by what its verdicts were compared with: "rater" (the labels it
      was to learn from people), "golden" (the golden model's labels) and
      "utility" (the miniature's hidden utility); ties count 1/2.
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
    run: the run's name; its `arm` groups runs: "online", "proxy", ...
    arm: see there.
    metric: as in the run's `metrics.jsonl`, such as "train/loss".
    steps: updates made, rising.
    values: of the metric, one a step.
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
    name: such as "mini_helpfulness".
    records: the file of its records, relative to the work folder.
    judges: its preference models.
    samples: of policies without records.
    curves: of training.
    arms: that the study was to run, finished or not.
    online_data: the file of records of who can tell the better response of an
      online run's own pairs, relative to the work folder; "" for none.
    sizes: parameters of the policy, by size; "" is the study's own.
  """

  name: str
  records: str = "records.jsonl"
  judges: tuple[Judge, ...] = ()
  samples: tuple[Sample, ...] = ()
  curves: tuple[LoggedCurve, ...] = ()
  arms: tuple[str, ...] = ()
  online_data: str = ""
  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Summary:
  """All of `study.json`.

  Attributes:
    name: the study's.
    stages: in the order in which they run.
    tasks: one in a study of one data set.
  """

  name: str
  stages: tuple[StageSummary, ...] = ()
  tasks: tuple[TaskSummary, ...] = ()


def write(folder: str | os.PathLike[str], summary: Summary) -> None:
  """Writes `study.json`, whole or not at all.

  Args:
    folder: the study's work folder; it must exist.
    summary: what to write.
  """
  path = os.path.join(os.fspath(folder), FILE_NAME)
  fields = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(summary)
  with open(f"{path}.partial", "w", encoding="utf-8") as file:
    json.dump(fields, file, ensure_ascii=False, indent=1, allow_nan=False)
    file.write("\n")
    file.flush()
    os.fsync(file.fileno())
  os.replace(f"{path}.partial", path)


def read(folder: str | os.PathLike[str]) -> Summary | None:
  """Reads `study.json`.

  Args:
    folder: the study's work folder.

  Returns:
    The summary; None where there is no such file.

  Raises:
    UserError: the file is no summary, or one of another version.
  """
  path = os.path.join(os.fspath(folder), FILE_NAME)
  try:
    with open(path, encoding="utf-8") as file:
      fields = json.load(file)
    version = fields.pop("schema_version")
  except FileNotFoundError:
    return None
  except (ValueError, AttributeError, TypeError, KeyError) as error:
    raise errors.UserError(
      f"{path}: does not describe a study ({_first_line(error)}); rerun the"
      " study command to rewrite it"
    ) from error
  if version != SCHEMA_VERSION:
    raise errors.UserError(
      f"{path}: version {version}; this rlhf-gap reads version"
      f" {SCHEMA_VERSION}: rerun the study command"
    )
  try:
    return _summary(fields)
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise errors.UserError(
      f"{path}: does not describe a study ({_first_line(error)}); rerun the"
      " study command to rewrite it"
    ) from error


def thinned(
  lines: Iterable[Mapping[str, Any]], metric: str, *, most: int = 200
) -> tuple[tuple[int, ...], tuple[float, ...]]:
  """Returns steps and values of a metric, averaged to `most` points or fewer.

  [{"step": 1, "train/loss": 3.0}, {"step": 2, "train/loss": 1.0}] with most=1
  gives (2,), (2.0,): the last step of a stretch, and the mean over it.

  Args:
    lines: of a run's `metrics.jsonl`, by step; those without the metric, or
      with one that is not finite, are left out.
    metric: such as "train/loss".
    most: how many points to keep, at least 1.

  Returns:
    Steps and values for `LoggedCurve`.
  """
  points = [
    (int(line["step"]), float(line[metric]))
    for line in lines
    if metric in line and math.isfinite(line[metric])
  ]
  stretch = max(-(-len(points) // most), 1)
  stretches = [points[i : i + stretch] for i in range(0, len(points), stretch)]
  return (
    tuple(each[-1][0] for each in stretches),
    tuple(math.fsum(v for _, v in each) / len(each) for each in stretches),
  )


def _first_line(error: Exception) -> str:
  return str(error).split("\n")[0]


def _summary(fields: Mapping[str, Any]) -> Summary:
  return Summary(
    name=str(fields["name"]),
    stages=tuple(StageSummary(**stage) for stage in fields["stages"]),
    tasks=tuple(map(_task, fields["tasks"])),
  )


def _task(fields: Mapping[str, Any]) -> TaskSummary:
  curves = (
    {**c, "steps": tuple(c["steps"]), "values": tuple(c["values"])}
    for c in fields["curves"]
  )
  return TaskSummary(
    **{
      **fields,
      "judges": tuple(map(_judge, fields["judges"])),
      "samples": tuple(Sample(**sample) for sample in fields["samples"]),
      "curves": tuple(LoggedCurve(**curve) for curve in curves),
      "arms": tuple(fields.get("arms", ())),
    }
  )


def _judge(fields: Mapping[str, Any]) -> Judge:
  bias = fields["position_bias"]
  accuracy = fields["accuracy"].items()
  return Judge(
    **{
      **fields,
      "accuracy": {key: Measurement(**value) for key, value in accuracy},
      "position_bias": None if bias is None else Measurement(**bias),
      "calibration": tuple(
        CalibrationBin(one["predicted"], Measurement(**one["observed"]))
        for one in fields["calibration"]
      ),
    }
  )
