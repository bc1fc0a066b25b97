"""Reads a store: single rows, or batches in a reproducible order."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorstore as ts

from rlhf_gap import errors, files
from rlhf_gap.stores import arrays, locations, orders
from rlhf_gap.stores import manifest as manifests


class NothingCommittedError(errors.UserError):
  """The store exists, but its writer has not committed a row yet."""


def open_store(path: str) -> "Store":
  """Opens a store for reading.

  A store that is still being written has the rows committed so far.

  Args:
    path: the store's directory: a local path, or a URL such as `gs://...`.

  Raises:
    UserError: there is no store, or it is damaged, lacks files, or has another
      format version. `NothingCommittedError` if no row is committed yet.
  """
  if locations.is_local(path):
    files.check_tree(path)
  with locations.reporting(f"cannot read {path}"):
    read = locations.directory(path).read(b"manifest.json").result()
  if read.state != "value":
    raise errors.UserError(
      f"{path} holds no store (no manifest.json); `rlhf-gap data` builds one"
    )
  manifest = manifests.loads(read.value, path)
  if not manifest.rows:
    raise NothingCommittedError(
      f"{path} holds no committed rows yet; finish writing it first"
    )
  return Store(path, manifest, arrays.open_existing(path, manifest))


@dataclasses.dataclass(frozen=True)
class Store:
  """An open store; made by `open_store`.

  Attributes:
    path: the directory.
    manifest: its manifest at the time of opening.
  """

  path: str
  manifest: manifests.Manifest
  _arrays: Mapping[str, ts.TensorStore] = dataclasses.field(repr=False)

  @property
  def num_rows(self) -> int:
    """Rows committed at the time of opening."""
    return self.manifest.rows

  def read(
    self,
    rows: Sequence[int] | np.ndarray,
    columns: Sequence[str] | None = None,
  ) -> dict[str, np.ndarray]:
    """Returns rows, in the given order.

    Args:
      rows: row numbers, with or without repeats. A `range` is read fastest.
      columns: names of columns; None for all.

    Returns:
      By column name, an array `[len(rows), *row_shape]`.

    Raises:
      UserError: a row or column is not in the store, or its file is damaged.
    """
    return self._wait(self._start(rows, columns))

  def batches(
    self,
    order: orders.Order,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    places: np.ndarray | None = None,
    columns: Sequence[str] | None = None,
    prefetch: int = 2,
  ) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches `start_step`, `start_step + 1`, ... of an order.

    TensorStore's threads read the next batches while the caller works on the
    current one.

    Args:
      order: the order of the rows.
      seed: determines the order's permutations.
      batch_size: rows per batch over all processes.
      start_step: the first batch; after a restart, the number consumed before.
      places: positions within each batch to read; None for all. A process of a
        pod reads those of its devices.
      columns: names of columns; None for all.
      prefetch: number of batches read ahead, >= 0.

    Yields:
      By column name, an array `[len(places), *row_shape]`. Ends after
      `orders.num_batches`, if that is not None.

    Raises:
      ValueError: an argument is out of range.
      UserError: a column is not in the store, or a file is damaged.
    """
    # Checked outside the generator, whose body runs only at its first use.
    positions = np.arange(batch_size) if places is None else places
    if not np.isin(positions, np.arange(batch_size)).all():
      raise ValueError(f"{places=}; expected places in a batch of {batch_size}")
    if prefetch < 0 or start_step < 0:
      raise ValueError(f"{prefetch=}, {start_step=}; expected >= 0")
    self._check_columns(columns)

    def start(step: int) -> dict[str, ts.Future]:
      batch = orders.rows(
        order, seed, step, num_rows=self.num_rows, batch_size=batch_size
      )
      return self._start(batch[positions], columns)

    def generate() -> Iterator[dict[str, np.ndarray]]:
      end = orders.num_batches(order, self.num_rows, batch_size)
      step = start_step
      ahead: collections.deque[dict[str, ts.Future]] = collections.deque()
      while True:
        while len(ahead) <= prefetch and (end is None or step < end):
          ahead.append(start(step))
          step += 1
        if not ahead:
          return
        yield self._wait(ahead.popleft())

    return generate()

  def refresh(self) -> "Store":
    """Opens the store again, with the rows committed since."""
    return open_store(self.path)

  def _check_columns(self, columns: Sequence[str] | None) -> None:
    unknown = sorted(set(columns or ()) - set(self._arrays))
    if unknown:
      raise errors.UserError(
        f"{self.path} has no column {', '.join(unknown)}; it has"
        f" {', '.join(self._arrays)}"
      )

  def _start(
    self, rows: Sequence[int] | np.ndarray, columns: Sequence[str] | None
  ) -> dict[str, ts.Future]:
    self._check_columns(columns)
    if isinstance(rows, range):  # before it is expanded to an array
      files.check_fits_memory(8 * len(rows), self.path)
    index = np.asarray(rows, dtype=np.int64)
    outside = index[(index < 0) | (index >= self.num_rows)]
    if outside.size:
      raise errors.UserError(
        f"row {outside[0]} is out of range: {self.path} holds rows 0 to"
        f" {self.num_rows - 1}"
      )
    names = list(self._arrays) if columns is None else list(columns)
    row_bytes = sum(
      math.prod(self._arrays[name].shape[1:])
      * self.manifest.column(name).itemsize
      for name in names
    )
    files.check_fits_memory(len(index) * row_bytes, self.path)
    where: np.ndarray | slice = index
    if isinstance(rows, range) and rows.step == 1:
      where = slice(rows.start, rows.stop)
    return {name: self._arrays[name][where].read() for name in names}

  def _wait(self, reads: Mapping[str, ts.Future]) -> dict[str, np.ndarray]:
    values = {}
    for name, read in reads.items():
      try:
        values[name] = read.result()
      except locations.ERRORS as error:
        raise locations.failure(
          f"the column {name} of {self.path} is damaged: copy the store again",
          error,
        ) from error
    return values
