"""Hands a run's metrics to tracking libraries, without ever waiting for them.

`metrics.jsonl` is the source: what a tracker lacks is sent from it when the run
is resumed. A note in the run's folder says what was handed over, so no value is
handed over twice.
"""

import contextlib
import dataclasses
import importlib.util
import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from rlhf_gap import checks, errors, files
from rlhf_gap.training import metric_log, trackers

# Attempts to start a tracked run, and the time between them: two stages of a
# study may create one database at the same time.
_STARTS, _START_SECONDS = 3, 2.0
# Lines that may wait for a slow library before it is given up.
_MAX_WAITING = 10_000
# Time to hand over the last lines when a run ends.
_CLOSE_SECONDS = 90.0


@dataclasses.dataclass(frozen=True)
class Tracking:
  """Where to show a run's metrics besides its folder.

  Attributes:
    trackers: "wandb", "mlflow", "trackio", or several joined by commas.
    project: the project or experiment; None for the library's environment
      variable, else "rlhf_gap".
    name: the run's display name; None for the last two folders of MODEL_DIR.

  Raises:
    UserError: a tracker is unknown or given twice.
  """

  trackers: str
  project: str | None = None
  name: str | None = None

  def __post_init__(self) -> None:
    checks.required(trackers=self.trackers)
    checks.texts(trackers=self.trackers, project=self.project, name=self.name)
    known = ", ".join(trackers.LIBRARIES)
    for name in self.names:
      if name not in trackers.LIBRARIES:
        raise errors.UserError(
          f"trackers={self.trackers!r}; expected one or several of {known}"
        )
    if len(set(self.names)) < len(self.names):
      raise errors.UserError(f"trackers={self.trackers!r} names one twice")

  @property
  def names(self) -> list[str]:
    """The trackers' names."""
    return [name.strip() for name in self.trackers.split(",")]

  def check_installed(self) -> None:
    """Checks that the libraries are installed, without importing them.

    Raises:
      UserError: one is not; the message names the extra.
    """
    for name in self.names:
      spec = importlib.util.find_spec(name)
      # A folder of this name, such as wandb's own output, is no library.
      if spec is None or spec.origin is None:
        raise errors.UserError(
          f"TRACKING={self.trackers}: the library {name} is not installed: pip"
          f" install -e '.[{name}]'"
        )


class _Note(msgspec.Struct):
  """What a tracker was given.

  Attributes:
    run: the tracked run's id.
    sent: the last step handed over, by metric.
  """

  run: str
  sent: dict[str, int]


class _Line(NamedTuple):
  step: int
  values: Mapping[str, float]


class _Sender:
  """Hands lines to one library, in a thread of its own.

  A library that fails or hangs ends its thread with one line on stderr.
  """

  def __init__(self, name: str, about: trackers.About, before: Sequence[_Line]):
    """Starts the thread.

    Args:
      name: the tracker's.
      about: what it shows of the run.
      before: the lines of earlier processes, of which it may lack some.
    """
    self._name, self._about, self._before = name, about, before
    self._path = os.path.join(about.folder, f"tracking_{name}.json")
    self._waiting: queue.Queue[_Line | None] = queue.Queue(_MAX_WAITING)
    self._off, self._failed = threading.Event(), False
    self._thread = threading.Thread(
      target=self._guarded, name=f"tracking {name}", daemon=True
    )
    self._thread.start()

  def put(self, step: int, values: Mapping[str, float | None]) -> None:
    """Adds the values of a step; None values are left out."""
    defined = {name: v for name, v in values.items() if v is not None}
    if self._off.is_set() or not defined:
      return
    try:
      self._waiting.put_nowait(_Line(step, defined))
    except queue.Full:
      self._give_up(f"{_MAX_WAITING:,} lines wait for it")

  def close(self, *, failed: bool) -> None:
    """Hands over what is left and ends the tracked run.

    Args:
      failed: whether training ended with an error.
    """
    self._failed = failed
    until = time.monotonic() + _CLOSE_SECONDS
    with contextlib.suppress(queue.Full):
      self._waiting.put(None, timeout=_CLOSE_SECONDS)
    self._thread.join(max(0.0, until - time.monotonic()))
    if self._thread.is_alive():
      self._give_up(f"it did not end within {_CLOSE_SECONDS:.0f} s")

  def _give_up(self, reason: str) -> None:
    if self._off.is_set():
      return
    self._off.set()
    line = errors.printable(
      f"{self._about.folder}: tracking by {self._name} ended ({reason});"
      " training continues, and a rerun of the command sends what is missing"
    )
    print(line, file=sys.stderr, flush=True)

  def _guarded(self) -> None:
    try:
      self._send_all()
    except (Exception, SystemExit) as error:  # any error of a library
      text = " ".join(str(error).split())[:200]
      self._give_up(f"{type(error).__name__}: {text}")

  def _send_all(self) -> None:
    note = _read_note(self._path)
    tracker = None
    lines = itertools.chain(self._before, iter(self._waiting.get, None))
    for step, values in lines:
      if self._off.is_set():
        return
      sent = note.sent if note else {}
      new = {k: v for k, v in values.items() if step > sent.get(k, -1)}
      if not new:
        continue
      if tracker is None:
        tracker = trackers.LIBRARIES[self._name](self._about)
        note = _Note(_started(tracker, note.run if note else None), sent)
      assert note is not None
      self._send(tracker, note, step, new)
    if tracker is not None and not self._off.is_set():
      tracker.finish(failed=self._failed)

  def _send(
    self,
    tracker: trackers.Tracker,
    note: _Note,
    step: int,
    values: Mapping[str, float],
  ) -> None:
    before = dict(note.sent)
    note.sent.update(dict.fromkeys(values, step))
    # Noted first, so that a killed run never hands over a value twice.
    files.write_json(self._path, note)
    try:
      tracker.log(step, values)
    except BaseException:
      files.write_json(self._path, _Note(note.run, before))
      raise


def _started(tracker: trackers.Tracker, run_id: str | None) -> str:
  for _ in range(_STARTS - 1):
    try:
      return tracker.start(run_id)
    except Exception:
      time.sleep(_START_SECONDS)
  return tracker.start(run_id)


def _read_note(path: str) -> _Note | None:
  return files.read_json(path, _Note) if os.path.lexists(path) else None


class _Tracked:
  """A run's log that also hands its lines to trackers."""

  def __init__(self, log: metric_log.MetricLog, senders: Sequence[_Sender]):
    self._log, self._senders = log, senders

  def write(self, step: int, values: Mapping[str, float | None]) -> None:
    """Logs the values of a step."""
    self._log.write(step, values)
    for sender in self._senders:
      sender.put(step, values)

  def flush(self) -> None:
    """Writes all logged lines to disk."""
    self._log.flush()

  def close(self) -> None:
    """Flushes and closes the files."""
    self._log.close()


@contextlib.contextmanager
def tracked(
  log: metric_log.MetricLog,
  tracking: Tracking,
  folder: str,
  settings: Mapping[str, str],
) -> Iterator[_Tracked]:
  """Hands a log's lines to trackers too, first those that they lack.

  Args:
    log: the run's log, just opened.
    tracking: the trackers.
    folder: the run's folder.
    settings: the run's settings, by name.

  Yields:
    The log to write to.
  """
  about = trackers.About(
    tracking.project,
    tracking.name or "/".join(os.path.abspath(folder).split(os.sep)[-2:]),
    folder,
    {name: trackers.number_or_text(v) for name, v in settings.items()},
  )
  before = [_Line(line.pop("step"), line) for line in metric_log.read(folder)]
  senders = [_Sender(name, about, before) for name in tracking.names]
  failed = True
  try:
    yield _Tracked(log, senders)
    failed = False
  finally:
    for sender in senders:
      sender.close(failed=failed)
