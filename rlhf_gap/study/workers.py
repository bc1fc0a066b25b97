"""Processes that run stages: one a core, each with its own compiled programs.

A miniature is too small for two cores to share a matrix product: two stages
side by side, each on a core of its own, do nearly twice the work. A process
stays for many stages, so that imports and compiled programs are paid for once.
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
# glibc's mallopt: memory given back to the system after every step, and asked
# for again in the next, was a third of a miniature step's time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_BYTES, _MOST_MMAP_BYTES = 2**31 - 1, 2**25
# glibc reads it where a process begins: its heap in pages of 2 MiB. With both a
# step of a miniature preference model took 85 ms instead of 140.
_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def pool(num_workers: int) -> concurrent.futures.ProcessPoolExecutor:
  """Returns processes that end when this one does, even if it is killed.

  Args:
    num_workers: how many; each gets a share of the cores to itself.

  Returns:
    The pool; JAX is not imported in it yet.
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
  # A worker must not outlive a study that was killed: it would go on holding
  # its run's folder.
  libc = ctypes.CDLL(None)
  libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    os._exit(1)
  libc.mallopt(_M_TRIM_THRESHOLD, _MOST_BYTES)
  libc.mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_BYTES)
  # Ctrl-C is for the study, which ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # Before JAX is imported: it makes as many threads as it may use cores.
  os.sched_setaffinity(0, shares.get())


def run(execute: Execute, argv: list[str], log_path: str) -> tuple[int, float]:
  """Runs one command in this process, its output in a file.

  Args:
    execute: the command line's entry.
    argv: the words after the program's name.
    log_path: where standard output and error go; it is appended to.

  Returns:
    The exit code, and wall seconds.
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
    # The log gets what a person would have seen; the study goes on with the
    # stages that do not need this one.
    sys.excepthook(*sys.exc_info())
    return 1
