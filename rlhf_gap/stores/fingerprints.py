"""A store's fingerprint: what it holds, wherever it lies."""

import collections
import hashlib
import json
from collections.abc import Iterator

import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap.stores import arrays, locations
from rlhf_gap.stores import manifest as manifests
from rlhf_gap.stores.reader import Store

# On a disk, one read ahead would do; a bucket answers after tens of
# milliseconds, so that many reads must be under way.
_MAX_IN_FLIGHT = 128


def fingerprint(store: Store, num_rows: int | None = None) -> str:
  """Returns a hash of a store's rows and of what they mean.

  Every stored byte is read, compressed as it lies; nothing is decoded. Paths,
  the arrays' metadata and how far the writer got are left out, so that a copy
  has the same fingerprint, and so has a store that has grown, of the rows it
  had before.

  Args:
    store: an open store.
    num_rows: hash only the chunks that hold the first rows; None: all.

  Returns:
    SHA-256, hexadecimal.

  Raises:
    UserError: the store has fewer rows, or lacks a chunk.
  """
  manifest = store.manifest
  num_rows = manifest.rows if num_rows is None else num_rows
  if num_rows > manifest.rows:
    raise errors.UserError(
      f"{store.path} holds {manifest.rows} rows; expected at least {num_rows}"
    )
  listing = hashlib.sha256(_meaning(manifest).encode())
  listing.update(f"{num_rows}\n".encode())
  with locations.reporting(f"cannot read {store.path}"):
    for key, content in _chunks(store, -(-num_rows // manifest.chunk_rows)):
      digest = hashlib.sha256(content).hexdigest()
      listing.update(f"{key} {digest}\n".encode())
  return listing.hexdigest()


def _meaning(manifest: manifests.Manifest) -> str:
  judge, reference = manifest.label.judge, manifest.reference
  fields = {
    "schema": manifest.schema,
    "columns": [(c.name, c.dtype, c.axis) for c in manifest.columns],
    "feature_lengths": dict(manifest.feature_lengths),
    "vocabulary": manifest.vocabulary.fingerprint,
    "chunk_rows": manifest.chunk_rows,
    "label": manifest.label.by,
    "judge": None if judge is None else judge.sha256,
    "reference": None if reference is None else reference.sha256,
  }
  return json.dumps(fields, sort_keys=True)


def _chunks(store: Store, num_chunks: int) -> Iterator[tuple[str, bytes]]:
  """Yields the objects of the first chunks, chunk by chunk."""
  directory = locations.directory(store.path)
  under_way: collections.deque[tuple[str, ts.Future]] = collections.deque()
  for key in arrays.chunk_keys(store.manifest, num_chunks):
    under_way.append((key, directory.read(key.encode())))
    if len(under_way) == _MAX_IN_FLIGHT:
      yield _content(store, *under_way.popleft())
  while under_way:
    yield _content(store, *under_way.popleft())


def _content(store: Store, key: str, reading: ts.Future) -> tuple[str, bytes]:
  read = reading.result()
  if read.state != "value":
    raise errors.UserError(
      f"{store.path} lacks {key}; copy the store again, whole"
    )
  return key, read.value
