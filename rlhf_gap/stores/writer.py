"""Writes a store chunk by chunk, and resumes an interrupted one.

Chunks are written first and the manifest that counts them last, so a reader
sees only committed rows. If the writer is killed at any moment, repeating the
same appends gives a store that is byte for byte the same as without the kill.

Only one process writes a store: process 0 of a pod gathers a batch (under 1 MB)
and appends it. A writer replaces the manifest only if it is the one that it
wrote itself; opening a store for writing rewrites it. So the latest writer
wins, and an earlier one gets an error at its next append. No lock file is
needed, which a killed process would leave behind. This also works on object
storage.
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
  """Creates a store, or resumes one with the same manifest.

  Args:
    path: a directory: a local path, or a URL such as `gs://bucket/store`.
    manifest: describes the store; the writer fills in `rows`, `complete` and
      `dropped`.

  Returns:
    A writer, with the chunks committed so far.

  Raises:
    UserError: the directory holds another store or other files, or is not
      writable.
    ValueError: `rows`, `complete` or `dropped` is set.
  """
  if manifest.rows or manifest.complete or manifest.dropped:
    raise ValueError("rows, complete and dropped are set by the writer")
  if locations.is_local(path):
    files.check_tree(path)
  directory = locations.directory(path)
  with locations.reporting(f"cannot write {path}"):
    keys = _names(directory.list().result())
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
  elif keys:
    raise errors.UserError(
      f"{path} holds {len(keys)} files and no manifest.json, so it is not a"
      " store; choose an empty directory"
    )
  return Writer(path, directory, manifest, read.stamp.generation, keys)


def _names(keys: Iterable[bytes]) -> set[str]:
  return {key.decode("utf-8", "backslashreplace") for key in keys}


class Writer:
  """Appends chunks to a store; returned by `create`.

  Chunk t starts at row `t * chunk_rows`. Not thread-safe.
  """

  def __init__(
    self,
    path: str,
    directory: ts.KvStore,
    manifest: manifests.Manifest,
    generation: bytes,
    keys: set[str],
  ):
    self._path = path
    self._directory = directory
    self._manifest = manifest
    self._generation = generation
    self._written_rows = manifest.rows
    self._in_flight: list[list[ts.WriteFutures]] = []
    # Rewriting the unchanged manifest makes earlier writers fail.
    self._publish(manifest)
    self._arrays = arrays.open_or_create(path, manifest, keys)
    if not manifest.complete:
      self._prepare_to_grow(keys)

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

    A chunk that the store already holds is compared instead: a restarted run
    may repeat its appends, but must append the same rows.

    Args:
      chunk: the chunk's index, at most one more than the last one appended.
      values: by column name, an array `[rows, *row_shape]`. Only the last chunk
        of a store may have fewer than `chunk_rows` rows.

    Raises:
      UserError: the store holds the chunk with other rows, another process
        writes this store, or the disk is full.
      ValueError: a chunk was skipped, or a column is missing, unknown, or has
        the wrong dtype or shape.
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
        f"chunk {chunk} would start at row {first}, but the store has"
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
      UserError: the disk is full, or another process writes this store. Chunks
        committed before are unaffected.
    """
    while self._in_flight:
      self._wait_for_oldest()
    if self._written_rows != self._manifest.rows:
      self._publish(
        dataclasses.replace(self._manifest, rows=self._written_rows)
      )

  def truncate(self, num_chunks: int) -> None:
    """Removes all chunks from `num_chunks` on.

    For a run that resumes from a checkpoint on other hardware or on another
    number of hosts, and so may not append the same bits again.

    Args:
      num_chunks: number of chunks to keep.

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
    """Commits and marks the store as complete.

    Args:
      dropped: number of rows of the source that were left out, by reason.

    Raises:
      UserError: no row was appended, the disk is full, or another process
        writes this store.
    """
    self.commit()
    if not self.num_rows:
      raise errors.UserError(
        f"{self._path} would hold no rows; check the source and why its rows"
        " were dropped"
      )
    manifest = dataclasses.replace(
      self._manifest, complete=True, dropped=dict(dropped or {})
    )
    if manifest == self._manifest:
      return
    # First, because resizing would truncate the arrays of a later writer.
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
    # An empty generation: the condition did not hold.
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
      f"another process opened {self._path} for writing after this one did;"
      " only one may write a store: stop one of the two"
    )

  def _cannot_write(self) -> str:
    return (
      f"cannot write {self._path}"
      f" ({self._manifest.rows} rows are safe; rerun to resume)"
    )

  def _prepare_to_grow(self, keys: set[str]) -> None:
    """Removes uncommitted chunks and sets the arrays to full capacity."""
    manifest = self._manifest
    with locations.reporting(self._cannot_write()):
      deletions = [
        self._directory.write(key.encode(), None)
        for key in arrays.chunk_keys_from(keys, manifest, manifest.num_chunks)
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
      # Always a whole chunk, so that nothing of an earlier attempt remains.
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
    # Removed only on success: after a failed write every commit fails too, so
    # that no later chunk is ever counted.
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
    # Compared as bytes, so that NaN ("not computed") equals itself.
    differing = [
      name
      for name, value in stored.items()
      if value.tobytes() != np.ascontiguousarray(values[name]).tobytes()
    ]
    if differing or rows != last - first:
      raise errors.UserError(
        f"chunk {chunk} of {self._path} does not match the rows being appended"
        f" (differs in: {', '.join(differing) or 'number of rows'}); repeat the"
        " run with the same seed, checkpoint and hardware, or start a new store"
      )
