"""Disturbs runs of two processes, for `tools/check_pods.py`."""

import contextlib
import ctypes
import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator

import miniature
import pods_launching

from rlhf_gap import checkpoints, errors
from rlhf_gap.training import metric_log

# Short, because the check waits for them, but long enough that a compilation on
# a busy machine does not count as a hang.
_DEAD_SECONDS, _HUNG_SECONDS = 15, 90
# Allowance for detection, the final message and interpreter shutdown.
_SLACK_SECONDS = 30
# Limit of a whole run, including its compilations.
_RUN_SECONDS = 1200
_PTRACE_ATTACH = 16
_WAIT_FOR_THREADS = 0x40000000  # Linux: __WALL


def contents(folder: pathlib.Path, steps: int) -> dict[str, object]:
  """Returns everything that is bitwise equal between two equal runs.

  Args:
    folder: the run's folder.
    steps: the run's last step.
  """
  found: dict[str, object] = {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted((folder / "pairs").rglob("*"))
    if path.is_file()
  }
  found["parameters"] = checkpoints.fingerprint(folder / f"checkpoint_{steps}")
  for line in metric_log.read(str(folder)):
    found[f"metrics of step {line['step']}"] = metric_log.without_times(line)
  return found


class Disturbed:
  """Disturbs online runs of two processes and checks how they end."""

  def __init__(
    self,
    root: pathlib.Path,
    steps: int,
    made: miniature.Miniature,
    stage: pods_launching.Stage,
    undisturbed: pathlib.Path,
  ):
    """Stores what the runs have in common.

    Args:
      root: folder for the runs.
      steps: number of steps of each run, at least 6.
      made: stores, policy and judge.
      stage: the devices of each process and their mesh.
      undisturbed: the folder of the same run, made in one go.
    """
    self._root, self._steps, self._made = root, steps, made
    self._stage, self._undisturbed = stage, undisturbed

  def check(self, quick: bool) -> list[str]:
    """Disturbs runs, printing progress, and returns the faults.

    Args:
      quick: whether to check only different settings and one kill.
    """
    faults = self._different() + self._killed(1, "process 1 (")
    if not quick:
      faults += self._killed(0, "process 0") + self._hung() + self._stopped()
    return faults

  def _words(self, folder: pathlib.Path) -> list[str]:
    return [
      *pods_launching.train_flags("online", self._made, folder),
      # Checkpoints at every step, so that there is one before any disturbance.
      "--gin.description.Run.checkpoint_every_steps=1",
      f"--dead_after_seconds={_DEAD_SECONDS}",
    ]

  def _start(
    self,
    folder: pathlib.Path,
    *more_for_the_second: str,
    steps: int | None = None,
    again: str = "",
    hung_seconds: int = _RUN_SECONDS,
  ) -> pods_launching.Processes:
    words = self._words(folder)
    words.append(f"--hung_after_seconds={hung_seconds}")
    return pods_launching.Processes(
      [words, [*words, *more_for_the_second]],
      self._stage,
      steps or self._steps,
      self._root / "logs" / f"{folder.name}{again}",
    )

  def _different(self) -> list[str]:
    """Starts process 1 with a different setting from process 0."""
    folder = self._root / "different"
    started = self._start(folder, "--gin.SEED=1")
    codes = started.wait(_RUN_SECONDS)
    print(f"started differently: exit codes {codes}", flush=True)
    faults = []
    for process, code in enumerate(codes):
      line = _last_line(started.text(process))
      if (
        code != 2
        or "SEED is 1 against 0" not in line
        or "process 1 (" not in line
      ):
        faults.append(f"started differently, process {process}: {code}, {line}")
    if folder.exists():
      faults.append("started differently: the run's folder was made")
    return faults

  def _killed(self, process: int, named: str) -> list[str]:
    """Kills one process midway."""
    folder = self._root / f"killed {process}"
    started = self._start(folder)
    started.wait_for(folder / f"checkpoint_{self._steps // 2}")
    begun = time.monotonic()
    started.signal(process, signal.SIGKILL)
    return self._ended(started, folder, process, named, begun + _DEAD_SECONDS)

  def _hung(self) -> list[str]:
    """Stops the main thread of process 1 while its other threads run on."""
    folder = self._root / "hung"
    # So many steps that the run is in its loop whenever it is stopped.
    started = self._start(folder, steps=10**6, hung_seconds=_HUNG_SECONDS)
    started.wait_for(folder / f"checkpoint_{self._steps // 2}")
    begun = time.monotonic()
    with _stopped_thread(started.worker(1)):
      return self._ended(started, folder, 1, "hang", begun + _HUNG_SECONDS)

  def _ended(
    self,
    started: pods_launching.Processes,
    folder: pathlib.Path,
    process: int,
    named: str,
    until: float,
  ) -> list[str]:
    """Checks how the other process ends when one is lost, then restarts both.

    Args:
      started: the processes.
      folder: the run's folder.
      process: the lost process.
      named: text that the other process's last line must contain.
      until: when it must have ended, plus some slack; monotonic seconds.
    """
    name = folder.name
    code = started.wait(_RUN_SECONDS)[1 - process]
    late = time.monotonic() - until
    line = _last_line(started.text(1 - process))
    print(f"{name}: exit code {code}, {late:+.0f} s: {line}", flush=True)
    faults = []
    if code != errors.PEER_FAILED or named not in line:
      faults.append(f"{name}: exit code {code}, {line}")
    if late > _SLACK_SECONDS:
      faults.append(f"{name}: ended {late:.0f} s late")
    return faults + self._resumes(name, folder)

  def _stopped(self) -> list[str]:
    """Sends SIGTERM to one process; both must save the same step and stop."""
    folder = self._root / "stopped"
    started = self._start(folder)
    started.wait_for(folder / "checkpoint_1")
    started.signal(1, signal.SIGTERM)
    codes = started.wait(_RUN_SECONDS)
    line = _last_line(started.text(0))
    print(f"stopped: exit codes {codes}: {line}", flush=True)
    faults = []
    if codes != [0, 0] or "stopped after" not in line:
      faults.append(f"stopped: exit codes {codes}, {line}")
    return faults + self._resumes("stopped", folder)

  def _resumes(self, name: str, folder: pathlib.Path) -> list[str]:
    """Restarts a disturbed run and compares it bit for bit."""
    started = self._start(folder, again=", again")
    codes = started.wait(_RUN_SECONDS)
    if codes != [0, 0]:
      return [f"{name}, started again: {codes}, {_last_line(started.text(0))}"]
    expected = contents(self._undisturbed, self._steps)
    found = contents(folder, self._steps)
    differing = sorted(
      key
      for key in found.keys() | expected.keys()
      if found.get(key) != expected.get(key)
    )
    print(f"  started again: {len(differing)} of {len(expected)} things differ")
    if differing:
      return [f"{name}, started again: {', '.join(differing[:5])} differ"]
    return []


@contextlib.contextmanager
def _stopped_thread(worker: int) -> Iterator[None]:
  """Stops only a process's main thread, like a debugger.

  Args:
    worker: id of the process, a descendant of this one.

  Yields:
    Nothing; the process must end within the block.
  """
  library = ctypes.CDLL(None, use_errno=True)
  if library.ptrace(_PTRACE_ATTACH, worker, None, None):
    reason = os.strerror(ctypes.get_errno())
    raise RuntimeError(f"cannot stop a thread of process {worker}: {reason}")
  os.waitpid(worker, _WAIT_FOR_THREADS)  # for the stop
  # Reaps the process: its parent learns of its end only after the tracer.
  reaper = threading.Thread(
    target=os.waitpid, args=(worker, _WAIT_FOR_THREADS), daemon=True
  )
  reaper.start()
  yield
  reaper.join()


def _last_line(text: str) -> str:
  return text.strip().splitlines()[-1] if text.strip() else ""
