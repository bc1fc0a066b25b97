"""The code and the machine of a measurement."""

import functools
import importlib.metadata
import os
import platform
import subprocess

import jax

import rlhf_gap
from rlhf_gap import records

_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "tensorstore")


@functools.cache
def code() -> records.Code:
  """Returns the commit and package versions of this process.

  Cached, because later commits do not change the running code.
  """
  versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return records.Code(
    git_commit=git_commit(os.path.dirname(rlhf_gap.__file__)),
    python=platform.python_version(),
    packages={"rlhf_gap": rlhf_gap.__version__, **versions},
  )


def git_commit(folder: str) -> str:
  """Returns the commit of a checkout.

  Args:
    folder: any folder.

  Returns:
    40 hexadecimal digits, followed by "-dirty" if tracked files differ; "" if
    the folder is in no repository or git is not installed.
  """
  command = ["git", "-C", folder, "describe", "--always", "--dirty"]
  try:
    found = subprocess.run(
      [*command, "--abbrev=40", "--exclude=*"],
      capture_output=True,
      text=True,
      check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return ""
  return found.stdout.strip()


def device() -> str:
  """Returns the number and kind of devices, such as "1 x cpu"."""
  devices = jax.devices()
  return f"{len(devices)} x {devices[0].device_kind}"
