"""Defers Ctrl-C inside library calls that cannot be interrupted safely."""

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Iterator


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """Defers Ctrl-C until the block ends; a second one interrupts immediately.

  For calls into libraries that swallow KeyboardInterrupt, or whose own threads
  keep working after the caller has cleaned up and returned.

  Yields:
    Nothing.
  """
  if threading.current_thread() is not threading.main_thread():
    yield  # Python handles signals only in the main thread.
    return
  if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    yield  # A background job of a shell ignores SIGINT.
    return
  pressed = False

  def hold(number: int, frame: types.FrameType | None) -> None:
    nonlocal pressed
    if pressed and callable(previous):
      previous(number, frame)
    pressed = True
    print("stopping soon; press Ctrl-C again to stop now", file=sys.stderr)

  previous = signal.signal(signal.SIGINT, hold)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, previous)
  if pressed:
    signal.raise_signal(signal.SIGINT)
