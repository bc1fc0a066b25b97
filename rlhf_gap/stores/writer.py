"""Writing a store: chunk by chunk, and again from where it stopped.

Chunks are written first and the manifest that counts them last, so a reader
sees committed rows alone and a kill at any moment leaves a store that the same
appends make equal, byte for byte, to one that was never killed.

One process writes a store: process 0 of a pod gathers a batch (under 1 MB) and
appends it. The manifest is replaced only if it is still the one that this
writer put there; opening a store replaces it once by itself. So the latest
writer wins, and an earlier one is told at its next append. That needs no lock
file, which a killed process would leave behind, and holds on object storage.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import tensorstore as ts

from rlhf_gap import errors, files
from rlhf_gap.stores import arrays, columns, locations
from rlhf_gap.stores import manifest as manifests

_KEY = b"manifest.json"
_MAX_CHUNKS_IN_FLIGHT = 4


def create(path: str, manifest: manifests.Manifest) -> "Writer":
  """Begins a store, or goes on with one that the same manifest began.

  Args:
    path: a directory: a local path, or a URL such as `gs://bucket/store`.
    manifest: what the store will hold; `rows`, `complete` and `dropped` are the
      writer's to fill in.

  Returns:
    A writer that holds the chunks committed so far.

  Raises:
    UserError: the directory holds another store or other files, or cannot be
      written.
  """
  if manifest.rows or manifest.complete or manifest.dropped:
    raise ValueError("rows, complete and dropped are the writer's to fill in")
  if locations.is_local(path):
    files.check_tree(path)
  directory = locations.directory(path)
  with locations.reporting(f"cannot write {path}"):
    found = _names(directory.list().result())
    read = directory.read(_KEY).result()
  if read.state == "value":
    stored = manifests.loads(read.value, path)
    differing = manifests.differences(stored, manifest)
    if differing:
      raise errors.UserError(
        f"{path} holds another store, of task {stored.task} with"
        f" {stored.rows} rows (it differs in {', '.join(differing)}); choose"
        " another directory or delete it"
      )
    manifest = stored
  elif found:
    raise errors.UserError(
      f"{path} holds {len(found)} files and no manifest.json, so it is no"
      " store; choose an empty directory"
    )
  return Writer(path, directory, manifest, read.stamp.generation, found)


def _names(keys: Iterable[bytes]) -> set[str]:
  return {key.decode("utf-8", "backslashreplace") for key in keys}


class Writer:
  """Appends chunks to a store; made by `create`.

  Chunk t holds rows `t * chunk_rows` and following. Not safe to share between
  threads.
  """

  def __init__(
    self,
    path: str,
    directory: ts.KvStore,
    manifest: manifests.Manifest,
    generation: bytes,
    found: set[str],
  ):
    self._path = path
    self._directory = directory
    self._manifest = manifest
    self._generation = generation
    self._written_rows = manifest.rows
    self._in_flight: list[list[ts.WriteFutures]] = []
    # Replacing the manifest by itself tells every earlier writer to stop.
    self._publish(manifest)
    self._arrays = arrays.open_or_create(path, manifest, found)
    if not manifest.complete:
      self._prepare_to_grow(found)

  @property
  def manifest(self) -> manifests.Manifest:
    """The manifest as last committed."""
    return self._manifest

  @property
  def num_rows(self) -> int:
    """Rows committed so far."""
    return self._manifest.rows

  @property
  def num_chunks(self) -> int:
    """Chunks committed so far."""
    return self._manifest.num_chunks

  def append(self, chunk: int, values: Mapping[str, np.ndarray]) -> None:
    """Starts writing one chunk; `commit` makes it readable.

    A chunk that the store holds already is compared instead: a restarted run
    may append again what it appended before, and must append the same.

    Args:
      chunk: the chunk's index: at most one more than the last one appended.
      values: by column name, an array `[rows, *row_shape]`. Only the last chunk
        of a store may have fewer than `chunk_rows` rows.

    Raises:
      UserError: the chunk is there with other rows, another process writes this
        store, or the disk is full.
      ValueError: a chunk was left out, or a column is missing, unknown, or of
        another dtype or shape.
    """
    manifest = self._manifest
    rows = columns.num_rows(manifest.columns, manifest.feature_lengths, values)
    if not 1 <= rows <= manifest.chunk_rows:
      raise ValueError(f"{rows} rows; expected 1 to {manifest.chunk_rows}")
    first = chunk * manifest.chunk_rows
    if 0 <= first < self._written_rows:
      self._check_same(chunk, rows, values)
      return
    if first != self._written_rows:
      raise ValueError(
        f"chunk {chunk} would begin at row {first}, but the store has"
        f" {self._written_rows} rows; chunks are appended in order and only"
        f" the last may hold fewer than {manifest.chunk_rows} rows"
      )
    if manifest.complete:
      self._reopen()
    self._check_sole_writer()
    self._start_writing(first, rows, values)

  def commit(self) -> None:
    """Waits for the chunks appended so far and makes them readable.

    Raises:
      UserError: the disk is full, or another process writes this store. What
        was committed before is unharmed.
    """
    while self._in_flight:
      self._wait_for_oldest()
    if self._written_rows != self._manifest.rows:
      self._publish(
        dataclasses.replace(self._manifest, rows=self._written_rows)
      )

  def truncate(self, num_chunks: int) -> None:
    """Takes back all chunks from `num_chunks` on.

    For a run that goes back to a checkpoint and may not repeat itself bit for
    bit, because the hardware or the number of hosts is another.

    Args:
      num_chunks: chunks to keep.

    Raises:
      UserError: another process writes this store.
    """
    self.commit()
    if num_chunks >= self.num_chunks:
      return
    rows = num_chunks * self._manifest.chunk_rows
    self._publish(
      dataclasses.replace(self._manifest, rows=rows, complete=False, dropped={})
    )
    self._written_rows = rows
    self._prepare_to_grow(self._list())

  def finish(self, dropped: Mapping[str, int] | None = None) -> None:
    """Commits, and marks the store as whole.

    Args:
      dropped: rows of the source that were left out, by reason.

    Raises:
      UserError: no row was appended, the disk is full, or another process
        writes this store.
    """
    self.commit()
    if not self.num_rows:
      raise errors.UserError(
        f"{self._path} would hold no rows; check the source and what was"
        " dropped from it"
      )
    manifest = dataclasses.replace(
      self._manifest, complete=True, dropped=dict(dropped or {})
    )
    if manifest == self._manifest:
      return
    # Before the arrays shrink under a later writer's hands.
    self._check_sole_writer()
    self._resize(self.num_rows)
    self._publish(manifest)

  def _list(self) -> set[str]:
    with locations.reporting(f"cannot list {self._path}"):
      return _names(self._directory.list().result())

  def _publish(self, manifest: manifests.Manifest) -> None:
    with locations.reporting(self._cannot_write()):
      stamp = self._directory.write(
        _KEY, manifests.dumps(manifest), if_equal=self._generation
      ).result()
    # TensorStore's sign that the condition did not hold.
    if not stamp.generation:
      raise self._another_writer()
    self._generation = stamp.generation
    self._manifest = manifest

  def _check_sole_writer(self) -> None:
    with locations.reporting(f"cannot read {self._path}"):
      read = self._directory.read(_KEY).result()
    if read.stamp.generation != self._generation:
      raise self._another_writer()

  def _another_writer(self) -> errors.UserError:
    return errors.UserError(
      f"{self._path} is being written by another process since this one"
      " opened it; only one may write a store: stop one of the two"
    )

  def _cannot_write(self) -> str:
    return (
      f"cannot write {self._path}"
      f" ({self._manifest.rows} rows are safe; run again to go on)"
    )

  def _prepare_to_grow(self, found: set[str]) -> None:
    """Removes chunks that were not committed and lifts the arrays' bounds."""
    manifest = self._manifest
    with locations.reporting(self._cannot_write()):
      deletions = [
        self._directory.write(key.encode(), None)
        for key in arrays.chunk_keys_from(found, manifest, manifest.num_chunks)
      ]
      for deletion in deletions:
        deletion.result()
    self._resize(arrays.capacity_rows(manifest.chunk_rows))

  def _reopen(self) -> None:
    self._publish(
      dataclasses.replace(self._manifest, complete=False, dropped={})
    )
    self._resize(arrays.capacity_rows(self._manifest.chunk_rows))

  def _resize(self, rows: int) -> None:
    with locations.reporting(self._cannot_write()):
      self._arrays = arrays.resize(self._arrays, rows)

  def _start_writing(
    self, first: int, rows: int, values: Mapping[str, np.ndarray]
  ) -> None:
    if len(self._in_flight) == _MAX_CHUNKS_IN_FLIGHT:
      self._wait_for_oldest()
    chunk_rows = self._manifest.chunk_rows
    futures = []
    for name, array in self._arrays.items():
      # Always a whole chunk: nothing of an earlier attempt's is read or kept.
      whole = np.zeros((chunk_rows, *array.shape[1:]), array.dtype.numpy_dtype)
      whole[:rows] = values[name]
      write = array[first : first + chunk_rows].write(
        whole, can_reference_source_data_indefinitely=True
      )
      write.commit.force()
      futures.append(write)
    self._in_flight.append(futures)
    self._written_rows += rows

  def _wait_for_oldest(self) -> None:
    # Removed only after it has succeeded: a failed write fails every later
    # commit too, and no chunk after it is ever counted.
    with locations.reporting(self._cannot_write()):
      for future in self._in_flight[0]:
        future.result()
    del self._in_flight[0]

  def _check_same(
    self, chunk: int, rows: int, values: Mapping[str, np.ndarray]
  ) -> None:
    while self._in_flight:
      self._wait_for_oldest()
    first = chunk * self._manifest.chunk_rows
    last = min(first + self._manifest.chunk_rows, self._written_rows)
    with locations.reporting(f"cannot read {self._path}"):
      reads = {
        name: array[first:last].read() for name, array in self._arrays.items()
      }
      stored = {name: read.result() for name, read in reads.items()}
    # Compared as bytes: a NaN that stands for "not computed" equals itself.
    differing = [
      name
      for name, value in stored.items()
      if value.tobytes() != np.ascontiguousarray(values[name]).tobytes()
    ]
    if differing or rows != last - first:
      raise errors.UserError(
        f"chunk {chunk} of {self._path} holds other rows than were appended"
        f" now (in {', '.join(differing) or 'their number'}); repeat the run"
        " as it was (seed, checkpoint, hardware), or truncate the store"
      )
