"""Runs a command in a child process and reports if a signal kills it."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from rlhf_gap import errors

LastWords = Callable[[str], None]
"""Sets the line to print if a signal kills the process from now on.

The exit code is then that of a user's mistake. "" means that no cause is known.
"""


def supervised(run: Callable[[int, LastWords], int]) -> int:
  """Runs a function in a child process; prints a line if a signal kills it.

  JAX aborts a process that cannot reach the others or has lost process 0, the
  coordinator, and none of our code can run then. Must be called before any
  threads start.

  Args:
    run: called with the id of the parent process, whose end should end the
      child, and a function that sets its last words. Returns the exit code.

  Returns:
    The exit code; in the child, the value that `run` returned.
  """
  sys.stdout.flush()
  parent = os.getpid()
  reading, writing = os.pipe()
  signals = {signal.SIGINT, signal.SIGTERM}
  # Blocked until the parent can forward them.
  signal.pthread_sigmask(signal.SIG_BLOCK, signals)
  child = os.fork()
  if child == 0:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    os.close(reading)
    return run(parent, lambda line: _write(writing, line))

  os.close(writing)

  def forward(number: int, _: object) -> None:
    with contextlib.suppress(ProcessLookupError):  # the child has ended
      os.kill(child, number)

  # A terminal sends Ctrl-C to the child too. A cluster may send SIGTERM only to
  # the parent.
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
  os.set_blocking(pipe, False)  # a grandchild may still hold the other end
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
    return f"this process was killed by {name}"
  return (
    f"this process was killed by {name}: JAX aborts if process 0, the"
    " coordinator, has died or cannot be reached; see its log for the cause,"
    " then restart all processes to resume"
  )
