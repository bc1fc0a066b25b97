"""Writing a pair store and reading training batches from it.

The rows are synthetic. They have the lengths of summarization data (prompts of
about 365 tokens, responses of about 37, windows of 1024 and 128) and Zipf-like
token frequencies, so that they compress like text.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping

import numpy as np

from rlhf_gap import errors, progress, stores
from rlhf_gap.cli import flag_types

_LENGTHS = {"prompt": 1024, "response": 128}
_MEDIAN_TOKENS = {"prompt": 365, "response": 37}
_VOCABULARY_SIZE = 32_000
_CONSUMER_SECONDS = 0.02
_FAR_STEP = 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `rlhf-gap bench data`."""
  parser.add_argument(
    "--rows",
    type=flag_types.count,
    default=50_000,
    help="rows of the store (default: 50000)",
  )
  parser.add_argument(
    "--batch_size",
    type=flag_types.count,
    default=32,
    help="rows per batch (default: 32)",
  )
  parser.add_argument(
    "--chunk_rows",
    type=flag_types.count,
    default=256,
    help="rows per append (default: 256)",
  )
  parser.add_argument(
    "--seconds",
    type=flag_types.positive,
    default=10.0,
    help="time to read in each order (default: 10)",
  )
  parser.add_argument(
    "--directory",
    type=flag_types.storage,
    help="an empty folder or URL for the store, such as gs://bucket/x; it is"
    " not removed (default: a temporary folder)",
  )


def _tokens(generator: np.random.Generator, rows: int, axis: str) -> np.ndarray:
  length = _LENGTHS[axis]
  lengths = generator.lognormal(np.log(_MEDIAN_TOKENS[axis]), 0.5, rows)
  used = np.clip(lengths.astype(np.int64), 1, length)[:, np.newaxis]
  ranks = np.minimum(
    20 * generator.pareto(0.7, (rows, length)), _VOCABULARY_SIZE - 4
  )
  position = np.arange(length)
  ids = np.where(position < used - 1, ranks.astype(np.int32) + 3, 0)
  return np.where(position == used - 1, 1, ids).astype(np.int32)


def _chunk(generator: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
  values = {}
  for spec in stores.PAIRS:
    if spec.axis is not None:
      values[spec.name] = _tokens(generator, rows, spec.axis)
    elif spec.dtype == "float32":
      values[spec.name] = generator.normal(size=rows).astype(np.float32)
    else:
      numbers = generator.integers(0, 1 << 20, rows)
      values[spec.name] = numbers.astype(spec.dtype)
  return values


def _write(path: str, rows: int, chunk_rows: int) -> float:
  """Writes the store; returns the seconds spent on writing alone."""
  manifest = stores.Manifest(
    task="bench",
    schema="pairs",
    columns=stores.PAIRS,
    feature_lengths=_LENGTHS,
    vocabulary=stores.byte(),
    chunk_rows=chunk_rows,
  )
  generator = np.random.default_rng(0)
  writer = stores.create(path, manifest)
  seconds = 0.0
  with progress.bar("writing", rows, "rows") as done:
    for chunk, first in enumerate(range(0, rows, chunk_rows)):
      values = _chunk(generator, min(chunk_rows, rows - first))
      begun = time.perf_counter()
      writer.append(chunk, values)
      writer.commit()
      seconds += time.perf_counter() - begun
      done.update(len(values["weight"]))
  begun = time.perf_counter()
  writer.finish()
  return seconds + time.perf_counter() - begun


def _batches_per_second(
  path: str, order: stores.Order, batch_size: int, seconds: float
) -> float:
  """Returns the speed of reading for `seconds`, or to the end."""
  batches = stores.open(path).batches(order, seed=0, batch_size=batch_size)
  begun = time.perf_counter()
  count = 0
  for _ in batches:
    count += 1
    if time.perf_counter() - begun > seconds:
      break
  return count / (time.perf_counter() - begun)


def _wait_seconds(path: str, batch_size: int, seconds: float) -> float:
  """Returns the wait per batch of a consumer that is busy in between."""
  batches = stores.open(path).batches(
    stores.Epochs(), seed=0, batch_size=batch_size
  )
  steps = max(1, int(seconds / _CONSUMER_SECONDS))
  waited = 0.0
  for _ in range(steps):
    time.sleep(_CONSUMER_SECONDS)
    begun = time.perf_counter()
    next(batches)
    waited += time.perf_counter() - begun
  return waited / steps


def _rows_seconds(num_rows: int, batch_size: int, step: int) -> float:
  """Returns the time to compute the row numbers of a batch."""
  repeats = 100
  begun = time.perf_counter()
  for offset in range(repeats):
    stores.rows(
      stores.Epochs(),
      0,
      step + offset,
      num_rows=num_rows,
      batch_size=batch_size,
    )
  return (time.perf_counter() - begun) / repeats


def _bytes(path: str) -> int:
  return sum(
    os.path.getsize(os.path.join(folder, name))
    for folder, _, names in os.walk(path)
    for name in names
  )


def measure(arguments: argparse.Namespace) -> Mapping[str, float | int | str]:
  """Writes a store, reads it in several orders and returns the speeds."""
  if not 1 <= arguments.batch_size <= arguments.rows:
    raise errors.UserError(
      f"--batch_size={arguments.batch_size} with --rows={arguments.rows};"
      " expected at least one full batch"
    )
  with tempfile.TemporaryDirectory() as folder:
    return _measure(arguments.directory or folder, arguments)


def _measure(
  path: str, arguments: argparse.Namespace
) -> Mapping[str, float | int | str]:
  rows, batch_size = arguments.rows, arguments.batch_size
  write_seconds = _write(path, rows, arguments.chunk_rows)
  orders: dict[str, stores.Order] = {
    "seeded_epochs": stores.Epochs(),
    "exact": stores.Exact(),
  }
  speeds = {
    f"{name}_batches_per_second": _batches_per_second(
      path, order, batch_size, arguments.seconds
    )
    for name, order in orders.items()
  }
  size = {} if arguments.directory else {"bytes_per_row": _bytes(path) / rows}
  uncompressed = sum(
    spec.itemsize * int(np.prod(spec.row_shape(_LENGTHS)))
    for spec in stores.PAIRS
  )
  return {
    "rows": rows,
    "batch_size": batch_size,
    "chunk_rows": arguments.chunk_rows,
    "load_average": os.getloadavg()[0],
    "cpus": os.cpu_count() or 0,
    "written_rows_per_second": rows / write_seconds,
    **speeds,
    "wait_milliseconds_while_consumer_takes_20": 1e3
    * _wait_seconds(path, batch_size, arguments.seconds),
    "row_numbers_microseconds_at_step_0": 1e6
    * _rows_seconds(rows, batch_size, 0),
    "row_numbers_microseconds_at_step_1e9": 1e6
    * _rows_seconds(rows, batch_size, _FAR_STEP),
    "uncompressed_bytes_per_row": uncompressed,
    **size,
  }
