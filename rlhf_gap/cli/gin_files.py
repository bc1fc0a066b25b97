"""gin files at the edge: parsed once, their mistakes in one line."""

import copy
import difflib
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import gin

from rlhf_gap import errors

# The repository's root: "gin_configs/models/..." is found from anywhere.
_ROOT = pathlib.Path(__file__).parents[2]


def parse(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = (),
) -> None:
  """Reads gin files, then single bindings, into gin's one configuration.

  Args:
    files: paths of gin files; later ones override earlier ones.
    bindings: "NAME = value" each, which override the files.
    search_paths: folders to look for files in, before the repository's root.

  Raises:
    UserError: a file is missing, or a name or a value in one is wrong.
  """
  gin.clear_config()
  for folder in (str(_ROOT), *reversed(search_paths)):
    gin.add_config_file_search_path(folder)
  paths = [_find(file, search_paths) for file in files]
  try:
    gin.parse_config_files_and_bindings(
      paths, list(bindings), skip_unknown=False, finalize_config=False
    )
  except Exception as error:  # gin raises what the file leads it to
    raise errors.UserError(_one_line(error)) from error


def _find(file: str, search_paths: Sequence[str]) -> str:
  # gin would look through its search paths too, and log each miss as an error.
  for folder in (pathlib.Path(), *map(pathlib.Path, search_paths), _ROOT):
    if (folder / file).is_file():
      return str(folder / file)
  known = [str(p.relative_to(_ROOT)) for p in _ROOT.glob("gin_configs/*/*")]
  near = difflib.get_close_matches(file, known, n=1)
  hint = f"; did you mean {near[0]}?" if near else ""
  raise errors.UserError(f"{file}: no such gin file{hint}")


def _one_line(error: Exception) -> str:
  # gin adds where it happened on lines of its own: `In file "...", line 3`.
  text = re.sub(r"\s+", " ", str(error)).strip()
  place = re.search(r'(?:In file |\()"?(\S+?\.gin)"?, line (\d+)', text)
  if place is None:
    return text
  return f"{place[1]}:{place[2]}: {text[: place.start()].strip()}"


def macro(name: str) -> Any:
  """Returns the value of a macro such as MODEL.

  Args:
    name: the macro's name.

  Returns:
    Its value, references resolved.

  Raises:
    UserError: no file sets it.
  """
  try:
    value = gin.query_parameter(f"{name}/gin.macro.value")
  except ValueError as error:
    raise errors.UserError(
      f"no gin file sets {name}; add one that does, or --gin.{name}=value"
    ) from error
  return copy.deepcopy(value)  # which is how gin resolves its references
