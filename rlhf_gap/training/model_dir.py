"""A run's folder: whose it is, and that one process at a time writes it."""

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from rlhf_gap import errors

_IDENTITY = "run.json"
_ENVIRONMENT = "environment.json"
_LOCK = "lock"
COMPLETE = "complete"


@contextlib.contextmanager
def locked(model_dir: str) -> Iterator[None]:
  """Holds a run's folder for this process.

  Args:
    model_dir: the folder; it is made if need be.

  Yields:
    Nothing; the lock goes with the block, or with the process if it is killed.

  Raises:
    UserError: another process trains there, or the folder cannot be made.
  """
  try:
    os.makedirs(model_dir, exist_ok=True)
  except (FileExistsError, NotADirectoryError) as error:
    raise errors.UserError(
      f"{model_dir}: is a file, not a folder; choose another MODEL_DIR"
    ) from error
  with open(os.path.join(model_dir, _LOCK), "w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise errors.UserError(
        f"{model_dir}: another process is training there; wait for it, stop it,"
        " or choose another MODEL_DIR"
      ) from None
    yield


def claim(model_dir: str, identity: Mapping[str, str]) -> None:
  """Makes the folder this run's, or checks that it is.

  Args:
    model_dir: the run's folder.
    identity: what makes the run what it is, by name: a restart must have all
      of it in common with the run that it goes on with.

  Raises:
    UserError: the folder holds another run; the differences are named.
  """
  path = os.path.join(model_dir, _IDENTITY)
  found = identity_of(model_dir)
  if not found:
    others = [n for n in os.listdir(model_dir) if n.startswith("checkpoint_")]
    if others:
      raise errors.UserError(
        f"{model_dir} holds {sorted(others)[0]}, which no run of ours wrote;"
        " choose another MODEL_DIR"
      )
    _write(path, json.dumps(dict(identity), indent=1, sort_keys=True))
    return
  differing = [
    f"{name} was {found.get(name, 'not set')}, is"
    f" {identity.get(name, 'not set')}"
    for name in sorted(set(found) | set(identity))
    if found.get(name) != identity.get(name)
  ]
  if differing:
    shown = "; ".join(differing[:4])
    more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
    raise errors.UserError(
      f"{model_dir} holds another run ({shown}{more}); choose another MODEL_DIR"
      " or repeat that run as it was"
    )


def identity_of(model_dir: str) -> dict[str, str]:
  """Returns what `claim` was given; {} where no run of ours lies."""
  return _read_json(os.path.join(model_dir, _IDENTITY))


def has_same_devices(model_dir: str, mesh: str = "None") -> bool:
  """Returns whether devices and mesh are those that the run last began with.

  Args:
    model_dir: the run's folder; a new one has begun with none, so with these.
    mesh: how the devices share the work.
  """
  before = _read_json(os.path.join(model_dir, _ENVIRONMENT))
  before = before and {"mesh": "None", **before}
  now = _devices(mesh)
  return not before or all(before[name] == now[name] for name in now)


def _devices(mesh: str) -> dict[str, str | int]:
  devices = jax.devices()
  return {
    "devices": f"{len(devices)} x {devices[0].device_kind}",
    "processes": jax.process_count(),
    "mesh": mesh,
  }


def note_environment(
  model_dir: str, config_text: str, seed: int, mesh: str = "None"
) -> None:
  """Writes what the run is made with beside its results.

  Args:
    model_dir: the run's folder.
    config_text: the operative gin configuration.
    seed: the run's.
    mesh: how the devices share the work.
  """
  environment = {
    **_devices(mesh),
    "git_commit": _git_commit(),
    "jax": jax.__version__,
    "seed": seed,
    "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
  }
  text = json.dumps(environment, indent=1, sort_keys=True)
  _write(os.path.join(model_dir, _ENVIRONMENT), text)
  _write(os.path.join(model_dir, "config.gin"), config_text)


def mark_begun(model_dir: str) -> None:
  """Says to whoever follows the run that it goes on."""
  with contextlib.suppress(FileNotFoundError):
    os.remove(os.path.join(model_dir, COMPLETE))


def mark_complete(model_dir: str, step: int) -> None:
  """Says to whoever follows the run that `step` was its last."""
  _write(os.path.join(model_dir, COMPLETE), f"{step}\n")


def completed_step(model_dir: str) -> int | None:
  """Returns the last step of a run that has ended; None while it goes on."""
  try:
    with open(os.path.join(model_dir, COMPLETE), encoding="utf-8") as file:
      return int(file.read())
  except (FileNotFoundError, ValueError):
    return None


def _read_json(path: str) -> dict[str, Any]:
  if not os.path.exists(path):
    return {}
  with open(path, encoding="utf-8") as file:
    return json.load(file)


def _write(path: str, text: str) -> None:
  partial = f"{path}.partial"
  with open(partial, "w", encoding="utf-8") as file:
    file.write(text)
  os.replace(partial, path)


def _git_commit() -> str:
  folder = os.path.dirname(os.path.abspath(__file__))
  command = ["git", "-C", folder, "rev-parse", "HEAD"]
  try:
    found = subprocess.run(
      command, capture_output=True, text=True, check=True, timeout=10
    )
  except (OSError, subprocess.SubprocessError):
    return ""
  return found.stdout.strip()
