"""Runs `rlhf-gap train` on virtual devices, in one process or several."""

import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import miniature

_BATCH_SIZE = 8
_POLL_SECONDS = 0.01
_LAUNCHER = str(pathlib.Path(__file__).parent / "launch_local.sh")


@dataclasses.dataclass(frozen=True)
class Stage:
  """One of the consecutive stages of a run.

  Attributes:
    devices: number of virtual devices per process.
    mesh: macros of `gin_configs/runs/parts/mesh.gin`; None for no mesh.
    share: fraction of the run's steps after which the stage ends.
    processes: number of processes.
  """

  devices: int
  mesh: dict[str, int] | None
  share: float = 1.0
  processes: int = 1


def train_flags(
  regime: str, made: miniature.Miniature, folder: pathlib.Path
) -> list[str]:
  """Returns the flags of a run that do not depend on its devices.

  Args:
    regime: "online" or "offline".
    made: stores, policy and judge.
    folder: the run's folder.
  """
  given = {
    "MODEL_DIR": str(folder),
    "INITIAL_CHECKPOINT_PATH": made.policy,
    "BATCH_SIZE": str(_BATCH_SIZE),
  }
  if regime == "online":
    given["PROMPTS"] = made.prompts
    given["JUDGE_CHECKPOINT_PATH"] = made.judge
    given["MAX_LENGTH"] = str(miniature.LENGTH_TOKENS)
  else:
    given["PAIRS"] = made.pairs
  return [
    f"--gin_file={miniature.RUNS}/{regime}.gin",
    *(f"--gin.{name}={value}" for name, value in given.items()),
  ]


def train_command(
  words: list[str], stage: Stage, steps: int
) -> tuple[list[str], dict[str, str]]:
  """Returns the command of a stretch of a run, and its variables.

  Args:
    words: the run's flags.
    stage: its devices, mesh and processes.
    steps: after which it ends.
  """
  words = [*words, f"--gin.TRAIN_STEPS={steps}"]
  if stage.mesh is not None:
    words.append(f"--gin_file={miniature.RUNS}/parts/mesh.gin")
    words += [f"--gin.{name}={size}" for name, size in stage.mesh.items()]
  if stage.processes > 1:
    command = [_LAUNCHER, str(stage.processes), *words]
    return command, {**os.environ, "DEVICES": str(stage.devices)}
  flag = f"--xla_force_host_platform_device_count={stage.devices}"
  command = [sys.executable, "-m", "rlhf_gap.cli.main", "train", *words]
  return command, {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}


def train(words: list[str], stage: Stage, steps: int) -> None:
  """Runs `rlhf-gap train` to an end.

  Args:
    words: the run's flags.
    stage: its devices, mesh and processes.
    steps: after which it ends.

  Raises:
    subprocess.CalledProcessError: it failed, after printing the reason.
  """
  command, variables = train_command(words, stage, steps)
  subprocess.run(command, env=variables, check=True)


class Processes:
  """The processes of a run, each started separately, as on several hosts."""

  def __init__(
    self, words: list[list[str]], stage: Stage, steps: int, folder: pathlib.Path
  ):
    """Starts them.

    Args:
      words: each one's flags.
      stage: devices of each, and the mesh of all.
      steps: after which the run ends.
      folder: what they print goes there.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
      address = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir(parents=True)
    self._logs = [folder / f"{number}.log" for number in range(len(words))]
    self._started = []
    for number, log in enumerate(self._logs):
      place = [
        f"--coordinator={address}",
        f"--num_processes={len(words)}",
        f"--process_id={number}",
      ]
      one = dataclasses.replace(stage, processes=1)
      command, variables = train_command([*words[number], *place], one, steps)
      with log.open("w") as file:
        started = subprocess.Popen(
          command, env=variables, stdout=file, stderr=subprocess.STDOUT
        )
      self._started.append(started)

  def worker(self, process: int) -> int:
    """Returns the id of the child process that does the work."""
    pid = self._started[process].pid
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return int(children.read_text().split()[0])

  def signal(self, process: int, number: int) -> None:
    """Sends a signal to a process; SIGKILL also goes to its child."""
    worker = self.worker(process)
    self._started[process].send_signal(number)
    if number == signal.SIGKILL:
      os.kill(worker, number)

  def wait_for(self, path: pathlib.Path) -> None:
    """Waits until a file exists.

    Raises:
      RuntimeError: a process ended first.
    """
    while not path.exists():
      if any(started.poll() is not None for started in self._started):
        raise RuntimeError(f"ended before {path}: {self.text(0)}")
      time.sleep(_POLL_SECONDS)

  def wait(self, timeout_seconds: float) -> list[int | None]:
    """Waits for all processes and kills those that do not end.

    Args:
      timeout_seconds: total time to wait.

    Returns:
      Exit codes by process; None for a process that had to be killed.
    """
    until = time.monotonic() + timeout_seconds
    codes: list[int | None] = []
    for number, started in enumerate(self._started):
      try:
        codes.append(started.wait(max(0.1, until - time.monotonic())))
      except subprocess.TimeoutExpired:
        self.signal(number, signal.SIGKILL)
        started.wait()
        codes.append(None)
    return codes

  def text(self, process: int) -> str:
    """Returns a process's output."""
    return self._logs[process].read_text()
