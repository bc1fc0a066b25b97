"""Kills the writer of a store at random moments and checks that it resumes.

A child process writes a store of a few hundred chunks and is killed in the
middle. The committed rows are read back and the same command is run again. The
finished directory must equal, byte for byte, one that was written without
interruption.

Usage: python tools/check_store.py [--kills=20] [--chunks=200] [--seed=0]
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from rlhf_gap import progress, stores

_CHUNK_ROWS = 8
_LENGTHS = {"prompt": 64, "response": 16}
_READY = "ready\n"


def _manifest() -> stores.Manifest:
  return stores.Manifest(
    task="check_store",
    schema="pairs",
    columns=stores.PAIRS,
    feature_lengths=_LENGTHS,
    vocabulary=stores.byte(),
    chunk_rows=_CHUNK_ROWS,
  )


def _chunk(index: int, rows: int) -> dict[str, np.ndarray]:
  """Returns the content of chunk `index`, which is deterministic."""
  values = {}
  for number, spec in enumerate(stores.PAIRS):
    shape = (rows, *spec.row_shape(_LENGTHS))
    flat = np.arange(np.prod(shape), dtype=np.int64)
    mixed = (flat + 1) * (index + 1) * 7919 + number * 104_729
    values[spec.name] = (mixed % 251 + 1).reshape(shape).astype(spec.dtype)
  return values


def _num_rows(chunk: int, chunks: int) -> int:
  return 3 if chunk == chunks - 1 else _CHUNK_ROWS


def _write(path: pathlib.Path, chunks: int) -> None:
  """Appends all chunks that the store does not have yet, in the child."""
  sys.stdout.write(_READY)
  sys.stdout.flush()
  writer = stores.create(str(path), _manifest())
  # Rewrites the last chunk, like a run whose checkpoint lags its store.
  for chunk in range(max(0, writer.num_chunks - 1), chunks):
    writer.append(chunk, _chunk(chunk, _num_rows(chunk, chunks)))
    writer.commit()
  writer.finish(dropped={"tie": 5})


def _start(path: pathlib.Path, chunks: int) -> subprocess.Popen[str]:
  command = [sys.executable, __file__, f"--write={path}", f"--chunks={chunks}"]
  child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
  assert child.stdout is not None
  if child.stdout.readline() != _READY:
    raise RuntimeError(f"the writer did not start: exit code {child.wait()}")
  return child


def _finish(path: pathlib.Path, chunks: int) -> float:
  """Writes the rest of a store; returns the duration in seconds."""
  child = _start(path, chunks)
  start = time.monotonic()
  if child.wait() != 0:
    raise RuntimeError(f"the writer failed with exit code {child.returncode}")
  return time.monotonic() - start


def _kill(path: pathlib.Path, chunks: int, after_seconds: float) -> bool:
  """Starts a writer and kills it; returns whether it was still writing."""
  child = _start(path, chunks)
  time.sleep(after_seconds)
  child.kill()
  return child.wait() != 0


def _tree(path: pathlib.Path) -> dict[str, bytes | None]:
  """Returns the contents of every file below `path`; None for a folder."""
  return {
    str(p.relative_to(path)): p.read_bytes() if p.is_file() else None
    for p in path.rglob("*")
  }


def _check_committed(path: pathlib.Path, chunks: int) -> int:
  """Checks the rows that can be read from the killed store; counts them."""
  if not (path / "manifest.json").exists():
    return 0
  try:
    store = stores.open(str(path))
  except stores.NothingCommittedError:
    return 0
  seen = store.read(range(store.num_rows))
  for chunk in range(store.manifest.num_chunks):
    expected = _chunk(chunk, _num_rows(chunk, chunks))
    first = chunk * _CHUNK_ROWS
    for name, value in expected.items():
      np.testing.assert_array_equal(seen[name][first:][: len(value)], value)
  return store.num_rows


def _differences(
  path: pathlib.Path, expected: dict[str, bytes | None]
) -> list[str]:
  found = _tree(path)
  return sorted(
    name
    for name in found.keys() | expected.keys()
    if name not in found
    or name not in expected
    or found[name] != expected[name]
  )


def check(
  kills: int, chunks: int, seed: int, report: Callable[[str], None]
) -> list[str]:
  """Runs `kills` trials, with kills spread evenly over the writing time.

  Args:
    kills: number of stores, each killed once.
    chunks: number of chunks per store.
    seed: seed of the moments.
    report: receives one line per trial.

  Returns:
    One line for each trial whose store differs.
  """
  moments = random.Random(seed)
  faults = []
  with (
    tempfile.TemporaryDirectory() as folder,
    progress.bar("killing", kills, "stores") as done,
  ):
    root = pathlib.Path(folder)
    seconds = _finish(root / "undisturbed", chunks)
    expected = _tree(root / "undisturbed")
    for trial in range(kills):
      path = root / str(trial)
      after = seconds * (trial + moments.random()) / kills
      while not _kill(path, chunks, after):
        # It finished before the kill: the machine was less busy than before.
        shutil.rmtree(path)
        after /= 2
      rows = _check_committed(path, chunks)
      _finish(path, chunks)
      differing = _differences(path, expected)
      state = f"killed after {after:.3f} s with {rows} rows committed"
      report(f"{state}: {len(differing)} files differ")
      if differing:
        faults.append(f"trial {trial}, {state}: {', '.join(differing[:5])}")
      done.update(1)
  return faults


def main() -> int:
  """Parses the flags, runs the check and returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--chunks", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--write", type=pathlib.Path, help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.write:
    _write(flags.write, flags.chunks)
    return 0
  faults = check(flags.kills, flags.chunks, flags.seed, print)
  print("\n".join(faults) or f"{flags.kills} killed stores: byte-identical")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
