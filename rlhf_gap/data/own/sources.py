"""Resolves `--source`: a file, a folder, a glob, several of them, or a hub."""

import dataclasses
import glob
import hashlib
import os
import pathlib

from rlhf_gap import errors, files

HUB_PREFIX = "hub:"
"""`hub:owner/name` names a dataset of the Hugging Face hub."""

FORMATS = {
  ".jsonl": "json_lines",
  ".ndjson": "json_lines",
  ".json": "json",
  ".csv": "csv",
  ".tsv": "tsv",
  ".parquet": "parquet",
  ".arrow": "arrow",
  ".feather": "arrow",
}
"""File name ending to format."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""Second ending of a compressed text file."""

_TEXT_FORMATS = ("json_lines", "json", "csv", "tsv")
_STATE = "state.json"
# What `datasets` saves beside the rows.
_METADATA = (_STATE, "dataset_info.json", "dataset_dict.json")
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class SourceFile:
  """One file of rows.

  Attributes:
    name: what messages and the manifest call it.
    path: where it is; a dataset's name for a hub.
    format: a value of `FORMATS`, or "hub".
    compression: "gzip", "zstd" or None.
  """

  name: str
  path: str
  format: str
  compression: str | None = None

  @property
  def size_bytes(self) -> int:
    """Bytes on disk; 0 for a hub."""
    return 0 if self.format == "hub" else os.stat(self.path).st_size


@dataclasses.dataclass(frozen=True)
class Source:
  """All files of one import.

  Attributes:
    files: sorted by name.
    left_aside: names of files in the same folders that hold no rows.
  """

  files: tuple[SourceFile, ...]
  left_aside: tuple[str, ...] = ()

  def fingerprint(self) -> str:
    """Returns 16 hex digits of the files' names and bytes."""
    hashed = hashlib.sha256()
    for file in self.files:
      hashed.update(f"{len(file.name)}:{file.name}".encode())
      if file.format == "hub":
        continue
      with open(file.path, "rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
          hashed.update(chunk)
    return hashed.hexdigest()[:16]


def find(source: str) -> Source:
  """Returns the files that `--source` names.

  Args:
    source: paths, folders and globs separated by commas, or
      `hub:owner/name`. A folder stands for all data files below it, and a
      folder that `datasets` saved for the files its `state.json` lists.

  Raises:
    UserError: a source is a URL, nothing is there, a file is empty, no regular
      file, or of no known format.
  """
  if source.startswith(HUB_PREFIX):
    name = source.removeprefix(HUB_PREFIX)
    return Source((SourceFile(source, name, "hub"),))
  found: dict[str, SourceFile] = {}
  left_aside: list[str] = []
  for part in source.split(","):
    if "://" in part:
      raise errors.UserError(
        f"{part}: is a URL; expected files on this machine: copy them here"
        " first, or mount the bucket"
      )
    for path in _matches(part):
      if os.path.isdir(path):
        _add_folder(path, found, left_aside)
      else:
        _add(os.path.basename(path), path, found)
  if not found:
    raise errors.UserError(
      f"--source={source}: no data files, only {len(left_aside)} others;"
      f" expected names that end in {_endings()}"
    )
  ordered = sorted(found.values(), key=lambda file: file.name)
  for file in ordered:
    _check(file)
  return Source(tuple(ordered), tuple(sorted(left_aside)))


def _matches(part: str) -> list[str]:
  if not part:
    raise errors.UserError("--source holds an empty name; expected paths")
  # A file whose name looks like a glob is meant as it stands.
  if os.path.lexists(part) or not glob.has_magic(part):
    return [part]
  matches = sorted(glob.glob(part, recursive=True))
  if not matches:
    raise errors.UserError(f"--source={part}: no file matches")
  return matches


def _add_folder(
  folder: str, found: dict[str, SourceFile], left_aside: list[str]
) -> None:
  files.check_tree(folder)
  for directory, folders, names in os.walk(folder):
    folders.sort()
    listed = _listed(directory) if _STATE in names else None
    for name in sorted(names):
      path = os.path.join(directory, name)
      relative = os.path.relpath(path, folder)
      if name in _METADATA:
        continue
      if _format(name) is None or (listed is not None and name not in listed):
        left_aside.append(relative)
      else:
        _add(relative, path, found)


def _listed(folder: str) -> list[str]:
  """Returns the data files that a saved dataset's `state.json` names."""
  path = os.path.join(folder, _STATE)
  state = files.read_json(path, dict)
  try:
    return [str(entry["filename"]) for entry in state["_data_files"]]
  except (KeyError, TypeError) as error:
    raise errors.UserError(
      f"{path}: lists no data files; expected the state of a saved dataset"
    ) from error


def _add(name: str, path: str, found: dict[str, SourceFile]) -> None:
  files.check_regular(path)
  known = _format(name)
  if known is None:
    raise errors.UserError(
      f"{path}: of no known format; expected a name that ends in {_endings()}"
    )
  if name in found and not os.path.samefile(found[name].path, path):
    name = path  # Two folders hold files of one name.
  found[name] = SourceFile(name, path, *known)


def _format(name: str) -> tuple[str, str | None] | None:
  """Returns the format and compression that a file name stands for."""
  path = pathlib.PurePath(name.lower())
  compression = COMPRESSIONS.get(path.suffix)
  if compression is not None:
    path = path.with_suffix("")
  kind = FORMATS.get(path.suffix)
  if kind is None or (compression and kind not in _TEXT_FORMATS):
    return None
  return kind, compression


def _check(file: SourceFile) -> None:
  try:
    size = file.size_bytes
    with open(file.path, "rb"):
      pass
  except PermissionError as error:
    raise errors.UserError(f"{file.path}: no permission to read it") from error
  if not size:
    raise errors.UserError(
      f"{file.path} is empty; expected rows: was its download interrupted?"
    )


def _endings() -> str:
  return f"{', '.join(FORMATS)} (text also .gz, .zst)"
