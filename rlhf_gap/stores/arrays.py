"""The zarr arrays behind a store's columns.

Every append writes one object per array. Token columns are sharded: within an
object, groups of a few rows are compressed separately, so that reading a random
row neither fetches nor decodes the other 255. Checksums (CRC-32C) turn damage
into an error. So does a missing object, which zarr would read as zeros.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import tensorstore as ts

from rlhf_gap import errors, files
from rlhf_gap.stores import columns, locations
from rlhf_gap.stores import manifest as manifests

_CHUNK_KEY = re.compile(r"(\w+)/c\.(\d+)(?:\.0)?")
_LITTLE_ENDIAN: dict[str, Any] = {
  "name": "bytes",
  "configuration": {"endian": "little"},
}
_CHECKSUM: dict[str, Any] = {"name": "crc32c"}
# The fastest on random batches of `rlhf-gap bench data` (625/s on 2 cores; zstd
# 518, blosc-zstd 543). It compresses to a sixth.
_COMPRESSION = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}
# Largest number of token rows compressed together. 1 reads no faster and takes
# a quarter more space; 16 reads slower (545/s).
_GROUP_ROWS = 4


# For writers: a written chunk is not read again, and the pool's limit does not
# count what it keeps for each one (600 MB after 500,000 rows of 16 columns).
_NO_CACHE: dict[str, Any] = {"cache_pool": {"total_bytes_limit": 0}}


class _ChunkShape(msgspec.Struct):
  chunk_shape: list[int]


class _ChunkGrid(msgspec.Struct):
  name: Literal["regular"]
  configuration: _ChunkShape


class _Metadata(msgspec.Struct):
  """The fields of an array's `zarr.json` that determine sizes."""

  shape: list[int]
  data_type: str
  chunk_grid: _ChunkGrid


def capacity_rows(chunk_rows: int) -> int:
  """Returns the number of rows that an unfinished array declares.

  Chunks that were never written take no space, so appending does not have to
  update the metadata.
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
  path: str, manifest: manifests.Manifest, keys: set[str]
) -> dict[str, ts.TensorStore]:
  """Opens the arrays of a store that is being written.

  Args:
    path: the store.
    manifest: its manifest.
    keys: the store's keys; an array without metadata is created.

  Returns:
    The array of each column, by name.
  """
  existing = [s for s in manifest.columns if f"{s.name}/zarr.json" in keys]
  _check_metadata(path, manifest, existing)
  opening = {}
  for spec in manifest.columns:
    if f"{spec.name}/zarr.json" in keys:
      request = _location(path, spec.name) | {"open": True}
    else:
      request = _creation(path, spec, manifest) | {"create": True}
    opening[spec.name] = ts.open(request | _NO_CACHE, context=locations.CONTEXT)
  return _opened(path, manifest, opening)


def open_existing(
  path: str, manifest: manifests.Manifest
) -> dict[str, ts.TensorStore]:
  """Opens the arrays of a store for reading.

  Raises:
    UserError: an array is missing, damaged, or contradicts the manifest.
  """
  _check_metadata(path, manifest, manifest.columns)
  _check_last_chunks(path, manifest)
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


def _check_metadata(
  path: str,
  manifest: manifests.Manifest,
  specs: Sequence[columns.ColumnSpec],
) -> None:
  """Checks the arrays' metadata before TensorStore allocates anything."""
  directory = locations.directory(path)
  reads = {
    spec.name: directory.read(f"{spec.name}/zarr.json") for spec in specs
  }
  for spec in specs:
    with locations.reporting(f"cannot read the column {spec.name} of {path}"):
      read = reads[spec.name].result()
    if read.state != "value":
      raise errors.UserError(
        f"{path} lacks the array of its column {spec.name}; copy the whole"
        " store again"
      )
    place = f"{path.rstrip('/')}/{spec.name}/zarr.json"
    metadata = files.decode_json(read.value, _Metadata, place)
    row = list(spec.row_shape(manifest.feature_lengths))
    chunk = metadata.chunk_grid.configuration.chunk_shape
    if (
      metadata.data_type != spec.dtype
      or len(metadata.shape) != 1 + len(row)
      or metadata.shape[1:] != row
      or not manifest.rows <= metadata.shape[0] <= manifests.MAX_ROWS
    ):
      raise errors.UserError(
        f"the column {spec.name} of {path} is {metadata.data_type}"
        f" {metadata.shape}; its manifest says {spec.dtype}"
        f" {[manifest.rows, *row]}: copy the whole store again"
      )
    if chunk != [manifest.chunk_rows, *row]:
      raise errors.UserError(
        f"the column {spec.name} of {path} has chunks of {chunk}; its manifest"
        f" says {[manifest.chunk_rows, *row]}: copy the whole store again"
      )


def _check_last_chunks(path: str, manifest: manifests.Manifest) -> None:
  """Checks that every row that the manifest counts was written."""
  last = manifest.num_chunks - 1
  for spec in manifest.columns:
    key = f"c.{last}" + (".0" if spec.axis is not None else "")
    if not locations.exists(f"{path.rstrip('/')}/{spec.name}/{key}"):
      raise errors.UserError(
        f"the column {spec.name} of {path} is damaged: its manifest says"
        f" {manifest.rows} rows, but the chunk {key} is missing; copy the whole"
        " store again"
      )


def _opened(
  path: str,
  manifest: manifests.Manifest,
  opening: Mapping[str, ts.Future],
) -> dict[str, ts.TensorStore]:
  arrays = {}
  for spec in manifest.columns:
    try:
      array = opening[spec.name].result()
    except locations.ERRORS as error:
      raise locations.failure(
        f"cannot open the column {spec.name} of {path}", error
      ) from error
    arrays[spec.name] = array
  return arrays


def resize(
  arrays: Mapping[str, ts.TensorStore], rows: int
) -> dict[str, ts.TensorStore]:
  """Changes the number of rows in the metadata; leaves the data unchanged."""
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
  keys: set[str], manifest: manifests.Manifest, chunk: int
) -> list[str]:
  """Returns the keys that hold chunk `chunk` or a later one."""
  names = {spec.name for spec in manifest.columns}
  beyond = []
  for key in sorted(keys):
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
