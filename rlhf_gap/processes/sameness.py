"""Whether all processes of a run were started from the same files."""

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

# Whose versions change what is computed, or how processes talk.
_PACKAGES = (
  "jax",
  "jaxlib",
  "libtpu",
  "flax",
  "optax",
  "orbax-checkpoint",
  "numpy",
)
_SHOWN = 3


def facts(settings: Mapping[str, str]) -> dict[str, str]:
  """Returns what must be equal on all hosts, by name.

  Args:
    settings: the run's, by name.

  Returns:
    The settings, a hash of every file of this package, and versions.
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

  Hashes are exchanged, and what differs is named where one differs. All
  processes raise the same error.

  Args:
    board: what the processes share.
    process: this one's number.
    count: how many there are.
    mine: its `facts`.

  Raises:
    UserError: a process was started from other files.
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
  # Read by all before the first leaves and, with process 0, the board.
  boards.meet(board, "start/read", process, count)
  for number in sorted(verdicts, key=int):
    if verdicts[number]:
      raise errors.UserError(verdicts[number])


def difference(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
  """Names what differs: "NAME is A here and B there".

  Args:
    mine: facts.
    theirs: facts of process 0.
  """
  differing = sorted(
    name
    for name in mine.keys() | theirs.keys()
    if mine.get(name) != theirs.get(name)
  )
  shown = "; ".join(
    f"{name} is {mine.get(name, 'not set')} against"
    f" {theirs.get(name, 'not set')}"
    for name in differing[:_SHOWN]
  )
  more = len(differing) - _SHOWN
  return f"{shown} and {more} more" if more > 0 else shown


def _version(package: str) -> str:
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:  # libtpu, where there is no TPU
    return "not installed"


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:16]
