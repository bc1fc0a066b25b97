"""The checkpoints of a training run, while it trains or after."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator

from rlhf_gap import errors, records

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
_DESCRIPTION, _COMPLETE = "run.json", "complete"


def checkpoints_of(folder: str) -> list[str]:
  """Returns the whole checkpoints of a run, by step.

  Args:
    folder: the run's folder, with folders checkpoint_<step>.

  Returns:
    Their paths; none where the run has not saved one yet.

  Raises:
    UserError: there is no such folder.
  """
  if not os.path.isdir(folder):
    raise errors.UserError(
      f"{folder}: no such folder; expected a run with folders checkpoint_<step>"
    )
  # Half-written ones have other names (`checkpoint_100.tmp-...`).
  matches = map(_CHECKPOINT.fullmatch, os.listdir(folder))
  found = sorted((int(match[1]), match[0]) for match in matches if match)
  return [os.path.join(folder, name) for _, name in found]


def all_of(folder: str) -> Iterator[str]:
  """Yields every checkpoint of a run that there is now, by step.

  Args:
    folder: the run's folder.

  Yields:
    Paths.

  Raises:
    UserError: there is none.
  """
  found = checkpoints_of(folder)
  if not found:
    raise errors.UserError(
      f"{folder}: holds no folder checkpoint_<step>; is it a run's folder, and"
      " has the run saved a checkpoint?"
    )
  yield from found


def follow(
  folder: str,
  *,
  poll_seconds: float,
  wait: Callable[[float], object] = time.sleep,
) -> Iterator[str]:
  """Yields the checkpoints of a run as they appear, until it is complete.

  Args:
    folder: the run's folder; a file `complete` in it ends the wait.
    poll_seconds: how long to wait before looking again.
    wait: waits that long.

  Yields:
    Paths, each once, by step among those that appeared together.

  Raises:
    UserError: there is no such folder.
  """
  seen: set[str] = set()
  while True:
    # Before looking: a checkpoint saved in between is found the next time.
    done = os.path.exists(os.path.join(folder, _COMPLETE))
    new = [path for path in checkpoints_of(folder) if path not in seen]
    for path in new:
      seen.add(path)
      yield path
    if done:
      return
    if not new:
      wait(poll_seconds)


def describe(folder: str) -> records.Run:
  """Returns what a run's `run.json` says of it.

  Of the file's keys, `name`, `arm`, `method`, `hyperparameters` and `seed` are
  read (see `records.Run`).

  Args:
    folder: the run's folder. Without the file, its own name is the run's.

  Raises:
    UserError: the file is no JSON object.
  """
  name = os.path.basename(os.path.abspath(folder))
  path = os.path.join(folder, _DESCRIPTION)
  try:
    with open(path, encoding="utf-8") as file:
      fields = json.load(file)
  except FileNotFoundError:
    return records.Run(name)
  except ValueError as error:
    raise errors.UserError(
      f"{path}: cut short or no JSON ({error}); expected the description of a"
      " run"
    ) from error
  if not isinstance(fields, dict):
    raise errors.UserError(f"{path}: expected a JSON object")
  known = ("name", "arm", "method", "hyperparameters", "seed")
  return records.Run(
    **{"name": name} | {key: fields[key] for key in known if key in fields}
  )
