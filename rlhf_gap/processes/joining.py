"""One run of several processes: joining, watching one another, leaving."""

import contextlib
import errno
import json
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import jax
from jax.experimental import multihost_utils

from rlhf_gap import errors, progress
from rlhf_gap.processes import board as boards
from rlhf_gap.processes import sameness, watch

Told = TypeVar("Told")

_INTERRUPTED = 130
# Faults of the machine that deserve a line, not a traceback.
_PLAIN_OS_ERRORS = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS)
# JAX ends a process without a word of ours: later than the watch does.
_JAX_SLOWER_TIMES, _JAX_SLOWER_SECONDS = 2, 30
_MEETING_SECONDS = 300


class _Joined:
  """This process's place among the others; a program joins once."""

  def __init__(self, board: boards.Board, watching: watch.Watch):
    self.board, self.watch = board, watching
    self.used = 0  # names given to meetings and tellings, alike on all

  @classmethod
  def now(cls, limits: watch.Limits, parent: int | None) -> "_Joined":
    """Takes the place that JAX has given to this process."""
    board = boards.ServiceBoard()
    me = jax.process_index(), jax.process_count(), socket.gethostname()
    return cls(board, watch.Watch(board, *me, limits, parent=parent))


_joined: _Joined | None = None


def count() -> int:
  """Returns how many processes the run has."""
  return jax.process_count() if _joined else 1


def index() -> int:
  """Returns this process's number, from 0."""
  return jax.process_index() if _joined else 0


def is_first() -> bool:
  """Whether this process is the one that logs, draws and records."""
  return index() == 0


def mark(doing: str) -> None:
  """Says that this process begins a piece of work, as all others do.

  Args:
    doing: names the work to whoever reads of a hang, such as "step 12".
  """
  if _joined:
    _joined.watch.mark(doing)


def meet() -> None:
  """Returns once all processes have come here; at once for a single one."""
  if _joined:
    _joined.used += 1
    name = f"meetings/{_joined.used}"
    boards.meet(_joined.board, name, jax.process_index(), jax.process_count())


def compile_together(function: Any, *arguments: Any) -> None:
  """Returns once every process has compiled what all are about to run.

  A collective operation waits for other processes only so long, on CPUs 30 s
  for the first of its kind; compilations may lie further apart. Nothing is
  compiled twice, and nothing is done here for a single process.

  Args:
    function: what `jax.jit` returns.
    *arguments: that it will be called with.
  """
  if _joined:
    function.lower(*arguments).compile()
    meet()


def from_first(make: Callable[[], Told]) -> Told:
  """Returns what process 0 makes, on all processes.

  For what each could find out by itself and find differently, such as the
  files in a folder, or at great cost.

  Args:
    make: called on process 0 alone; returns what JSON holds (a tuple comes
      back as a list elsewhere).

  Returns:
    The same on every process.
  """
  if _joined is None:
    return make()
  _joined.used += 1
  name = f"told/{_joined.used}"
  if jax.process_index():
    return json.loads(_joined.board.wait_for(name))
  made = make()
  _joined.board.post(name, json.dumps(made))
  return made


def stops_at(step: int) -> bool:
  """Whether all processes end with this step: one of them got a SIGTERM.

  Args:
    step: of the run; every process asks at every step.
  """
  return bool(multihost_utils.reached_preemption_sync_point(step))


def check_same(settings: Mapping[str, str]) -> None:
  """Raises `UserError` where a process was started from other files.

  Args:
    settings: the run's, by name; code and versions are compared as well.
  """
  if _joined:
    index, number = jax.process_index(), jax.process_count()
    sameness.check(_joined.board, index, number, sameness.facts(settings))


@contextlib.contextmanager
def joined(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  limits: watch.Limits,
  parent: int | None = None,
  last_words: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
  """Joins the other processes of a run, and leaves with them.

  An error on one process ends them all, with its line and its exit code; a
  process that dies or hangs ends the others within the limits. Neither returns
  to the caller: the main thread of a process may be waiting for one that is
  gone.

  Args:
    coordinator: HOST:PORT of process 0; None where JAX asks the cluster, SLURM
      or a TPU's metadata.
    num_processes: of the run; None likewise.
    process_id: this one's number, from 0; None likewise.
    limits: when another process counts as lost.
    parent: the process that this one ends with; None for none.
    last_words: takes the line to print if JAX ends this process, as it does
      where the others do not come or the port is taken; "" once they have met.

  Yields:
    Nothing.

  Raises:
    UserError: JAX cannot tell where the others are.
  """
  global _joined
  last_words(_cannot_meet(coordinator, "its log, above, has the cause"))
  _initialize(coordinator, num_processes, process_id, limits)
  last_words("")
  if jax.process_index():
    progress.silence()
  _joined = _Joined.now(limits, parent)
  watching = _joined.watch
  watching.start()
  try:
    yield
    meet()
  except BaseException as error:
    _give_up(watching, error, limits)
  watching.stop()
  _joined = None
  jax.distributed.shutdown()


def _initialize(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  limits: watch.Limits,
) -> None:
  slower = int(limits.dead_seconds * _JAX_SLOWER_TIMES + _JAX_SLOWER_SECONDS)
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      initialization_timeout=_MEETING_SECONDS,
      heartbeat_timeout_seconds=slower,
    )
  except (RuntimeError, ValueError) as error:  # the service's, by gRPC
    reason = str(error).split("\n")[0]
    raise errors.UserError(_cannot_meet(coordinator, reason)) from error


def _cannot_meet(coordinator: str | None, reason: str) -> str:
  where = coordinator or "the address that the cluster gives"
  return (
    f"cannot meet the other processes at {where} ({reason}); start all"
    f" processes within {_MEETING_SECONDS} s, with one address that all hosts"
    " reach and a port that is free; if one ended before, its line says why"
  )


def _give_up(
  watching: watch.Watch, error: BaseException, limits: watch.Limits
) -> NoReturn:
  if isinstance(error, errors.UserError):
    line, code = str(error), 2
  elif isinstance(error, OSError) and error.errno in _PLAIN_OS_ERRORS:
    line, code = f"{error.filename or 'a file'}: {error.strerror}", 2
  elif isinstance(error, KeyboardInterrupt):
    line, code = "interrupted", _INTERRUPTED
  elif full := errors.out_of_memory(error):
    line, code = full, 2
  else:
    traceback.print_exception(error)
    if isinstance(error, jax.errors.JaxRuntimeError):
      # Likely a collective that another process broke off by dying: the watch
      # finds out who, and ends this process.
      time.sleep(limits.dead_seconds + _JAX_SLOWER_SECONDS)
    line, code = f"{type(error).__name__}: {error}".split("\n")[0], 1
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # process 0 is gone
    watching.give_up(line, code)
  watch.end_now(line, code)
