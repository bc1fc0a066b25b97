"""Runs the missing stages of a study, up to `num_workers` at a time."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence

from rlhf_gap import errors, progress
from rlhf_gap.study import workers
from rlhf_gap.study.stages import (
  Done,
  Ledger,
  Stage,
  fingerprint,
  recipes,
  what_changed,
)


@dataclasses.dataclass(frozen=True)
class Result:
  """The status of a stage.

  Attributes:
    status: "done", "failed", "blocked" (by one that failed) or "missing".
    seconds: wall time, if it ran.
    reason: why it is not done.
  """

  status: str
  seconds: float = 0.0
  reason: str = ""


@contextlib.contextmanager
def locked(workdir: str, only: Sequence[str] = ()) -> Iterator[None]:
  """Locks a study's folder, or some of its stages, for this process.

  Args:
    workdir: the folder; created if it does not exist.
    only: names of stages to lock, so that other processes may run other stages.
      Empty locks the whole folder.

  Raises:
    UserError: another process runs the study or one of these stages.
  """
  os.makedirs(workdir, exist_ok=True)
  with contextlib.ExitStack() as locks:
    kind = fcntl.LOCK_SH if only else fcntl.LOCK_EX
    path = os.path.join(workdir, "lock")
    locks.enter_context(_locked_file(path, kind, f"{workdir}: this study"))
    ledger = Ledger(workdir)
    for name in sorted(only):
      path = ledger.lock_path(name)
      os.makedirs(os.path.dirname(path), exist_ok=True)
      what = f"{workdir}: the stage {name}"
      locks.enter_context(_locked_file(path, fcntl.LOCK_EX, what))
    yield


@contextlib.contextmanager
def _locked_file(path: str, kind: int, what: str) -> Iterator[None]:
  # Shared locks over NFS need a readable file.
  with open(path, "a+", encoding="utf-8") as file:
    try:
      fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
      raise errors.UserError(
        f"{what} is being run by another process; wait for it, or choose"
        " another --workdir"
      ) from None
    yield


def standing(stages: Sequence[Stage], workdir: str) -> dict[str, Result]:
  """Returns which stages are done, and which are stale.

  Args:
    stages: the study's.
    workdir: its folder.

  Returns:
    By name: "done", "stale" with what changed as the reason, or "missing".
  """
  ledger, results = Ledger(workdir), {}
  for name, recipe in recipes(stages).items():
    done = ledger.read(name)
    if done is None and os.path.exists(os.path.join(workdir, name)):
      # A killed stage with another recipe cannot be resumed.
      now = here(recipe, workdir)
      changed = what_changed(ledger.begun(name) or now, now)
      results[name] = Result("stale" if changed else "missing", reason=changed)
    elif done is None:
      results[name] = Result("missing")
    elif fingerprint(done.recipe) == fingerprint(recipe):
      results[name] = Result("done", done.seconds)
    else:
      changed = what_changed(done.recipe, recipe)
      results[name] = Result("stale", done.seconds, changed)
  return results


def here(recipe: Mapping[str, str], workdir: str) -> dict[str, str]:
  """Adds the study's folder: an unfinished stage cannot be moved."""
  return {**recipe, "folder": os.path.abspath(workdir)}


def forget_stale(
  stages: Sequence[Stage],
  workdir: str,
  *,
  force: bool,
  only: Sequence[str] = (),
) -> None:
  """Removes stale stages, so that they run again.

  Args:
    stages: the study's stages.
    workdir: its folder.
    force: whether to remove them and their output.
    only: names of the stages to consider; all if empty.

  Raises:
    UserError: a stage is stale and `force` is not set.
  """
  ledger = Ledger(workdir)
  for name, result in standing(stages, workdir).items():
    if result.status != "stale" or (only and name not in only):
      continue
    if not force:
      raise errors.UserError(
        f"{workdir}: the stage {name} was run with other inputs"
        f" ({result.reason}); --force runs it and its dependants again, or"
        " choose another --workdir"
      )
    ledger.forget(name)
    shutil.rmtree(os.path.join(workdir, name), ignore_errors=True)


def run(
  stages: Sequence[Stage],
  workdir: str,
  execute: workers.Execute,
  *,
  num_workers: int,
  only: Sequence[str] = (),
) -> dict[str, Result]:
  """Runs the missing stages.

  Args:
    stages: the study's stages, in order.
    workdir: its folder.
    execute: the entry point of the command line.
    num_workers: number of processes.
    only: names of the stages to run; all if empty.

  Returns:
    The status of every stage. A failed stage blocks only those that need it.
  """
  return _Run(stages, workdir, execute, only).go(num_workers)


class _Run:
  """State of one call of `run`."""

  def __init__(
    self,
    stages: Sequence[Stage],
    workdir: str,
    execute: workers.Execute,
    only: Sequence[str],
  ):
    self._stages, self._workdir, self._execute = stages, workdir, execute
    self._only = set(only)
    self._ledger = Ledger(workdir)
    self._recipes = recipes(stages)
    self._results = standing(stages, workdir)
    self._running: dict[concurrent.futures.Future, Stage] = {}

  def go(self, num_workers: int) -> dict[str, Result]:
    wanted = [s for s in self._stages if self._wanted(s)]
    waiting = [s for s in wanted if self._results[s.name].status != "done"]
    with (
      progress.bar("study", len(wanted), "stages") as bar,
      workers.pool(num_workers) as pool,
    ):
      bar.update(len(wanted) - len(waiting))
      try:
        while waiting or self._running:
          waiting = self._start_ready(pool, waiting, num_workers)
          if not self._running:
            break  # the others need a stage that failed or was not requested
          bar.note(", ".join(s.name for s in self._running.values()))
          bar.update(self._collect_finished())
      except concurrent.futures.BrokenExecutor:
        pass  # a process died, and with it the pool: see `_blocker`
      except BaseException:
        for process in list((pool._processes or {}).values()):
          process.kill()
        raise
    for stage in waiting:
      self._results[stage.name] = Result("blocked", reason=self._blocker(stage))
    return self._results

  def _wanted(self, stage: Stage) -> bool:
    return not self._only or stage.name in self._only

  def _start_ready(
    self,
    pool: concurrent.futures.ProcessPoolExecutor,
    waiting: list[Stage],
    num_workers: int,
  ) -> list[Stage]:
    still_waiting = []
    for stage in waiting:
      ready = all(self._results[n].status == "done" for n in stage.needs)
      if ready and len(self._running) < num_workers:
        log = self._ledger.log_path(stage.name)
        argv = stage.argv(self._workdir)
        recipe = here(self._recipes[stage.name], self._workdir)
        self._ledger.begin(stage.name, recipe)
        self._running[pool.submit(workers.run, self._execute, argv, log)] = (
          stage
        )
      else:
        still_waiting.append(stage)
    return still_waiting

  def _collect_finished(self) -> int:
    finished, _ = concurrent.futures.wait(
      self._running, return_when=concurrent.futures.FIRST_COMPLETED
    )
    for future in finished:
      stage = self._running.pop(future)
      result = self._result_of(future, stage)
      self._results[stage.name] = result
      if result.status == "done":
        done = Done(self._recipes[stage.name], round(result.seconds, 2))
        self._ledger.write(stage.name, done)
      stamp = time.strftime("%H:%M:%S")
      why = f": {result.reason}" if result.reason else ""
      print(
        f"{stamp} {stage.name}: {result.status}, {result.seconds:.1f} s{why}",
        flush=True,
      )
    return len(finished)

  def _result_of(
    self, future: concurrent.futures.Future, stage: Stage
  ) -> Result:
    log = self._ledger.log_path(stage.name)
    try:
      code, seconds = future.result()
    except concurrent.futures.BrokenExecutor:
      return Result("failed", reason=f"its process died; see {log}")
    if code:
      return Result("failed", seconds, f"{_last_line(log)} ({log})")
    return Result("done", seconds)

  def _blocker(self, stage: Stage) -> str:
    unfinished = [n for n in stage.needs if self._results[n].status != "done"]
    if not unfinished:
      return "another stage's process died; rerun the same command"
    return f"needs {', '.join(unfinished)}"


def _last_line(path: str) -> str:
  with open(path, encoding="utf-8", errors="replace") as file:
    lines = [line.strip() for line in file if line.strip()]
  return lines[-1] if lines else "no output"
