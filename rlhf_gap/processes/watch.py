"""Detects processes of the run that have died, hung or exited with an error.

A background thread of every process posts a pulse with the process's progress.
A process whose pulse stops has died. If nobody makes progress, the processes
that are behind are hung, and the others wait for them in a collective operation
that never times out.
"""

import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from rlhf_gap import errors
from rlhf_gap.processes import board as boards

_PULSES, _ENDS = "pulses", "ends"
_LOST = errors.PEER_FAILED
_INTERVAL_SECONDS = 1.0
# At most this many intervals count as elapsed between two checks.
_MAX_INTERVALS = 3
# Every process reads all pulses, so the interval grows by one second per this
# many processes.
_PROCESSES_PER_SECOND = 32


class Pulse(NamedTuple):
  """A process's report about itself.

  Attributes:
    host: its host name.
    beat: a counter that grows while the process is alive.
    marks: units of work started; every process starts the same ones.
    doing: the latest of them.
  """

  host: str
  beat: int
  marks: int
  doing: str


@dataclasses.dataclass(frozen=True)
class Limits:
  """When another process is considered lost.

  Attributes:
    dead_seconds: time without a pulse after which a process is dead.
    hang_seconds: time without progress of any process after which the run
      hangs; must exceed the longest compilation or checkpoint.
  """

  dead_seconds: float = 60.0
  hang_seconds: float = 1800.0


class History:
  """Records when each process's pulse and the run's work last advanced."""

  def __init__(self, limits: Limits, now: float):
    """Starts at time `now`, in seconds of a monotonic clock."""
    self._limits = limits
    self._pulses: dict[int, Pulse] = {}
    self._beat_at: dict[int, float] = {}
    self._worked_at = now

  def fault(self, pulses: Mapping[int, Pulse], now: float) -> str | None:
    """Records new pulses and looks for a fault.

    Args:
      pulses: pulses by process number; a missing one counts as unchanged.
      now: the time in seconds, on the same clock as in `__init__`.

    Returns:
      One line about the processes that died or hang; None if there are none.
    """
    for number, pulse in pulses.items():
      before = self._pulses.get(number)
      if before is None or pulse.beat != before.beat:
        self._beat_at[number] = now
      if before is None or pulse.marks != before.marks:
        self._worked_at = now
      self._pulses[number] = pulse
    return self._dead(now) or self._hung(now)

  def _dead(self, now: float) -> str | None:
    silent = [
      number
      for number, seen in sorted(self._beat_at.items())
      if now - seen > self._limits.dead_seconds
    ]
    if not silent:
      return None
    return (
      f"{self._names(silent)} has not responded for"
      f" {self._limits.dead_seconds:g} s: it died or lost its network"
    )

  def _hung(self, now: float) -> str | None:
    if now - self._worked_at <= self._limits.hang_seconds or not self._pulses:
      return None
    marks = {number: pulse.marks for number, pulse in self._pulses.items()}
    behind = [n for n in sorted(marks) if marks[n] == min(marks.values())]
    if len(behind) == len(marks):
      doing = self._pulses[behind[0]].doing
      fault = f"all {len(marks)} processes hang at {doing}"
    else:
      fault = f"{self._names(behind)} hangs and the others wait for it"
    return f"{fault}; no work was started for {self._limits.hang_seconds:g} s"

  def _names(self, numbers: list[int]) -> str:
    names = [
      f"process {n} ({self._pulses[n].host}, at {self._pulses[n].doing})"
      for n in numbers[:4]
    ]
    more = f" and {len(numbers) - 4} more" if len(numbers) > 4 else ""
    return f"{', '.join(names)}{more}"


class Watch:
  """A thread that posts this process's pulse and checks those of the others."""

  def __init__(
    self,
    board: boards.Board,
    process: int,
    count: int,
    host: str,
    limits: Limits,
    *,
    parent: int | None = None,
    end: Callable[[str, int], None] | None = None,
  ):
    """Posts the first pulse; `start` starts the thread.

    Args:
      board: the board that the processes share.
      process: this process's number.
      count: number of processes.
      host: this machine's name.
      limits: when another process is considered lost.
      parent: id of a process whose death ends this one; None for none.
      end: ends this process with a message and an exit code. By default it
        exits immediately, because the main thread may never return from a
        collective operation.
    """
    self._board, self._process, self._count = board, process, count
    self._end = end or end_now
    self._host, self._beat = host, 0
    self._work = (0, "start")  # a tuple, so that the main thread swaps it whole
    self._parent = parent
    self._main = threading.main_thread().ident or 0
    self._checked_at = time.monotonic()
    self._awake_seconds = 0.0
    self._history = History(limits, self._awake_seconds)
    self._stopped = threading.Event()
    self._interval = _INTERVAL_SECONDS + count / _PROCESSES_PER_SECOND
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._post()

  def start(self) -> None:
    """Starts the thread."""
    self._thread.start()

  def stop(self) -> None:
    """Stops the thread, once all processes have finished."""
    self._stopped.set()
    self._thread.join()

  def mark(self, doing: str) -> None:
    """Reports that this process starts a unit of work, as all processes do."""
    self._work = (self._work[0] + 1, doing)

  def give_up(self, line: str, code: int) -> None:
    """Reports to the others that this process ends, and why.

    Process 0 waits a moment for the others to read it, because the board
    disappears with process 0.

    Args:
      line: the reason.
      code: the exit code of all processes.
    """
    self._stopped.set()
    text = json.dumps([line, code])
    self._board.post(f"{_ENDS}/{self._process}", text)
    until = time.monotonic() + 3 * self._interval
    while self._process == 0 and time.monotonic() < until:
      if len(self._board.under(_ENDS)) == self._count:
        return
      time.sleep(_INTERVAL_SECONDS / 4)

  def _post(self) -> None:
    self._beat += 1
    text = json.dumps(Pulse(self._host, self._beat, *self._work))
    self._board.post(f"{_PULSES}/{self._process}", text)

  def _run(self) -> None:
    while not self._stopped.wait(self._interval):
      if self._parent is not None and os.getppid() != self._parent:
        os._exit(errors.PEER_FAILED)  # the parent was killed
      try:
        self._post()
        ending = self._check()
      except (
        Exception
      ) as error:  # JAX does not document what its service raises
        reason = str(error).split("\n")[0]
        ending = f"lost the connection to process 0 ({reason})", _LOST
      if ending is not None:
        self._leave(*ending)
        return

  def _check(self) -> tuple[str, int] | None:
    """Returns why this process must end, and its exit code; None to go on."""
    for number, text in sorted(self._board.under(_ENDS).items()):
      line, code = json.loads(text)
      # A line about a lost process already names it.
      return (
        line if code == _LOST else f"process {number} has ended: {line}",
        code,
      )
    texts = self._board.under(_PULSES)
    pulses = {int(n): Pulse(*json.loads(t)) for n, t in texts.items()}
    fault = self._history.fault(pulses, self._clock())
    if fault is None:
      return None
    # The stack shows what this process was doing or waiting for.
    print("rlhf-gap: stack of the main thread:", file=sys.stderr)
    traceback.print_stack(sys._current_frames()[self._main], file=sys.stderr)
    return f"{fault}; restart all processes to resume", _LOST

  def _clock(self) -> float:
    """Returns the seconds during which this process could see the others.

    A process that was suspended or starved must not take the others for dead.
    """
    now = time.monotonic()
    elapsed = now - self._checked_at
    self._checked_at = now
    self._awake_seconds += min(elapsed, _MAX_INTERVALS * self._interval)
    return self._awake_seconds

  def _leave(self, line: str, code: int) -> None:
    if self._stopped.is_set():  # this process is already giving up
      return
    # Fails if process 0, and so the board, is gone.
    with contextlib.suppress(Exception):
      self.give_up(line, code)
    self._end(line, code)


def end_now(line: str, code: int) -> NoReturn:
  """Prints a line and ends the process, whatever its main thread is doing.

  A normal exit would hang: JAX's shutdown waits for the lost processes.

  Args:
    line: the reason.
    code: the exit code.
  """
  sys.stdout.flush()
  print(f"rlhf-gap: {line}", file=sys.stderr, flush=True)
  os._exit(code)
