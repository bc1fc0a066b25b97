"""Processes that run stages: one per core, each with its own compiled programs.

A miniature is too small for two cores to share a matrix product. Two stages in
parallel, each on its own core, do nearly twice the work. A process runs many
stages, so imports and compilations happen once.
"""

import concurrent.futures
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable

# argv -> exit code
Execute = Callable[[list[str]], int]

_PR_SET_PDEATHSIG = 1
# glibc's mallopt: returning memory to the system after every step, and
# requesting it again in the next, took a third of a miniature step's time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_BYTES, _MOST_MMAP_BYTES = 2**31 - 1, 2**25
# glibc reads it when a process starts and then uses 2 MiB pages for the heap.
# With both, a step of a miniature preference model took 85 ms instead of 140.
_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def pool(num_workers: int) -> concurrent.futures.ProcessPoolExecutor:
  """Returns processes that end when this one does, even if it is killed.

  Args:
    num_workers: number of processes; each is pinned to its share of the cores.

  Returns:
    The pool. Its processes have not imported JAX yet.
  """
  os.environ.setdefault(_TUNABLES, _HUGE_PAGES)
  context = multiprocessing.get_context("spawn")
  shares = context.SimpleQueue()
  for share in _shares(num_workers):
    shares.put(share)
  return concurrent.futures.ProcessPoolExecutor(
    num_workers,
    mp_context=context,
    initializer=_settle_in,
    initargs=(shares, os.getpid()),
  )


def _shares(num_workers: int) -> list[list[int]]:
  cores = sorted(os.sched_getaffinity(0))
  return [cores[i::num_workers] or cores for i in range(num_workers)]


def _settle_in(
  shares: "multiprocessing.SimpleQueue[list[int]]", parent: int
) -> None:
  # A worker must not outlive a killed study, because it would keep the lock of
  # its run's folder.
  libc = ctypes.CDLL(None)
  libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    os._exit(1)
  libc.mallopt(_M_TRIM_THRESHOLD, _MOST_BYTES)
  libc.mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_BYTES)
  # The study handles Ctrl-C and ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # Before JAX is imported: it starts one thread per available core.
  os.sched_setaffinity(0, shares.get())


def run(execute: Execute, argv: list[str], log_path: str) -> tuple[int, float]:
  """Runs one command in this process, with its output in a file.

  Args:
    execute: the entry point of the command line.
    argv: the arguments after the program's name.
    log_path: the file to which standard output and error are appended.

  Returns:
    The exit code and the wall time in seconds.
  """
  start = time.monotonic()
  os.makedirs(os.path.dirname(log_path), exist_ok=True)
  with open(log_path, "ab", buffering=0) as log:
    log.write(f"$ rlhf-gap {' '.join(argv)}\n".encode())
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    try:
      code = _guarded(execute, argv)
    finally:
      sys.stdout.flush()
      sys.stderr.flush()
      for kept, number in zip(before, (1, 2), strict=True):
        os.dup2(kept, number)
        os.close(kept)
  return code, time.monotonic() - start


def _guarded(execute: Execute, argv: list[str]) -> int:
  try:
    return execute(argv)
  except SystemExit as stop:  # a misused flag
    return int(stop.code) if isinstance(stop.code, int) else 1
  except Exception:
    # The log gets the traceback; the study continues with the stages that do
    # not need this one.
    sys.excepthook(*sys.exc_info())
    return 1
