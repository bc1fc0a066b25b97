"""The side file of rows that are of no use, written as they come."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator

from rlhf_gap.data import surveys
from rlhf_gap.stores import locations


@contextlib.contextmanager
def writer(output: str) -> Iterator[Callable[[surveys.SkippedRow], None]]:
  """Yields a function that lists a row in `OUTPUT.skipped_rows.jsonl`.

  The file is written when the block exits; without rows, no file is written.

  Args:
    output: the store's directory, local or a URL.

  Raises:
    UserError: the file cannot be written.
  """
  path = f"{output.rstrip('/')}.skipped_rows.jsonl"
  folder = None
  if locations.is_local(path):
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
  file = tempfile.NamedTemporaryFile(  # noqa: SIM115
    "w", dir=folder, prefix=".skipped-", suffix=".jsonl", delete=False
  )
  count = 0

  def write(row: surveys.SkippedRow) -> None:
    nonlocal count
    count += 1
    file.write(json.dumps(dataclasses.asdict(row)) + "\n")

  try:
    with file:
      yield write
    _publish(file.name, path, count)
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.remove(file.name)


def _publish(written: str, path: str, count: int) -> None:
  if locations.is_local(path):
    if count:
      os.chmod(written, 0o666 & ~_umask())
      os.replace(written, path)
    else:
      with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    return
  if not count:
    return
  parent, _, name = path.rpartition("/")
  with open(written, "rb") as file, locations.reporting(f"cannot write {path}"):
    locations.directory(parent).write(name.encode(), file.read()).result()


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask
