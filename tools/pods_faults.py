"""What `tools/check_pods.py` does to runs of two processes, and must find."""

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

# Short, for a check that waits for them; long next to a busy machine, where a
# compilation must not be taken for a hang.
_DEAD_SECONDS, _HUNG_SECONDS = 15, 90
# For noticing, last words and the end of a Python program.
_SLACK_SECONDS = 30
# A run with all its compilations.
_RUN_SECONDS = 1200
_PTRACE_ATTACH = 16
_WAIT_FOR_THREADS = 0x40000000  # Linux: __WALL


def contents(folder: pathlib.Path, steps: int) -> dict[str, object]:
  """Returns what two equal runs have in common, bit for bit.

  Args:
    folder: the run's.
    steps: its last.
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
  """Online runs of two processes that something happens to."""

  def __init__(
    self,
    root: pathlib.Path,
    steps: int,
    made: miniature.Miniature,
    stage: pods_launching.Stage,
    undisturbed: pathlib.Path,
  ):
    """Takes what the runs have in common.

    Args:
      root: where they go.
      steps: of each run, at least 6.
      made: stores, policy and judge.
      stage: the devices of each process and their mesh.
      undisturbed: the folder of the same run, made in one go.
    """
    self._root, self._steps, self._made = root, steps, made
    self._stage, self._undisturbed = stage, undisturbed

  def check(self, quick: bool) -> list[str]:
    """Disturbs runs, prints as it goes, and returns the faults.

    Args:
      quick: whether to leave out all but two files and one kill.
    """
    faults = self._different() + self._killed(1, "process 1 (")
    if not quick:
      faults += self._killed(0, "process 0") + self._hung() + self._stopped()
    return faults

  def _words(self, folder: pathlib.Path) -> list[str]:
    return [
      *pods_launching.train_flags("online", self._made, folder),
      # Wherever it is disturbed, a checkpoint is near.
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
    """Process 1 is started with another setting than process 0."""
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
    """One process is killed on its way."""
    folder = self._root / f"killed {process}"
    started = self._start(folder)
    started.wait_for(folder / f"checkpoint_{self._steps // 2}")
    begun = time.monotonic()
    started.signal(process, signal.SIGKILL)
    return self._ended(started, folder, process, named, begun + _DEAD_SECONDS)

  def _hung(self) -> list[str]:
    """The main thread of process 1 stops; its others go on: it looks alive."""
    folder = self._root / "hung"
    # Without an end, so that it is in the loop whenever it is stopped.
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
    """Checks how the others end where one is lost; starts all again.

    Args:
      started: the processes.
      folder: the run's.
      process: the one that is lost.
      named: what the other's last line must hold.
      until: when it must have ended, but for some slack; monotonic seconds.
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
    return faults + self._goes_on(name, folder)

  def _stopped(self) -> list[str]:
    """One process gets a SIGTERM; both save at the same step and stop."""
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
    return faults + self._goes_on("stopped", folder)

  def _goes_on(self, name: str, folder: pathlib.Path) -> list[str]:
    """Starts a disturbed run again, and compares it bit for bit."""
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
  """Stops a process's main thread alone, as a debugger does.

  Args:
    worker: the process, a descendant of this one's.

  Yields:
    Nothing; the process must end within the block.
  """
  library = ctypes.CDLL(None, use_errno=True)
  if library.ptrace(_PTRACE_ATTACH, worker, None, None):
    reason = os.strerror(ctypes.get_errno())
    raise RuntimeError(f"cannot stop a thread of process {worker}: {reason}")
  os.waitpid(worker, _WAIT_FOR_THREADS)  # for the stop
  # For the end, which its parent learns of after this process.
  reaper = threading.Thread(
    target=os.waitpid, args=(worker, _WAIT_FOR_THREADS), daemon=True
  )
  reaper.start()
  yield
  reaper.join()


def _last_line(text: str) -> str:
  return text.strip().splitlines()[-1] if text.strip() else ""
