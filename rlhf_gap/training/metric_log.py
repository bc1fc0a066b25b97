"""A run's metrics as JSON lines and TensorBoard events."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorboardX

from rlhf_gap import errors, files

_NAME = "metrics.jsonl"
# Suffixes of values that differ between identical runs.
_TIMES = ("seconds", "_per_second")


class MetricLog:
  """Appends to `metrics.jsonl` and to TensorBoard's events.

  A line's step is the number of updates made. A restart after s updates removes
  all lines beyond s, so a resumed run has the same file as an uninterrupted
  one, except for times.
  """

  def __init__(self, folder: str, done_steps: int, *, tensorboard: bool = True):
    """Opens the log.

    Args:
      folder: the run's folder.
      done_steps: number of updates made before.
      tensorboard: whether to write TensorBoard events.
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
      step: number of updates made.
      values: values by name. None means undefined, such as a mean over no rows;
        it becomes null in JSON and no TensorBoard event.
    """
    self._file.write(json.dumps({"step": step, **values}) + "\n")
    if self._events is not None:
      for name, value in values.items():
        if value is not None:
          self._events.add_scalar(name, value, step)

  def flush(self) -> None:
    """Writes all logged lines to disk; called before a checkpoint."""
    self._file.flush()
    os.fsync(self._file.fileno())

  def close(self) -> None:
    """Flushes and closes."""
    self.flush()
    self._file.close()
    if self._events is not None:
      self._events.close()


class Silent:
  """Discards metrics, on all processes except the first."""

  def write(self, step: int, values: Mapping[str, float | None]) -> None:
    """Ignores the values."""

  def flush(self) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


def read(folder: str) -> list[dict[str, Any]]:
  """Returns the logged lines of a run.

  A last line truncated by a kill is skipped, as are undefined values (null).
  """
  lines = _lines(os.path.join(folder, _NAME))
  return [
    {name: value for name, value in line.items() if value is not None}
    for line in lines
  ]


def without_times(line: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a line without the values that differ between identical runs."""
  return {k: v for k, v in line.items() if not k.endswith(_TIMES)}


def _lines(path: str) -> Iterator[dict[str, Any]]:
  """Yields the log's objects; skips a last line truncated by a kill."""
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
