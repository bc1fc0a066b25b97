"""Finds out whether this process is one of several, from flags or a cluster.

JAX is not imported here, because the process is forked before JAX may start.
"""

import argparse
import dataclasses
import glob
import importlib.util
from collections.abc import Mapping, MutableMapping

from rlhf_gap import errors
from rlhf_gap.cli import flag_types

# Cloud TPUs: up to v4, and from v5e on.
_TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
# XLA's timeouts for CPU collectives. The default of 30 s is too short: one
# process may compile for longer than another.
_CPU_LIMITS = (
  "xla_cpu_collective_timeout_seconds",
  "xla_cpu_collective_call_terminate_timeout_seconds",
)


DEAD_AFTER_SECONDS = 60.0
"""Default silence after which a process counts as dead."""

HUNG_AFTER_SECONDS = 1800.0
"""Default time without progress of any process after which the run ends."""


@dataclasses.dataclass(frozen=True)
class Address:
  """The address with which a process joins the others.

  Attributes:
    found_by: "flags", "SLURM" or "TPU".
    coordinator: HOST:PORT of process 0; None if JAX asks the cluster.
    num_processes: number of processes of the run; None likewise.
    process_id: number of this process, from 0; None likewise.
  """

  found_by: str
  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of a command that may run as several processes."""
  group = parser.add_argument_group(
    "several hosts (not needed on a TPU slice or under SLURM)"
  )
  group.add_argument(
    "--coordinator", metavar="HOST:PORT", help="address of process 0"
  )
  group.add_argument(
    "--num_processes",
    type=flag_types.count,
    metavar="N",
    help="number of processes of the run",
  )
  group.add_argument(
    "--process_id",
    type=flag_types.whole(0),
    metavar="I",
    help="number of this process, from 0",
  )
  group.add_argument(
    "--dead_after_seconds",
    type=flag_types.positive,
    metavar="S",
    help="end if another process is silent for this long (default: 60)",
  )
  group.add_argument(
    "--hung_after_seconds",
    type=flag_types.positive,
    metavar="S",
    help="end if no process makes progress for this long, as when one hangs in"
    " a collective; must exceed the longest compilation (default: 1800)",
  )


def find(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  environment: Mapping[str, str],
) -> Address | None:
  """Finds out whether this process is one of several.

  Args:
    coordinator: HOST:PORT, from the command line.
    num_processes: from the command line.
    process_id: from the command line.
    environment: the process's environment variables.

  Returns:
    The address to join; None for a single process.

  Raises:
    UserError: the flags are incomplete or contradict one another.
  """
  flags = {
    "--coordinator": coordinator,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  if any(value is not None for value in flags.values()):
    return _given(flags)
  # srun sets SLURM_STEP_NODELIST for each task; a batch script has none.
  tasks = environment.get("SLURM_NTASKS", "1")
  if "SLURM_STEP_NODELIST" in environment and tasks != "1":
    return Address("SLURM")
  if environment.get("JAX_PLATFORMS", "tpu").startswith("tpu") and _has_tpu():
    return Address("TPU")
  return None


def leave_waiting_to_the_watch(
  hang_seconds: float, environment: MutableMapping[str, str]
) -> None:
  """Sets XLA's timeouts for CPU collectives longer than our own watch's.

  Must be called before JAX initializes its devices. Timeouts that the user has
  set are kept.

  Args:
    hang_seconds: time after which our watch ends the process and names the peer
      that hangs.
    environment: the process's environment variables; modified.
  """
  given = environment.get("XLA_FLAGS", "")
  for name in _CPU_LIMITS:
    if name not in given:
      given = f"{given} --{name}={2 * int(hang_seconds) + 60}"
  environment["XLA_FLAGS"] = given.strip()


def _given(flags: Mapping[str, str | int | None]) -> Address | None:
  missing = [name for name, value in flags.items() if value is None]
  if missing:
    raise errors.UserError(
      f"{', '.join(flags)} go together, but {', '.join(missing)} is missing (on"
      " a TPU slice or under SLURM, give none of them)"
    )
  coordinator = str(flags["--coordinator"])
  count, number = (
    int(flags[name] or 0) for name in ("--num_processes", "--process_id")
  )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdigit():
    raise errors.UserError(
      f"--coordinator={coordinator}; expected HOST:PORT of process 0, such as"
      " 10.0.0.2:8476"
    )
  if not 0 <= number < count:
    raise errors.UserError(
      f"--process_id={number} with --num_processes={count}; expected 0 to"
      " --num_processes - 1"
    )
  return Address("flags", coordinator, count, number) if count > 1 else None


def _has_tpu() -> bool:
  if importlib.util.find_spec("libtpu") is None:
    return False
  return any(glob.glob(pattern) for pattern in _TPU_DEVICES)
