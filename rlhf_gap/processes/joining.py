"""Joins the processes of a run, synchronises them and ends them together."""

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

Value = TypeVar("Value")

_INTERRUPTED = 130
# Machine errors that are reported in one line, without a traceback.
_PLAIN_OS_ERRORS = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS)
# JAX ends a process without our message, so its timeouts are longer than the
# watch's.
_JAX_TIMEOUT_FACTOR, _JAX_TIMEOUT_EXTRA_SECONDS = 2, 30
_JOIN_TIMEOUT_SECONDS = 300


class _Membership:
  """This process's membership in a multi-process run."""

  def __init__(self, board: boards.Board, watching: watch.Watch):
    self.board, self.watch = board, watching
    self._num_names = 0

  @classmethod
  def of_this_process(
    cls, limits: watch.Limits, parent: int | None
  ) -> "_Membership":
    """Returns the membership that `jax.distributed` assigned."""
    board = boards.ServiceBoard()
    place = jax.process_index(), jax.process_count(), socket.gethostname()
    return cls(board, watch.Watch(board, *place, limits, parent=parent))

  def next_name(self, prefix: str) -> str:
    """Returns an unused board name, the same on every process."""
    self._num_names += 1
    return f"{prefix}/{self._num_names}"


_membership: _Membership | None = None


def count() -> int:
  """Returns the number of processes in the run."""
  return jax.process_count() if _membership else 1


def index() -> int:
  """Returns this process's number, from 0."""
  return jax.process_index() if _membership else 0


def is_first() -> bool:
  """Whether this is process 0, which logs and writes the run's files."""
  return index() == 0


def mark(doing: str) -> None:
  """Reports that this process starts a unit of work, as every process does.

  Args:
    doing: the work's name, for messages about hangs, such as "step 12".
  """
  if _membership:
    _membership.watch.mark(doing)


def meet() -> None:
  """Waits until all processes have called it; a no-op for a single process."""
  if _membership:
    name = _membership.next_name("meetings")
    boards.meet(_membership.board, name, index(), count())


def compile_together(function: Any, *arguments: Any) -> None:
  """Compiles a function and waits until every process has compiled it.

  Collective operations time out (on CPUs after 30 s for the first of a kind),
  and processes may finish compiling further apart than that. Nothing is
  compiled twice. A no-op for a single process.

  Args:
    function: a function returned by `jax.jit`.
    *arguments: the arguments that it will be called with.
  """
  if _membership:
    function.lower(*arguments).compile()
    meet()


def from_first(make: Callable[[], Value]) -> Value:
  """Computes a value on process 0 and returns it on every process.

  For values on which processes could disagree, such as the files in a folder,
  and for values that are expensive to compute.

  Args:
    make: called only on process 0. Its result must be representable in JSON;
      the other processes receive a tuple as a list.

  Returns:
    The same value on every process.
  """
  if _membership is None:
    return make()
  name = _membership.next_name("values")
  if index():
    return json.loads(_membership.board.wait_for(name))
  value = make()
  _membership.board.post(name, json.dumps(value))
  return value


def stops_at(step: int) -> bool:
  """Whether all processes stop after this step because one got a SIGTERM.

  Args:
    step: the run's current step; every process must ask at every step.
  """
  return bool(multihost_utils.reached_preemption_sync_point(step))


def check_same(settings: Mapping[str, str]) -> None:
  """Checks that all processes run the same code with the same settings.

  Args:
    settings: the run's settings, by name. Source files and package versions
      are compared too.

  Raises:
    UserError: a process differs from process 0.
  """
  if _membership:
    facts = sameness.facts(settings)
    sameness.check(_membership.board, index(), count(), facts)


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
  """Joins the other processes of a run and leaves together with them.

  An error on one process ends all of them, with its message and exit code. If a
  process dies or hangs, the others end within the limits. In both cases this
  process exits without returning to the caller, because its main thread may be
  waiting for a process that is gone.

  Args:
    coordinator: HOST:PORT of process 0; None to detect it from SLURM or a TPU's
      metadata.
    num_processes: number of processes in the run; None to detect it.
    process_id: this process's number, from 0; None to detect it.
    limits: when another process is considered lost.
    parent: id of a process whose death ends this one; None for none.
    last_words: takes the line to print if JAX ends this process, which happens
      if the others do not join or the port is taken; called with "" after
      joining.

  Yields:
    Nothing.

  Raises:
    UserError: JAX cannot find the other processes.
  """
  global _membership
  last_words(_cannot_reach_others(coordinator, "see its log above"))
  _initialize(coordinator, num_processes, process_id, limits)
  last_words("")
  if jax.process_index():
    progress.silence()
  _membership = _Membership.of_this_process(limits, parent)
  watching = _membership.watch
  watching.start()
  try:
    yield
    meet()
  except BaseException as error:
    _give_up(watching, error, limits)
  watching.stop()
  _membership = None
  jax.distributed.shutdown()


def _initialize(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  limits: watch.Limits,
) -> None:
  timeout = limits.dead_seconds * _JAX_TIMEOUT_FACTOR
  timeout += _JAX_TIMEOUT_EXTRA_SECONDS
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      initialization_timeout=_JOIN_TIMEOUT_SECONDS,
      heartbeat_timeout_seconds=int(timeout),
    )
  except (RuntimeError, ValueError) as error:  # from the service, by gRPC
    reason = str(error).split("\n")[0]
    raise errors.UserError(_cannot_reach_others(coordinator, reason)) from error


def _cannot_reach_others(coordinator: str | None, reason: str) -> str:
  address = coordinator or "the address from the cluster"
  return (
    f"cannot reach the other processes at {address} ({reason}); start all"
    f" processes within {_JOIN_TIMEOUT_SECONDS} s, with an address that every"
    " host can reach and a free port; if one exited early, its message says why"
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
      # Most likely a collective failed because another process died. The watch
      # finds out which one and ends this process.
      time.sleep(limits.dead_seconds + _JAX_TIMEOUT_EXTRA_SECONDS)
    line, code = f"{type(error).__name__}: {error}".split("\n")[0], 1
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # if process 0 is gone
    watching.give_up(line, code)
  watch.end_now(line, code)
