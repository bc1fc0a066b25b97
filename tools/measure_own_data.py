"""Measures how fast `rlhf-gap data own` reads a million short rows.

    python tools/measure_own_data.py [--rows=1000000] [--folder=DIR] [--store]

Writes JSON lines and Parquet of a quarter of the rows and of all of them, reads
each in a separate process, and prints a line of the table in docs/own_data.md:
rows per second of reading, judging and counting every row, and the process's
peak memory. With --store also builds the stores. Fails if the peak of all rows
exceeds that of a quarter of them by more than --limit.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent
_ROWS_PER_GROUP = 50_000
_PIECES = ("cats", "dogs", "train", "voice", "treats", "time", "rain", "bike")


def rows(count: int) -> Iterator[dict[str, str]]:
  """Yields rows of about 150 bytes, every prompt a new one."""
  for number in range(count):
    words = [_PIECES[number // 8**i % 8] for i in range(6)]
    yield {
      "prompt": f"{number}: how do i {' '.join(words)}?",
      "chosen": f"use {' and '.join(words[:4])}",
      "rejected": f"sure, {' '.join(words[3:])}",
    }


def write(folder: str, count: int) -> dict[str, str]:
  """Writes both files; returns their paths by format."""
  import pyarrow.parquet

  paths = {
    f: os.path.join(folder, f"{count}.{f}") for f in ("jsonl", "parquet")
  }
  schema = pyarrow.schema(
    [(name, pyarrow.string()) for name in ("prompt", "chosen", "rejected")]
  )
  waiting: list[dict[str, str]] = []
  with (
    open(paths["jsonl"], "w", encoding="utf-8") as lines,
    pyarrow.parquet.ParquetWriter(paths["parquet"], schema) as groups,
  ):
    for row in rows(count):
      lines.write(json.dumps(row) + "\n")
      waiting.append(row)
      if len(waiting) == _ROWS_PER_GROUP:
        groups.write_table(pyarrow.Table.from_pylist(waiting, schema))
        waiting = []
    if waiting:
      groups.write_table(pyarrow.Table.from_pylist(waiting, schema))
  return paths


def survey(path: str) -> None:
  """Reads and judges every row of a file, as the command's first pass does."""
  from rlhf_gap.data.own import request, survey

  plan = request.plan(request.Request(path))
  start = time.monotonic()
  survey.survey(plan.walk, allow_malformed=False)
  print(time.monotonic() - start)


def build(path: str, output: str) -> None:
  """Builds a store of a file: both passes."""
  from rlhf_gap.cli import main
  from rlhf_gap.data import mini

  start = time.monotonic()
  words = [f"--source={path}", f"--output={output}", "--json"]
  lengths = ["--inputs_length=48", "--targets_length=16"]
  vocabulary = f"--vocabulary={mini.VOCABULARY_PATH}"
  if main.main(["data", "own", *words, *lengths, vocabulary]):
    raise SystemExit("the build failed")
  print(time.monotonic() - start)


def measure(call: str) -> tuple[float, int]:
  """Runs a function of this file apart; returns seconds and peak bytes."""
  process = subprocess.Popen(
    [sys.executable, "-c", f"import measure_own_data; measure_own_data.{call}"],
    env={**os.environ, "PYTHONPATH": f"{ROOT / 'tools'}:{ROOT}"},
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  output = process.stdout.read()
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise SystemExit(f"{call} failed")
  return float(output.splitlines()[-1]), usage.ru_maxrss * 1024


def main() -> int:
  """Measures and prints; returns 1 if the memory grows beyond the limit."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, default=1_000_000)
  parser.add_argument("--folder", help="where to write (default: a temporary)")
  parser.add_argument("--limit", type=float, default=64, help="MiB")
  parser.add_argument("--store", action="store_true", help="build stores too")
  arguments = parser.parse_args()
  print("| what | rows | seconds | rows/s | peak MiB |")
  print("|---|---|---|---|---|")
  peaks: dict[str, list[int]] = {}
  with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
    for count in (arguments.rows // 4, arguments.rows):
      for what, call in _calls(write(folder, count), folder, arguments.store):
        seconds, peak = measure(call)
        peaks.setdefault(what, []).append(peak)
        speed = f"{seconds:.1f} | {count / seconds:,.0f} | {peak >> 20}"
        print(f"| {what} | {count:,} | {speed} |", flush=True)
  growth = max(big - small for small, big in peaks.values()) / 2**20
  return int(growth > arguments.limit)


def _calls(
  paths: dict[str, str], folder: str, stores: bool
) -> Iterator[tuple[str, str]]:
  for format, path in paths.items():
    yield f"read {format}", f"survey({path!r})"
    if stores:
      output = os.path.join(folder, f"{os.path.basename(path)}.store")
      yield f"store of {format}", f"build({path!r}, {output!r})"


if __name__ == "__main__":
  sys.exit(main())
