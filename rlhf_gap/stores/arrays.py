"""The zarr arrays behind a store's columns.

Every append writes one object of each array. Token columns are sharded: inside
an object, groups of a few rows are compressed apart, so that reading a random
row neither fetches nor decodes the other 255. Checksums (CRC-32C) make damage
an error. Missing objects are an error too: zarr would read them as zeros.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorstore as ts

from rlhf_gap import errors
from rlhf_gap.stores import columns, locations
from rlhf_gap.stores import manifest as manifests

_CHUNK_KEY = re.compile(r"(\w+)/c\.(\d+)(?:\.0)?")
_LITTLE_ENDIAN: dict[str, Any] = {
  "name": "bytes",
  "configuration": {"endian": "little"},
}
_CHECKSUM: dict[str, Any] = {"name": "crc32c"}
# On rows as `rlhf-gap bench data` makes them, random batches came fastest with
# this (625/s on 2 cores; zstd 518, blosc-zstd 543), in a sixth of the space.
_COMPRESSION = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}
# Rows of a token column that are compressed together, at most. 1 reads no
# faster and takes a quarter more space; 16 reads slower (545/s).
_GROUP_ROWS = 4


def capacity_rows(chunk_rows: int) -> int:
  """Returns the rows an array declares until its store is finished.

  Chunks that were never written take no space, so a growing store needs no
  change of metadata at each append.
  """
  return chunk_rows * (2**31 // chunk_rows)


def _codecs(shape: tuple[int, ...], itemsize: int) -> list[dict[str, Any]]:
  """Returns the codecs of one chunk: `shape` is [chunk_rows, *row]."""
  blosc = {
    "name": "blosc",
    "configuration": {**_COMPRESSION, "typesize": itemsize},
  }
  codecs = [_LITTLE_ENDIAN, blosc, _CHECKSUM]
  if len(shape) == 1:
    return codecs
  group = next(n for n in range(_GROUP_ROWS, 0, -1) if shape[0] % n == 0)
  configuration = {
    "chunk_shape": [group, *shape[1:]],
    "codecs": codecs,
    "index_codecs": [_LITTLE_ENDIAN, _CHECKSUM],
  }
  return [{"name": "sharding_indexed", "configuration": configuration}]


def _location(path: str, column: str) -> dict[str, Any]:
  return {
    "driver": "zarr3",
    "kvstore": locations.spec(f"{path.rstrip('/')}/{column}"),
    "fill_missing_data_reads": False,
    "store_data_equal_to_fill_value": True,
    "recheck_cached_data": "open",
    "recheck_cached_metadata": "open",
  }


def _creation(
  path: str, spec: columns.ColumnSpec, manifest: manifests.Manifest
) -> dict[str, Any]:
  """Returns TensorStore's spec of a new array."""
  row = spec.row_shape(manifest.feature_lengths)
  chunk = (manifest.chunk_rows, *row)
  metadata = {
    "shape": [capacity_rows(manifest.chunk_rows), *row],
    "data_type": spec.dtype,
    "chunk_grid": {
      "name": "regular",
      "configuration": {"chunk_shape": list(chunk)},
    },
    "chunk_key_encoding": {
      "name": "default",
      "configuration": {"separator": "."},
    },
    "codecs": _codecs(chunk, spec.itemsize),
  }
  return _location(path, spec.name) | {"metadata": metadata}


def open_or_create(
  path: str, manifest: manifests.Manifest, found: set[str]
) -> dict[str, ts.TensorStore]:
  """Opens the arrays of a store that is being written.

  Args:
    path: the store.
    manifest: its manifest.
    found: the store's keys; arrays without their metadata are created.

  Returns:
    By column name, the array.
  """
  opening = {}
  for spec in manifest.columns:
    if f"{spec.name}/zarr.json" in found:
      request = _location(path, spec.name) | {"open": True}
    else:
      request = _creation(path, spec, manifest) | {"create": True}
    opening[spec.name] = ts.open(request, context=locations.CONTEXT)
  return _opened(path, manifest, opening)


def open_existing(
  path: str, manifest: manifests.Manifest
) -> dict[str, ts.TensorStore]:
  """Opens the arrays of a store to read them.

  Raises:
    UserError: an array is missing, damaged, or not what the manifest says.
  """
  opening = {
    spec.name: ts.open(
      _location(path, spec.name) | {"open": True},
      context=locations.CONTEXT,
      read=True,
      write=False,
    )
    for spec in manifest.columns
  }
  return _opened(path, manifest, opening)


def _opened(
  path: str,
  manifest: manifests.Manifest,
  opening: Mapping[str, ts.Future],
) -> dict[str, ts.TensorStore]:
  arrays = {}
  for spec in manifest.columns:
    try:
      array = opening[spec.name].result()
    except ValueError as error:
      if "NOT_FOUND" in str(error):
        raise errors.UserError(
          f"{path} lacks the array of its column {spec.name}; copy the store"
          " again, whole"
        ) from error
      raise locations.failure(
        f"cannot open the column {spec.name} of {path}", error
      ) from error
    row = spec.row_shape(manifest.feature_lengths)
    if (
      array.dtype.name != spec.dtype
      or array.shape[1:] != row
      or array.shape[0] < manifest.rows
    ):
      raise errors.UserError(
        f"the column {spec.name} of {path} is {array.dtype.name}"
        f" {list(array.shape)}; its manifest says {spec.dtype}"
        f" {[manifest.rows, *row]}: copy the store again, whole"
      )
    arrays[spec.name] = array
  return arrays


def resize(
  arrays: Mapping[str, ts.TensorStore], rows: int
) -> dict[str, ts.TensorStore]:
  """Declares another number of rows; changes no data, waits until done."""
  futures = {
    name: array.resize(
      exclusive_max=[rows, *array.shape[1:]], resize_metadata_only=True
    )
    for name, array in arrays.items()
    if array.shape[0] != rows
  }
  return {
    name: futures[name].result() if name in futures else array
    for name, array in arrays.items()
  }


def chunk_keys_from(
  found: set[str], manifest: manifests.Manifest, chunk: int
) -> list[str]:
  """Returns which of a store's keys hold chunk `chunk` or a later one."""
  names = {spec.name for spec in manifest.columns}
  beyond = []
  for key in sorted(found):
    match = _CHUNK_KEY.fullmatch(key)
    if match and match[1] in names and int(match[2]) >= chunk:
      beyond.append(key)
  return beyond


def chunk_keys(manifest: manifests.Manifest, num_chunks: int) -> Iterator[str]:
  """Yields the keys of the first chunks of every column, chunk by chunk."""
  for chunk in range(num_chunks):
    for spec in manifest.columns:
      # One index per axis: chunks span whole rows.
      rank = len(spec.row_shape(manifest.feature_lengths))
      yield f"{spec.name}/c.{chunk}{'.0' * rank}"
