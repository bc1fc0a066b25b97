"""Checks that all processes of a run use the same code and settings."""

import hashlib
import json
import pathlib
import platform
import socket
from collections.abc import Mapping
from importlib import metadata

import rlhf_gap
from rlhf_gap import errors
from rlhf_gap.processes import board as boards

# Packages whose version affects results or how processes communicate.
_PACKAGES = (
  "jax",
  "jaxlib",
  "libtpu",
  "flax",
  "optax",
  "orbax-checkpoint",
  "numpy",
)
_MAX_SHOWN = 3


def facts(settings: Mapping[str, str]) -> dict[str, str]:
  """Returns everything that must be equal on all hosts, by name.

  Args:
    settings: the run's settings, by name.

  Returns:
    The settings, a hash of every source file of this package, and the versions
    of Python and relevant packages.
  """
  root = pathlib.Path(rlhf_gap.__file__).parent
  files = {
    f"rlhf_gap/{path.relative_to(root).as_posix()}": _hash(path.read_bytes())
    for path in sorted(root.rglob("*.py"))
  }
  versions = {name: _version(name) for name in _PACKAGES}
  python = {"Python": platform.python_version()}
  return {**settings, **files, **versions, **python}


def check(
  board: boards.Board, process: int, count: int, mine: Mapping[str, str]
) -> None:
  """Compares every process's facts with those of process 0.

  Processes compare hashes first and list differences only if the hashes differ.
  All processes raise the same error.

  Args:
    board: the board that the processes share.
    process: this process's number.
    count: number of processes.
    mine: this process's `facts`.

  Raises:
    UserError: a process was started with different code or settings.
  """
  text = json.dumps(dict(sorted(mine.items())))
  host = socket.gethostname()
  if process == 0:
    board.post("start/facts", text)
    board.post("start/host", host)
    board.post("start/hash", _hash(text.encode()))
  verdict = ""
  if board.wait_for("start/hash") != _hash(text.encode()):
    theirs = json.loads(board.wait_for("start/facts"))
    verdict = (
      f"process {process} ({host}) and process 0"
      f" ({board.wait_for('start/host')}) were started differently:"
      f" {difference(mine, theirs)}; give all hosts the same gin files and code"
    )
  board.post(f"start/verdicts/{process}", verdict)
  boards.meet(board, "start/compared", process, count)
  verdicts = board.under("start/verdicts")
  # The board disappears with process 0, so nobody leaves until all have read.
  boards.meet(board, "start/read", process, count)
  for number in sorted(verdicts, key=int):
    if verdicts[number]:
      raise errors.UserError(verdicts[number])


def difference(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
  """Describes the differences: "NAME is A against B".

  Args:
    mine: a process's facts.
    theirs: the facts of process 0.
  """
  differing = sorted(
    name
    for name in mine.keys() | theirs.keys()
    if mine.get(name) != theirs.get(name)
  )
  shown = "; ".join(
    f"{name} is {mine.get(name, 'not set')} against"
    f" {theirs.get(name, 'not set')}"
    for name in differing[:_MAX_SHOWN]
  )
  more = len(differing) - _MAX_SHOWN
  return f"{shown} and {more} more" if more > 0 else shown


def _version(package: str) -> str:
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:  # such as libtpu without a TPU
    return "not installed"


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:16]
