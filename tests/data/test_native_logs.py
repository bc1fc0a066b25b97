"""What native code writes stays off the terminal unless something fails."""

import os
import sys

import pytest

from rlhf_gap.data import native_logs


def test_native_messages_are_held_back_and_python_goes_on(capfd):
  with native_logs.held_back():
    os.write(2, b"native noise\n")
    print("progress", file=sys.stderr)
  print("after", file=sys.stderr)
  os.write(2, b"native again\n")
  assert capfd.readouterr().err == "progress\nafter\nnative again\n"


def test_a_failure_prints_what_was_held_back(capfd):
  def fail() -> None:
    with native_logs.held_back():
      os.write(2, b"the reason\n")
      raise OSError("it failed")

  with pytest.raises(OSError, match="it failed"):
    fail()
  assert capfd.readouterr().err == "the reason\n"
