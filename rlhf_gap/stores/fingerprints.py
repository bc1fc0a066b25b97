"""A store's fingerprint: a hash of its content, independent of its path."""

import collections
import hashlib
import json
from collections.abc import Iterator

import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap.stores import arrays, locations
from rlhf_gap.stores import manifest as manifests
from rlhf_gap.stores.reader import Store

# A local disk needs one read ahead. A bucket takes tens of milliseconds per
# read and needs many at a time.
_MAX_IN_FLIGHT = 128


def fingerprint(store: Store, num_rows: int | None = None) -> str:
  """Returns a hash of a store's rows and their meaning.

  Every stored byte is hashed in compressed form; nothing is decoded. Paths, the
  arrays' metadata and the writer's progress are left out. So a copy has the
  same fingerprint, and so do the first rows of a store after it has grown.

  Args:
    store: an open store.
    num_rows: hash only the chunks of the first `num_rows` rows; None for all.

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
  in_flight: collections.deque[tuple[str, ts.Future]] = collections.deque()
  for key in arrays.chunk_keys(store.manifest, num_chunks):
    in_flight.append((key, directory.read(key.encode())))
    if len(in_flight) == _MAX_IN_FLIGHT:
      yield _content(store, *in_flight.popleft())
  while in_flight:
    yield _content(store, *in_flight.popleft())


def _content(store: Store, key: str, reading: ts.Future) -> tuple[str, bytes]:
  read = reading.result()
  if read.state != "value":
    raise errors.UserError(
      f"{store.path} lacks {key}; copy the whole store again"
    )
  return key, read.value
