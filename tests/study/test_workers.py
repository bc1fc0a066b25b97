"""A worker's command: its exit code, its output in the log, its core."""

import os
import sys

import pytest

from rlhf_gap.study import workers


def _run(execute, tmp_path, argv=("label", "--keep=end")):
  log = tmp_path / "stages" / "a.log"
  code, seconds = workers.run(execute, list(argv), str(log))
  assert 0 <= seconds < 60
  return code, log.read_text()


def _prints(argv):
  print("out", *argv)
  sys.stderr.write("err\n")
  os.write(1, b"native\n")
  return 3


def test_output_goes_to_the_log_below_the_command(tmp_path, capfd):
  code, log = _run(_prints, tmp_path)
  assert code == 3
  assert log.startswith("$ rlhf-gap label --keep=end\n")
  assert "native\n" in log
  print("afterwards")
  assert "native" not in capfd.readouterr().out


def test_a_second_attempt_is_appended(tmp_path):
  _run(lambda argv: 1, tmp_path)
  code, log = _run(lambda argv: 0, tmp_path, ["train"])
  assert code == 0
  assert log == "$ rlhf-gap label --keep=end\n$ rlhf-gap train\n"


def _raise(error):
  raise error


@pytest.mark.parametrize(
  ("error", "code"),
  [
    (SystemExit(2), 2),
    (SystemExit("a message"), 1),
    (ValueError("what went wrong"), 1),
  ],
)
def test_whatever_a_command_raises_is_an_exit_code(tmp_path, error, code):
  assert _run(lambda argv: _raise(error), tmp_path)[0] == code


def test_an_interrupt_is_not_swallowed(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    _run(lambda argv: _raise(KeyboardInterrupt()), tmp_path)
  os.write(1, b"")  # standard output was restored


def test_workers_share_the_cores_and_ignore_interrupts():
  with workers.pool(2) as pool:
    shares = {tuple(pool.submit(os.sched_getaffinity, 0).result())}
    (handler,) = {pool.submit(_sigint_handler).result()}
  own = os.sched_getaffinity(0)
  assert all(set(share) <= own for share in shares)
  assert all(len(share) <= max(-(-len(own) // 2), 1) for share in shares)
  assert handler == "SIG_IGN"


def _sigint_handler():
  import signal

  return signal.getsignal(signal.SIGINT).name
