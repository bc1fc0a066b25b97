"""Reads gin files and checks their text, includes and imports."""

import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gin
from gin import config_parser

from rlhf_gap import errors, files

# The repository's root, always searched, for "gin_configs/models/...". For an
# installed copy of the package it holds no gin files: see `_checkout_of`.
ROOT = pathlib.Path(__file__).parents[2]
_OURS = "gin_configs"

TRUSTED_MODULES = ("rlhf_gap", "jax", "optax", "seqio")
"""Packages that a gin file may import without `--allow_module`."""

# Former modules whose classes users may bind -> where these are now.
_MOVED = {"rlhf_gap.losses.configured": "rlhf_gap.losses"}

# Not a module: `from __gin__ import ...` enables features of gin.
_GIN_FEATURES = "__gin__"


class Line(NamedTuple):
  """A line of a gin file, or a binding of the command line.

  Attributes:
    place: "file:number", or the flag.
    text: the line, or "NAME = value" for a flag.
    is_ours: whether the file is one of this repository's own.
  """

  place: str
  text: str
  is_ours: bool = False


def find(file: str, search_paths: Sequence[str], place: str = "") -> str:
  """Returns the path of a gin file.

  Args:
    file: its path, as given by the user or an include statement.
    search_paths: folders to search before the repository's root.
    place: place of the include statement, if any, for messages.

  Raises:
    UserError: there is no such file.
  """
  for folder in _folders(search_paths):
    if file and os.path.exists(os.path.join(folder, file)):
      return os.path.join(folder, file)
  root = _checkout_of(file) or ROOT
  known = [str(p.relative_to(root)) for p in root.glob(f"{_OURS}/**/*.gin")]
  place = f"{place}: " if place else ""
  raise errors.UserError(
    f"{place}{file}: no such gin file{errors.did_you_mean(file, known)}"
  )


def lines_of(
  paths: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = (),
  allowed_modules: Sequence[str] | None = (),
) -> list[Line]:
  """Returns every line to be parsed, with its place, without executing any.

  Importing a module runs its code, so imports are checked here, before gin
  parses the file.

  Args:
    paths: paths of gin files; the files that they include are read too.
    bindings: "NAME = value" each.
    search_paths: folders to search for files.
    allowed_modules: modules that may be imported in addition to
      `TRUSTED_MODULES`; None to skip the check.

  Raises:
    UserError: a file is missing or unreadable, includes itself, or imports a
      module that is not allowed.
  """
  allowed = (
    None if allowed_modules is None else (*TRUSTED_MODULES, *allowed_modules)
  )
  lines: list[Line] = []
  for path in paths:
    lines += _lines_of(path, search_paths, allowed, "", ())
  flags = [Line(f"--gin.{b.split(' = ')[0]}", b) for b in bindings]
  return lines + flags


def with_checkouts(
  search_paths: Sequence[str], files: Sequence[str]
) -> list[str]:
  """Adds the checkouts that gin files are in, for the files that they include.

  Args:
    search_paths: folders that the user searches.
    files: paths of the user's gin files.
  """
  if (ROOT / _OURS).is_dir():
    return list(search_paths)
  found = (_checkout_of(file) for file in files)
  checkouts = [str(root) for root in found if root]
  return list(dict.fromkeys([*search_paths, *checkouts]))


def _checkout_of(file: str) -> pathlib.Path | None:
  """Returns the checkout that a file is in.

  An installed copy of the package is elsewhere than the gin files that its user
  has.

  Args:
    file: its path; it need not exist.

  Returns:
    The innermost folder above it that has our package and gin files.
  """
  for folder in pathlib.Path(file).resolve().parents if file else ():
    package = folder / __package__.split(".")[0] / "__init__.py"
    if package.is_file() and (folder / _OURS).is_dir():
      return folder
  return None


def prepare_gin(search_paths: Sequence[str]) -> None:
  """Makes gin find and read files in the same way as this module.

  gin's own resource reader logs an error for every folder without the file, and
  fails if the checkout is on PYTHONPATH.

  Args:
    search_paths: folders to search before the repository's root.
  """
  gin.config._LOCATION_PREFIXES[:] = _folders(search_paths)
  gin.config._FILE_READERS[:] = [(_Source, os.path.exists)]


def is_allowed(module: str, allowed: Sequence[str]) -> bool:
  """Returns whether `module` is one of `allowed` or inside one of them."""
  return any(
    module == name or module.startswith(f"{name}.") for name in allowed
  )


def _folders(search_paths: Sequence[str]) -> list[str]:
  return ["", *search_paths, str(ROOT)]


class _Source(io.StringIO):
  """A gin file's text. gin uses `name` in its messages."""

  def __init__(self, path: str):
    super().__init__(_text_of(path))
    self.name = path


def _text_of(path: str) -> str:
  text = files.read_text(path)
  if "\0" in text:
    raise errors.UserError(f"{path}: contains NUL bytes; expected a gin file")
  # gin's tokenizer counts lines by "\n".
  return text.replace("\r\n", "\n")


def _lines_of(
  file: str,
  search_paths: Sequence[str],
  allowed: Sequence[str] | None,
  place: str,
  included_by: tuple[str, ...],
) -> Iterator[Line]:
  path = find(file, search_paths, place)
  identity = os.path.realpath(path)
  if identity in included_by:
    raise errors.UserError(f"{place}: {file} includes itself; remove that line")
  text = _text_of(path)
  nested = _includes(_Source(path), file, allowed)
  root = _checkout_of(identity)
  is_ours = root is not None and identity.startswith(f"{root / _OURS}{os.sep}")
  for number, line in enumerate(text.split("\n"), 1):
    here = f"{file}:{number}"
    yield Line(here, line, is_ours)
    if number in nested:
      chain = (*included_by, identity)
      yield from _lines_of(nested[number], search_paths, allowed, here, chain)


def _includes(
  source: _Source, file: str, allowed: Sequence[str] | None
) -> dict[int, str]:
  """Checks all imports and returns the included files by line number."""
  included = {}
  try:
    for statement in config_parser.ConfigParser(source, _Placeholders()):
      if isinstance(statement, config_parser.IncludeStatement):
        included[statement.location.line_num] = statement.filename
      imports = isinstance(statement, config_parser.ImportStatement)
      if imports and allowed is not None:
        place = f"{file}:{statement.location.line_num}"
        _check_import(statement, place, allowed)
  except errors.UserError:
    raise
  except Exception:
    # gin will fail on the same statement, and `gin_mistakes` will describe it.
    # The statements before it have been checked.
    pass
  return included


def _check_import(
  statement: config_parser.ImportStatement, place: str, allowed: Sequence[str]
) -> None:
  module = statement.module
  if module in _MOVED:
    raise errors.UserError(
      f"{place}: {module} no longer exists; import {_MOVED[module]} instead"
    )
  if module.split(".")[0] != _GIN_FEATURES and not is_allowed(module, allowed):
    raise errors.UserError(
      f"{place}: imports {module}, which would run its code; if you trust it,"
      f" add --allow_module={module.split('.')[0]}"
    )


class _Placeholders(config_parser.ParserDelegate):
  """Parses references as plain strings, without importing anything."""

  def configurable_reference(self, scoped_name: str, evaluate: bool) -> Any:
    return scoped_name

  def macro(self, name: str) -> Any:
    return name
