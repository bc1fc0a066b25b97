"""Detection of dead and hung processes, without starting any."""

import json
import threading

import pytest

from rlhf_gap import errors
from rlhf_gap.processes import watch
from tests.processes.boards import LocalBoard

pytestmark = pytest.mark.slow

LIMITS = watch.Limits(dead_seconds=10.0, hang_seconds=100.0)


def _pulses(beats, marks, doing="step 3"):
  return {
    number: watch.Pulse(f"host{number}", beat, done, doing)
    for number, (beat, done) in enumerate(zip(beats, marks, strict=True))
  }


def test_no_fault_while_pulses_and_work_advance():
  history = watch.History(LIMITS, 0.0)
  for second in range(0, 1000, 9):
    assert (
      history.fault(_pulses([second] * 3, [second] * 3), float(second)) is None
    )


def test_a_process_whose_pulse_stops_is_named():
  history = watch.History(LIMITS, 0.0)
  for second in range(11):
    pulses = _pulses([second, 0, second], [second, 0, second], "step 7")
    assert history.fault(pulses, float(second)) is None
  line = history.fault(_pulses([11, 0, 11], [11, 0, 11], "step 7"), 11.0)
  assert line == (
    "process 1 (host1, at step 7) has not responded for 10 s: it died or lost"
    " its network"
  )


def test_a_process_whose_pulse_disappears_is_named():
  history = watch.History(LIMITS, 0.0)
  history.fault(_pulses([1, 1], [1, 1]), 0.0)
  alone = {0: watch.Pulse("host0", 2, 2, "step 4")}
  assert "process 1 (host1, at step 3)" in history.fault(alone, 10.5)


def _hung(marks):
  history = watch.History(LIMITS, 0.0)
  for second in range(0, 101, 5):
    assert history.fault(_pulses([second] * 3, marks), float(second)) is None
  return history.fault(_pulses([101] * 3, marks), 101.0)


def test_a_process_that_is_behind_the_others_is_hung():
  assert _hung([9, 7, 9]) == (
    "process 1 (host1, at step 3) hangs and the others wait for it; no work was"
    " started for 100 s"
  )


def test_if_no_process_is_behind_all_are_hung():
  assert _hung([9, 9, 9]).startswith("all 3 processes hang at step 3;")


def test_progress_of_any_process_counts_as_progress_of_the_run():
  history = watch.History(LIMITS, 0.0)
  for second in range(0, 1000, 9):
    pulses = _pulses([second, second], [second, 0])
    assert history.fault(pulses, float(second)) is None


class _Ending:
  """Records the message and exit code that would end the process."""

  def __init__(self):
    self.message = None
    self._event = threading.Event()

  def __call__(self, line, code):
    self.message = (line, code)
    self._event.set()

  def wait(self):
    assert self._event.wait(60)
    return self.message


@pytest.fixture
def ending():
  return _Ending()


def _started(board, ending, number=0, count=2, limits=LIMITS):
  watching = watch.Watch(board, number, count, "here", limits, end=ending)
  watching.start()
  return watching


@pytest.mark.parametrize(
  ("line", "code", "expected"),
  [
    ("no space is left", 2, "process 1 has ended: no space is left"),
    ("process 2 died", errors.PEER_FAILED, "process 2 died"),
  ],
)
def test_when_one_process_ends_the_others_end(ending, line, code, expected):
  board = LocalBoard()
  board.post("ends/1", json.dumps([line, code]))
  _started(board, ending)
  assert ending.wait() == (expected, code)
  assert json.loads(board.under("ends")["0"]) == [expected, code]


def test_a_silent_process_ends_the_others(ending):
  board = LocalBoard()
  board.post("pulses/1", json.dumps(watch.Pulse("there", 5, 2, "step 1")))
  _started(board, ending, limits=watch.Limits(0.5, 1000.0))
  line, code = ending.wait()
  assert line.startswith("process 1 (there, at step 1) has not responded for")
  assert code == errors.PEER_FAILED


def test_losing_the_board_ends_the_process(ending):
  class _Gone(LocalBoard):
    def under(self, folder):
      raise RuntimeError("UNAVAILABLE: Socket closed\nmore")

  _started(_Gone(), ending, number=1)
  assert ending.wait() == (
    "lost the connection to process 0 (UNAVAILABLE: Socket closed)",
    errors.PEER_FAILED,
  )


def test_progress_and_the_final_message_are_posted(ending):
  board = LocalBoard()
  watching = _started(board, ending)
  watching.mark("step 1")
  watching.mark("step 2")
  watching.give_up("enough", 1)
  assert ending.message is None  # ending the process is left to the caller
  beats = [json.loads(text) for text in board.history["pulses/0"]]
  assert beats[0] == ["here", 1, 0, "start"]
  assert json.loads(board.under("ends")["0"]) == ["enough", 1]
