"""Which processes belong together, from flags and a cluster's variables."""

import signal
import subprocess
import sys

import pytest

from rlhf_gap import errors
from rlhf_gap.cli import launching

SLURM = {
  "SLURM_JOB_ID": "1",
  "SLURM_STEP_NODELIST": "node[1-2]",
  "SLURM_NTASKS": "2",
  "SLURM_PROCID": "1",
}


def test_flags_name_the_place():
  found = launching.find("host:8476", 4, 3, SLURM)
  assert found == launching.Address("flags", "host:8476", 4, 3)


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


def test_xla_waits_longer_than_our_watch_unless_told_otherwise():
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
    f"def run(parent):\n  assert os.getppid() == parent\n  {body}\n"
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


def test_an_abort_is_told_in_a_line():
  done = _supervised("os.abort()")
  assert done.returncode == errors.PEER_FAILED
  assert "SIGABRT, as JAX does when process 0" in done.stderr
  assert done.stderr.count("\n") == 1


def test_a_kill_is_told_in_a_line():
  done = _supervised("os.kill(os.getpid(), signal.SIGKILL)")
  assert done.returncode == 128 + signal.SIGKILL
  assert done.stderr == "rlhf-gap: this process was ended by SIGKILL\n"


def test_sigterm_reaches_the_child():
  done = _supervised(
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(7));"
    " os.kill(parent, signal.SIGTERM); time.sleep(50)"
  )
  assert done.returncode == 7
