"""Checkpoints of a training run, during training or afterwards."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping

from rlhf_gap import errors, files, records

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
_DESCRIPTION, _COMPLETE = "run.json", "complete"


def checkpoints_of(folder: str) -> list[str]:
  """Returns the complete checkpoints of a run, by step.

  Args:
    folder: the run's folder, with folders checkpoint_<step>.

  Returns:
    Their paths; empty if the run has not saved one yet.

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
  """Yields every existing checkpoint of a run, by step.

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
    poll_seconds: polling interval.
    wait: function that sleeps for a number of seconds.

  Yields:
    Paths, each once; those that appeared together are ordered by step.

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


def run_of(checkpoint: str) -> records.TrainingRun:
  """Returns the run that a checkpoint belongs to.

  Args:
    checkpoint: its folder. One named checkpoint_<step> belongs to the run of
      the folder above it; another, such as a Hugging Face folder, is a run by
      itself.

  Raises:
    UserError: as `describe`.
  """
  folder = os.path.abspath(checkpoint)
  if _CHECKPOINT.fullmatch(os.path.basename(folder)):
    return describe(os.path.dirname(folder))
  return describe(folder)


def describe(folder: str) -> records.TrainingRun:
  """Reads the description of a run from its `run.json`.

  Training writes there what makes the run what it is: text by flat names, such
  as "source": "Online", "objective.loss": "Ipo", "objective.loss.beta": "0.1".

  Args:
    folder: the run's folder. Without the file, the folder's name is all that is
      known.

  Returns:
    The run, named after its folder: `source` is its arm, its loss the method,
    and everything else except paths a hyper-parameter: the location of a run's
    inputs is not part of its identity (their fingerprints are).

  Raises:
    UserError: the file is not a JSON object of strings.
  """
  name = os.path.basename(os.path.abspath(folder))
  path = os.path.join(folder, _DESCRIPTION)
  if not os.path.lexists(path):
    return records.TrainingRun(name)
  settings: dict[str, str] = files.read_json(path, dict)
  for key, value in settings.items():
    if not isinstance(value, str):
      raise errors.UserError(
        f"{path}: does not describe a run ({key} is {value!r:.80}); expected"
        " what `rlhf-gap train` writes, a JSON object of strings"
      )
  try:
    seed = int(settings.get("seed", "0"))
  except ValueError as error:
    raise errors.UserError(
      f"{path}: does not describe a run (seed={settings['seed']}); expected"
      " what `rlhf-gap train` writes"
    ) from error
  return records.TrainingRun(
    name,
    arm=settings.get("source", "").lower(),
    method=settings.get(
      "objective.loss", settings.get("objective", "")
    ).lower(),
    hyperparameters={
      name: value
      for name, value in settings.items()
      if "/" not in value and not _is_of_input(name, settings)
    },
    seed=seed,
  )


def _is_of_input(name: str, settings: Mapping[str, str]) -> bool:
  """Whether a setting is an input's path or size: its fingerprint decides."""
  return f"{name.removesuffix('.rows')}.sha256" in settings
