"""Ctrl-C where it must not strike: inside libraries that do not survive it."""

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Iterator


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """Holds a Ctrl-C back until the block has ended; a second one strikes.

  For calls into a library that loses the KeyboardInterrupt, or goes on working
  in threads of its own when the caller has cleaned up and left.
  """
  if threading.current_thread() is not threading.main_thread():
    yield  # Python handles signals in the main thread alone.
    return
  if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    yield  # A shell's background job; nothing strikes.
    return
  pressed = False

  def hold(number: int, frame: types.FrameType | None) -> None:
    nonlocal pressed
    if pressed and callable(previous):
      previous(number, frame)
    pressed = True
    print("stopping in a moment; Ctrl-C again: at once", file=sys.stderr)

  previous = signal.signal(signal.SIGINT, hold)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, previous)
  if pressed:
    signal.raise_signal(signal.SIGINT)
