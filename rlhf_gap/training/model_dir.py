"""A run's folder: its identity, lock and environment."""

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from rlhf_gap import errors, files
from rlhf_gap.training import identity

_IDENTITY = "run.json"
_ENVIRONMENT = "environment.json"
_LOCK = "lock"
COMPLETE = "complete"


@contextlib.contextmanager
def locked(model_dir: str) -> Iterator[None]:
  """Locks a run's folder for this process.

  The lock is released when the block or the process ends. If the block fails
  before it claims the folder, the lock file and new folders are removed.

  Args:
    model_dir: the folder; created if missing.

  Yields:
    Nothing.

  Raises:
    UserError: another process holds it, or it cannot be created.
  """
  made = _make_folders(model_dir)
  path = os.path.join(model_dir, _LOCK)
  was_there = os.path.exists(path)
  with _held(path, model_dir):
    try:
      yield
    except BaseException:
      if not was_there and not identity_of(model_dir):
        os.remove(path)
        for folder in made:
          with contextlib.suppress(OSError):  # not empty
            os.rmdir(folder)
      raise


def _make_folders(model_dir: str) -> list[str]:
  """Creates a folder; returns the created folders, innermost first."""
  missing, folder = [], os.path.abspath(model_dir)
  while not os.path.exists(folder):
    missing.append(folder)
    folder = os.path.dirname(folder)
  try:
    os.makedirs(model_dir, exist_ok=True)
  except (FileExistsError, NotADirectoryError) as error:
    raise errors.UserError(
      f"{model_dir}: is a file, not a folder; choose another MODEL_DIR"
    ) from error
  return missing


@contextlib.contextmanager
def _held(path: str, model_dir: str) -> Iterator[None]:
  while True:
    with open(path, "w") as lock:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise errors.UserError(
          f"{model_dir}: another process is training there; wait for it, stop"
          " it, or choose another MODEL_DIR"
        ) from None
      if not _is_at(lock.fileno(), path):
        continue  # another process removed the file before it was locked
      yield
      return


def _is_at(descriptor: int, path: str) -> bool:
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def check(model_dir: str, wanted: identity.Identity) -> None:
  """Checks that a folder belongs to this run or to none; writes nothing.

  Args:
    model_dir: the run's folder.
    wanted: what makes the run what it is.

  Raises:
    UserError: the folder holds another run; the differences are named.
  """
  noted = identity_of(model_dir)
  if not noted:
    _check_no_checkpoints(model_dir)
    return
  differing = list(_differences(noted, wanted.before))
  if differing:
    shown = "; ".join(differing[:4])
    more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
    raise errors.UserError(
      f"{model_dir} holds another run ({shown}{more}); choose another MODEL_DIR"
      " or repeat that run as it was"
    )


def claim(model_dir: str, wanted: identity.Identity) -> None:
  """Records the run's identity in its folder, after checking it.

  A `run.json` written before inputs were fingerprinted is completed. This time
  its paths are compared; later, the fingerprints.

  Args:
    model_dir: the run's folder.
    wanted: what makes the run what it is.

  Raises:
    UserError: the folder holds another run; the differences are named.
  """
  check(model_dir, wanted)
  noted = identity_of(model_dir)
  if noted and any(
    name.endswith(identity.SHA256) and name not in noted for name in wanted.now
  ):
    print(
      f"{model_dir}: {_IDENTITY} predates input fingerprints; assuming that"
      " unchanged paths hold unchanged inputs, and recording their"
      " fingerprints",
      flush=True,
    )
  # The recorded paths stay those with which the run began.
  content = {
    name: value
    for name, value in wanted.now.items()
    if name not in noted or name.endswith((identity.SHA256, identity.ROWS))
  }
  if noted | content != noted:
    files.write_json(os.path.join(model_dir, _IDENTITY), noted | content)


def _check_no_checkpoints(model_dir: str) -> None:
  if not os.path.isdir(model_dir):
    return
  others = [n for n in os.listdir(model_dir) if n.startswith("checkpoint_")]
  if others:
    raise errors.UserError(
      f"{model_dir} holds {sorted(others)[0]}, which rlhf-gap did not write;"
      " choose another MODEL_DIR"
    )


def _differences(
  noted: Mapping[str, str], wanted: Mapping[str, str]
) -> Iterator[str]:
  for name in sorted(set(noted) | set(wanted)):
    was, value = noted.get(name), wanted.get(name)
    by_content = f"{name}{identity.SHA256}"
    if was == value or (noted.get(by_content) and wanted.get(by_content)):
      continue
    is_content = name.endswith((identity.SHA256, identity.ROWS))
    if is_content and not (was and value):
      continue  # the path decides
    if name.endswith(identity.SHA256):
      path = wanted[name.removesuffix(identity.SHA256)]
      yield f"{name} was {str(was)[:12]}, is {str(value)[:12]} now at {path}"
    else:
      yield (
        f"{name} was {noted.get(name, 'not set')}, is"
        f" {wanted.get(name, 'not set')}"
      )


def identity_of(model_dir: str) -> dict[str, str]:
  """Returns the recorded identity; {} if the folder holds no run."""
  return _read_json(os.path.join(model_dir, _IDENTITY))


def has_same_devices(model_dir: str, mesh: str = "None") -> bool:
  """Returns whether devices and mesh are unchanged since the last start.

  Args:
    model_dir: the run's folder; True if it is new.
    mesh: text of the run's mesh.
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
  """Records devices, versions and configuration in the run's folder.

  Args:
    model_dir: the run's folder.
    config_text: the operative gin configuration.
    seed: the run's seed.
    mesh: text of the run's mesh.
  """
  environment = {
    **_devices(mesh),
    "git_commit": _git_commit(),
    "jax": jax.__version__,
    "seed": seed,
    "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
  }
  files.write_json(os.path.join(model_dir, _ENVIRONMENT), environment)
  files.write_text(os.path.join(model_dir, "config.gin"), config_text)


def mark_begun(model_dir: str) -> None:
  """Marks the run as not complete."""
  with contextlib.suppress(FileNotFoundError):
    os.remove(os.path.join(model_dir, COMPLETE))


def mark_complete(model_dir: str, step: int) -> None:
  """Marks the run as complete, with its last step."""
  files.write_text(os.path.join(model_dir, COMPLETE), f"{step}\n")


def completed_step(model_dir: str) -> int | None:
  """Returns the last step of a complete run; None if it is not complete."""
  path = os.path.join(model_dir, COMPLETE)
  if not os.path.lexists(path):
    return None
  try:
    return int(files.read_text(path))
  except ValueError:
    return None


def _read_json(path: str) -> dict[str, Any]:
  if not os.path.lexists(path):
    return {}
  return files.read_json(path, dict)


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
