"""Joining the processes of a run, from flags or a cluster's variables."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from rlhf_gap import errors
from rlhf_gap.cli import launching, main

pytestmark = pytest.mark.slow

SLURM = {
  "SLURM_JOB_ID": "1",
  "SLURM_STEP_NODELIST": "node[1-2]",
  "SLURM_NTASKS": "2",
  "SLURM_PROCID": "1",
}


def test_flags_name_the_place():
  address = launching.find("host:8476", 4, 3, SLURM)
  assert address == launching.Address("flags", "host:8476", 4, 3)


def test_slurm_needs_no_flags():
  assert launching.find(None, None, None, SLURM) == launching.Address("SLURM")


@pytest.mark.parametrize(
  ("flags", "environment"),
  [
    ((None, None, None), {}),
    ((None, None, None), SLURM | {"SLURM_NTASKS": "1"}),
    # A batch script, not one of srun's tasks.
    ((None, None, None), {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"}),
    (("host:1", 1, 0), {}),
  ],
)
def test_a_process_by_itself(flags, environment):
  environment = {"JAX_PLATFORMS": "cpu", **environment}
  assert launching.find(*flags, environment) is None


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("host:1", 2, None), "--process_id is missing"),
    ((None, None, 0), "--coordinator, --num_processes is missing"),
    (("host", 2, 0), "--coordinator=host; expected HOST:PORT"),
    (("host:port", 2, 0), "expected HOST:PORT"),
    (("host:1", 2, 2), "--process_id=2 with --num_processes=2; expected 0 to"),
    (("host:1", 0, 0), "--num_processes=0"),
    (("host:1", 2, -1), "--process_id=-1"),
  ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message):
  with pytest.raises(errors.UserError, match=message) as raised:
    launching.find(*flags, {})
  assert "\n" not in str(raised.value)


def test_xla_waits_longer_than_our_watch_unless_set_otherwise():
  environment = {}
  launching.leave_waiting_to_the_watch(1800.0, environment)
  first, second = environment["XLA_FLAGS"].split()
  assert first == "--xla_cpu_collective_timeout_seconds=3660"
  assert second.endswith("_call_terminate_timeout_seconds=3660")
  launching.leave_waiting_to_the_watch(5.0, environment)
  assert environment["XLA_FLAGS"] == f"{first} {second}"
  program = "import jax; assert jax.device_count() == 2"  # XLA knows the flags
  environment["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
  variables = {**environment, "JAX_PLATFORMS": "cpu"}
  subprocess.run([sys.executable, "-c", program], env=variables, check=True)


def _supervised(body):
  """Runs `body` under supervision, in a process without JAX."""
  program = (
    "import os, signal, sys, time\n"
    "from rlhf_gap.cli import supervising\n"
    "def run(parent, last_words):\n  assert os.getppid() == parent\n"
    f"  {body}\n"
    "code = supervising.supervised(run)\n"
    "assert 'jax' not in sys.modules\n"
    "sys.exit(code)\n"
  )
  command = [sys.executable, "-c", program]
  return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("code", [0, 2])
def test_the_childs_exit_code_is_the_parents(code):
  done = _supervised(f"return {code}")
  assert (done.returncode, done.stderr) == (code, "")


def test_an_abort_is_reported_in_a_line():
  done = _supervised("os.abort()")
  assert done.returncode == errors.PEER_FAILED
  assert "SIGABRT: JAX aborts if process 0" in done.stderr
  assert done.stderr.count("\n") == 1


def test_a_kill_is_reported_in_a_line():
  done = _supervised("os.kill(os.getpid(), signal.SIGKILL)")
  assert done.returncode == 128 + signal.SIGKILL
  assert done.stderr == "rlhf-gap: this process was killed by SIGKILL\n"


def test_last_words_are_said_instead():
  done = _supervised("last_words('first'); last_words('why'); os.abort()")
  assert (done.returncode, done.stderr) == (2, "rlhf-gap: why\n")


def test_last_words_may_be_taken_back():
  done = _supervised("last_words('why'); last_words(''); os.abort()")
  assert done.returncode == errors.PEER_FAILED
  assert "why" not in done.stderr


@pytest.mark.parametrize("seconds", ["inf", "nan", "0", "-100"])
def test_limits_are_seconds_to_wait(capsys, seconds):
  words = ["train", "--gin_file=x.gin", f"--dead_after_seconds={seconds}"]
  assert main.main(words) == 2
  line = capsys.readouterr().err
  assert f"--dead_after_seconds={seconds}; expected a finite" in line


def _alone(process_id, port):
  """Starts one of two processes, which waits 3 seconds for the other."""
  program = (
    "import sys\n"
    "from rlhf_gap.cli import main\n"
    "from rlhf_gap.processes import joining\n"
    "joining._JOIN_TIMEOUT_SECONDS = 3\n"
    "sys.exit(main.main(sys.argv[1:]))\n"
  )
  words = (
    *("train", "--gin_file=gin_configs/runs/sft.gin"),
    *(f"--coordinator=127.0.0.1:{port}", "--num_processes=2"),
    f"--process_id={process_id}",
  )
  return subprocess.Popen(
    [sys.executable, "-c", program, *words],
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )


def test_processes_that_do_not_meet_say_so_and_end_with_2():
  with socket.socket() as taken, socket.socket() as free:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    free.bind(("127.0.0.1", 0))
    ports = [server.getsockname()[1] for server in (taken, free)]
    free.close()
    waiting = [
      _alone(0, ports[0]),  # where something else listens
      _alone(0, ports[1]),  # process 1 does not come
      _alone(1, ports[1] + 1),  # process 0 does not come
    ]
    for process in waiting:
      line = process.communicate(timeout=100)[1].splitlines()[-1]
      assert process.returncode == 2, line
      assert "cannot reach the other processes at 127" in line


def test_sigterm_reaches_the_child():
  done = _supervised(
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(7));"
    " os.kill(parent, signal.SIGTERM); time.sleep(50)"
  )
  assert done.returncode == 7
