"""Tests of deferring Ctrl-C."""

import signal
import threading

import pytest

from rlhf_gap import interrupts


def _press():
  signal.raise_signal(signal.SIGINT)


def test_the_interrupt_is_raised_after_the_block(capsys):
  done = []

  def run():
    with interrupts.deferred():
      _press()
      done.append("block")
    done.append("after")

  with pytest.raises(KeyboardInterrupt):
    run()
  assert done == ["block"]
  assert "stopping soon" in capsys.readouterr().err
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_raised_immediately():
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


def test_the_previous_handler_is_called_once():
  seen = []
  before = signal.signal(signal.SIGINT, lambda *_: seen.append("handler"))
  try:
    with interrupts.deferred():
      _press()
      seen.append("block")
  finally:
    signal.signal(signal.SIGINT, before)
  assert seen == ["block", "handler"]


def test_an_error_propagates_and_the_handler_is_restored():
  def run():
    with interrupts.deferred():
      raise OSError("full")

  with pytest.raises(OSError, match="full"):
    run()
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_run_the_block_unchanged():
  done = []

  def run():
    with interrupts.deferred():
      done.append("block")

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert done == ["block"]


def test_an_ignored_interrupt_stays_ignored(capsys):
  """SIGINT is ignored in a shell's background jobs."""
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with interrupts.deferred():
      _press()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)
  assert capsys.readouterr().err == ""
