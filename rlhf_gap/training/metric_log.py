"""A run's metrics: a line of JSON a step, and TensorBoard events."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorboardX

from rlhf_gap import errors, files

_NAME = "metrics.jsonl"
# Lines that differ from run to run: left out where runs are compared.
_TIMES = ("seconds", "_per_second")


class MetricLog:
  """Appends to `metrics.jsonl` and to TensorBoard's events.

  A line's step is the number of updates made. A restart after s updates takes
  back the lines beyond s, so that the file is that of an undisturbed run, its
  times apart.
  """

  def __init__(self, folder: str, done_steps: int, *, tensorboard: bool = True):
    """Opens the log.

    Args:
      folder: where it lies.
      done_steps: updates made before.
      tensorboard: whether to write events too.
    """
    self._path = os.path.join(folder, _NAME)
    _truncate(self._path, done_steps)
    self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
    self._events = None
    if tensorboard:
      self._events = tensorboardX.SummaryWriter(
        folder, purge_step=done_steps + 1
      )

  def write(self, step: int, values: Mapping[str, float | None]) -> None:
    """Logs the values of a step, under names such as "train/loss".

    Args:
      step: updates made.
      values: by name; None where a value is undefined, as a mean over no rows
        is. It becomes JSON's null and no TensorBoard event.
    """
    self._file.write(json.dumps({"step": step, **values}) + "\n")
    if self._events is not None:
      for name, value in values.items():
        if value is not None:
          self._events.add_scalar(name, value, step)

  def flush(self) -> None:
    """Puts everything logged so far on disk; before a checkpoint."""
    self._file.flush()
    os.fsync(self._file.fileno())

  def close(self) -> None:
    """Flushes and closes."""
    self.flush()
    self._file.close()
    if self._events is not None:
      self._events.close()


class Silent:
  """Keeps nothing: process 0 of the run does."""

  def write(self, step: int, values: Mapping[str, float | None]) -> None:
    """Ignores the values."""

  def flush(self) -> None:
    """Has nothing to put on disk."""

  def close(self) -> None:
    """Has nothing to close."""


def read(folder: str) -> list[dict[str, Any]]:
  """Returns the logged lines of a run.

  Left out are a line that a kill cut short, and in each line the values that
  were undefined (null).
  """
  lines = _lines(os.path.join(folder, _NAME))
  return [
    {name: value for name, value in line.items() if value is not None}
    for line in lines
  ]


def without_times(line: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a line without what differs from run to run."""
  return {k: v for k, v in line.items() if not k.endswith(_TIMES)}


def _lines(path: str) -> Iterator[dict[str, Any]]:
  """Yields the log's objects, up to a last line that a kill cut short."""
  if not os.path.lexists(path):
    return
  files.check_regular(path)
  with open(path, "rb") as file:
    for number, line in enumerate(file, 1):
      try:
        values = json.loads(line)
      except (ValueError, RecursionError):
        values = None
      if isinstance(values, dict) and isinstance(values.get("step"), int):
        yield values
      elif line.endswith(b"\n"):
        raise errors.UserError(
          f"{path}:{number}: expected an object with a step; the file is"
          " damaged: remove this line and those after it"
        )


def _truncate(path: str, done_steps: int) -> None:
  if not os.path.exists(path):
    return
  kept = [line for line in _lines(path) if line["step"] <= done_steps]
  files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
