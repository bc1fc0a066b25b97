"""Ctrl-C during what must not be interrupted."""

import signal
import threading

import pytest

from rlhf_gap import interrupts


def _press():
  signal.raise_signal(signal.SIGINT)


def test_the_block_ends_before_the_interrupt_strikes(capsys):
  done = []

  def run():
    with interrupts.deferred():
      _press()
      done.append("block")
    done.append("after")

  with pytest.raises(KeyboardInterrupt):
    run()
  assert done == ["block"]
  assert "stopping in a moment" in capsys.readouterr().err
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_strikes_at_once():
  done = []

  def run():
    with interrupts.deferred():
      _press()
      done.append("first")
      _press()
      done.append("second")

  with pytest.raises(KeyboardInterrupt):
    run()
  assert done == ["first"]


def test_whoever_handled_interrupts_before_is_told_once():
  seen = []
  before = signal.signal(signal.SIGINT, lambda *_: seen.append("told"))
  try:
    with interrupts.deferred():
      _press()
      seen.append("block")
  finally:
    signal.signal(signal.SIGINT, before)
  assert seen == ["block", "told"]


def test_an_error_of_the_block_comes_out_and_the_handler_is_back():
  def run():
    with interrupts.deferred():
      raise OSError("full")

  with pytest.raises(OSError, match="full"):
    run()
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_run_their_block():
  done = []

  def run():
    with interrupts.deferred():
      done.append("block")

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert done == ["block"]


def test_an_ignored_interrupt_stays_ignored(capsys):
  """As in a shell's background job."""
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with interrupts.deferred():
      _press()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)
  assert capsys.readouterr().err == ""
