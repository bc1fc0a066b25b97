"""Notices that another process of the run has died, hangs or has given up.

Every process posts, from a thread of its own, a pulse that goes on while the
process lives, and how far its work has come. A process whose pulse stands still
has died; where no work goes on, the one that is behind the others holds them
up: they wait for it in a collective operation that has no end of its own.
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
# Between two looks no more than these pass, by this process's count.
_MOST_INTERVALS = 3
# One more second between pulses for so many processes: each reads all pulses.
_PROCESSES_A_SECOND = 32


class Pulse(NamedTuple):
  """What a process says about itself.

  Attributes:
    host: its machine.
    beat: grows while the process lives.
    marks: pieces of work begun; every process begins the same ones.
    doing: the last of them.
  """

  host: str
  beat: int
  marks: int
  doing: str


@dataclasses.dataclass(frozen=True)
class Limits:
  """When another process counts as lost.

  Attributes:
    dead_seconds: without a pulse.
    hang_seconds: in which no process has begun any work. Longer than the
      longest compilation or checkpoint.
  """

  dead_seconds: float = 60.0
  hang_seconds: float = 1800.0


class History:
  """When each process's pulse and work were last seen to go on."""

  def __init__(self, limits: Limits, now: float):
    """Begins now, in seconds of a clock that only goes forward."""
    self._limits = limits
    self._pulses: dict[int, Pulse] = {}
    self._beat_at: dict[int, float] = {}
    self._worked_at = now

  def fault(self, pulses: Mapping[int, Pulse], now: float) -> str | None:
    """Takes what all processes say now.

    Args:
      pulses: by process number; one that is missing has not changed.
      now: seconds, of the same clock as at the beginning.

    Returns:
      Who died or hangs, in one line; None while all is well.
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
      f"{self._names(silent)} has not been heard of for"
      f" {self._limits.dead_seconds:g} s: it died or lost its network"
    )

  def _hung(self, now: float) -> str | None:
    if now - self._worked_at <= self._limits.hang_seconds or not self._pulses:
      return None
    marks = {number: pulse.marks for number, pulse in self._pulses.items()}
    behind = [n for n in sorted(marks) if marks[n] == min(marks.values())]
    if len(behind) == len(marks):
      who = f"all {len(marks)} processes hang, the last work begun:"
      who = f"{who} {self._pulses[behind[0]].doing}"
    else:
      who = f"{self._names(behind)} hangs and the others wait for it"
    return f"{who}; no work was begun for {self._limits.hang_seconds:g} s"

  def _names(self, numbers: list[int]) -> str:
    named = [
      f"process {n} ({self._pulses[n].host}, at {self._pulses[n].doing})"
      for n in numbers[:4]
    ]
    more = f" and {len(numbers) - 4} more" if len(numbers) > 4 else ""
    return f"{', '.join(named)}{more}"


class Watch:
  """A thread that posts this process's pulse and looks at the others'."""

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
    """Posts the first pulse; `start` begins to watch.

    Args:
      board: what the processes share.
      process: this one's number.
      count: how many there are.
      host: this machine's name.
      limits: when another process counts as lost.
      parent: the process that this one ends with; None for none.
      end: ends this process with a line and an exit code, by default at once:
        its main thread may never return from a collective operation.
    """
    self._board, self._process, self._count = board, process, count
    self._end = end or end_now
    self._host, self._beat = host, 0
    self._work = (0, "start")  # one value: the main thread replaces it
    self._parent = parent
    self._main = threading.main_thread().ident or 0
    self._looked_at = time.monotonic()
    self._awake_seconds = 0.0
    self._history = History(limits, self._awake_seconds)
    self._stopped = threading.Event()
    self._interval = _INTERVAL_SECONDS + count / _PROCESSES_A_SECOND
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._post()

  def start(self) -> None:
    """Begins to watch."""
    self._thread.start()

  def stop(self) -> None:
    """Watches no longer; where all processes have come to the end."""
    self._stopped.set()
    self._thread.join()

  def mark(self, doing: str) -> None:
    """Says that this process begins a piece of work, as all others do."""
    self._work = (self._work[0] + 1, doing)

  def give_up(self, line: str, code: int) -> None:
    """Tells the others that this process ends, and why.

    Process 0 stays a moment: the board goes with it.

    Args:
      line: why.
      code: its exit code, and theirs.
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
        os._exit(errors.PEER_FAILED)  # it was killed, and has no more to say
      try:
        self._post()
        found = self._look()
      except Exception as error:  # of the service's, as JAX words them
        reason = str(error).split("\n")[0]
        found = f"process 0 cannot be reached any more ({reason})", _LOST
      if found is not None:
        self._leave(*found)
        return

  def _look(self) -> tuple[str, int] | None:
    """Returns why this process must end, and its exit code."""
    for number, text in sorted(self._board.under(_ENDS).items()):
      line, code = json.loads(text)
      # Of a lost process, the line names it already.
      return (
        line if code == _LOST else f"process {number} has ended: {line}",
        code,
      )
    seen = self._board.under(_PULSES)
    pulses = {int(n): Pulse(*json.loads(t)) for n, t in seen.items()}
    fault = self._history.fault(pulses, self._clock())
    if fault is None:
      return None
    # Into this process's log: where the work stands, or what it waits for.
    print("rlhf-gap: the main thread is at", file=sys.stderr)
    traceback.print_stack(sys._current_frames()[self._main], file=sys.stderr)
    return f"{fault}; start all processes again to go on", _LOST

  def _clock(self) -> float:
    """Returns the seconds in which this process could have seen the others.

    One that was suspended, or starved, must not take the others for dead.
    """
    now = time.monotonic()
    passed = now - self._looked_at
    self._looked_at = now
    self._awake_seconds += min(passed, _MOST_INTERVALS * self._interval)
    return self._awake_seconds

  def _leave(self, line: str, code: int) -> None:
    if self._stopped.is_set():  # this process gives up itself, meanwhile
      return
    # Where process 0 is gone, nobody is left to be told.
    with contextlib.suppress(Exception):
      self.give_up(line, code)
    self._end(line, code)


def end_now(line: str, code: int) -> NoReturn:
  """Prints a line and ends the process, whatever its main thread does.

  JAX's own way out waits for processes that will never come.

  Args:
    line: why.
    code: the exit code.
  """
  sys.stdout.flush()
  print(f"rlhf-gap: {line}", file=sys.stderr, flush=True)
  os._exit(code)
