"""Runs the stages of a study that are not done, as many at once as may be."""

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
  """How a stage stands.

  Attributes:
    status: "done", "failed", "blocked" (by one that failed) or "missing".
    seconds: wall time, where it ran.
    reason: why it is not done.
  """

  status: str
  seconds: float = 0.0
  reason: str = ""


@contextlib.contextmanager
def locked(workdir: str, only: Sequence[str] = ()) -> Iterator[None]:
  """Holds a study's folder, or some stages of it, for this process.

  Args:
    workdir: the folder; it is made if need be.
    only: names of stages; others may run elsewhere at the same time. Empty
      holds the whole folder.

  Raises:
    UserError: another process runs a study or such a stage there.
  """
  os.makedirs(workdir, exist_ok=True)
  with contextlib.ExitStack() as locks:
    kind = fcntl.LOCK_SH if only else fcntl.LOCK_EX
    path = os.path.join(workdir, "lock")
    locks.enter_context(_held(path, kind, f"{workdir}: this study"))
    ledger = Ledger(workdir)
    for name in sorted(only):
      path = ledger.lock_path(name)
      os.makedirs(os.path.dirname(path), exist_ok=True)
      what = f"{workdir}: the stage {name}"
      locks.enter_context(_held(path, fcntl.LOCK_EX, what))
    yield


@contextlib.contextmanager
def _held(path: str, kind: int, what: str) -> Iterator[None]:
  # Shared locks over NFS ask for a file that may be read.
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
  ledger, found = Ledger(workdir), {}
  for name, recipe in recipes(stages).items():
    done = ledger.read(name)
    if done is None and os.path.exists(os.path.join(workdir, name)):
      # What a kill left of another recipe cannot be gone on with.
      now = here(recipe, workdir)
      changed = what_changed(ledger.begun(name) or now, now)
      found[name] = Result("stale" if changed else "missing", reason=changed)
    elif done is None:
      found[name] = Result("missing")
    elif fingerprint(done.recipe) == fingerprint(recipe):
      found[name] = Result("done", done.seconds)
    else:
      changed = what_changed(done.recipe, recipe)
      found[name] = Result("stale", done.seconds, changed)
  return found


def here(recipe: Mapping[str, str], workdir: str) -> dict[str, str]:
  """Returns a recipe with the study's folder: half a stage cannot be moved."""
  return {**recipe, "folder": os.path.abspath(workdir)}


def forget_stale(
  stages: Sequence[Stage],
  workdir: str,
  *,
  force: bool,
  only: Sequence[str] = (),
) -> None:
  """Makes stale stages be built again.

  Args:
    stages: the study's.
    workdir: its folder.
    force: whether to; their output is removed.
    only: names of the stages to look at; all if empty.

  Raises:
    UserError: a stage is stale and `force` is not set.
  """
  ledger = Ledger(workdir)
  for name, result in standing(stages, workdir).items():
    if result.status != "stale" or (only and name not in only):
      continue
    if not force:
      raise errors.UserError(
        f"{workdir}: the stage {name} was made otherwise ({result.reason});"
        " --force builds it and what depends on it again, or choose another"
        " --workdir"
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
  """Runs what is missing.

  Args:
    stages: the study's, in order.
    workdir: its folder.
    execute: the command line's entry.
    num_workers: processes at once.
    only: names of the stages to run; all if empty.

  Returns:
    How every stage stands. One that fails holds up those that need it alone.
  """
  return _Run(stages, workdir, execute, only).go(num_workers)


class _Run:
  """The stages that wait, run and have ended."""

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
            break  # what waits needs a stage that failed or was not asked for
          bar.note(", ".join(s.name for s in self._running.values()))
          bar.update(self._take_ended())
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
    still = []
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
        still.append(stage)
    return still

  def _take_ended(self) -> int:
    ended, _ = concurrent.futures.wait(
      self._running, return_when=concurrent.futures.FIRST_COMPLETED
    )
    for future in ended:
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
    return len(ended)

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
    lacking = [n for n in stage.needs if self._results[n].status != "done"]
    if not lacking:
      return "a process died beside it; run the same command again"
    return f"needs {', '.join(lacking)}"


def _last_line(path: str) -> str:
  with open(path, encoding="utf-8", errors="replace") as file:
    lines = [line.strip() for line in file if line.strip()]
  return lines[-1] if lines else "no output"
