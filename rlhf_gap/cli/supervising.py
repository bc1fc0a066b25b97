"""A parent that speaks when JAX ends a process without a word of ours."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from rlhf_gap import errors

LastWords = Callable[[str], None]
"""Takes the line to print if a signal ends the process from now on.

It is then taken for a user's mistake; "" for a fault of which nothing is known.
"""


def supervised(run: Callable[[int, LastWords], int]) -> int:
  """Runs in a child process, and says in a line if a signal ends it.

  JAX aborts a process that does not meet the others, and one whose process 0,
  which coordinates, is gone: no code of ours can run in it then. Must be called
  before anything starts threads.

  Args:
    run: is given the id of the process to end with, and what takes its last
      words; returns the exit code.

  Returns:
    The exit code; in the child, what `run` returned.
  """
  sys.stdout.flush()
  parent = os.getpid()
  reading, writing = os.pipe()
  signals = {signal.SIGINT, signal.SIGTERM}
  # Held back until the parent forwards them.
  signal.pthread_sigmask(signal.SIG_BLOCK, signals)
  child = os.fork()
  if child == 0:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    os.close(reading)
    return run(parent, lambda line: _write(writing, line))

  os.close(writing)

  def forward(number: int, _: object) -> None:
    with contextlib.suppress(ProcessLookupError):  # the child has just ended
      os.kill(child, number)

  # A terminal sends Ctrl-C to the child as well; a cluster may send SIGTERM to
  # the first process alone.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, forward)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
  _, status = os.waitpid(child, 0)
  code = os.waitstatus_to_exitcode(status)
  if code >= 0:
    return code
  last_words = _last_line(reading)
  line = last_words or _reason(-code)
  print(f"rlhf-gap: {line}", file=sys.stderr, flush=True)
  if last_words:
    return 2
  return errors.PEER_FAILED if code == -signal.SIGABRT else 128 - code


def _last_line(pipe: int) -> str:
  os.set_blocking(pipe, False)  # a process of the child's may hold its end
  try:
    lines = os.read(pipe, 1 << 16).decode().splitlines()
  except BlockingIOError:
    lines = []
  return lines[-1] if lines else ""


def _write(pipe: int, line: str) -> None:
  os.write(pipe, f"{line}\n".encode())


def _reason(number: int) -> str:
  name = signal.Signals(number).name
  if number != signal.SIGABRT:
    return f"this process was ended by {name}"
  return (
    f"this process was ended by {name}, as JAX does when process 0, which"
    " coordinates, has died or cannot be reached: its log has the cause; start"
    " all processes again to go on"
  )
