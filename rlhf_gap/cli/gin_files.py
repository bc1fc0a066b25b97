"""gin files at the edge: parsed once, their mistakes in one line."""

import copy
import difflib
import pathlib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import gin

from rlhf_gap import errors

Described = TypeVar("Described")

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
      paths,
      [_quoted(binding) for binding in bindings],
      skip_unknown=False,
      finalize_config=False,
    )
  except Exception as error:  # gin raises what the file leads it to
    raise errors.UserError(_one_line(error)) from error


def _quoted(binding: str) -> str:
  """Takes a path on the command line for a string, quoted or not."""
  name, _, value = binding.partition(" = ")
  if value[:1] in "'\"[({@%" or "/" not in value:
    return binding
  return f"{name} = {value!r}"


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


def construct(
  described: type[Described], files: Sequence[str], bindings: Sequence[str]
) -> Described:
  """Makes what the parsed files describe.

  Args:
    described: a dataclass whose fields the files bind.
    files: the gin files that were parsed, to name places in.
    bindings: the bindings of the command line, likewise.

  Returns:
    The description.

  Raises:
    UserError: a required value is missing, a value is wrong, or a binding or
      macro of the user's own is not used: it is misspelt, or without effect.
  """
  try:
    made = gin.get_configurable(described)()
  except errors.UserError as error:
    # gin adds lines about where it was called.
    raise errors.UserError(str(error).splitlines()[0]) from error
  except (TypeError, ValueError, RuntimeError) as error:
    raise errors.UserError(_missing(error) or _one_line(error)) from error
  _check_used(files, bindings)
  return made


def operative() -> str:
  """Returns the configuration as it was used, in gin's syntax."""
  return gin.operative_config_str()


def _missing(error: Exception) -> str | None:
  """Names the macros that a file marks as required and nothing sets."""
  missing = [
    scope
    for (scope, selector), values in gin.config._CONFIG.items()
    if selector == "gin.macro" and values.get("value") is gin.REQUIRED
  ]
  if "equired" not in str(error) or not missing:
    return None
  flags = " ".join(f"--gin.{name}=..." for name in sorted(missing))
  return f"{', '.join(sorted(missing))} must be set: add {flags}"


def _check_used(files: Sequence[str], bindings: Sequence[str]) -> None:
  """Finds bindings of the user's own that nothing asked for.

  Files of ours bind alternatives (two optimizers) of which a run uses one.
  """
  used = gin.config._OPERATIVE_CONFIG
  for (scope, selector), values in gin.config._CONFIG.items():
    for parameter in values:
      if _is_used(scope, selector, parameter):
        continue
      name = scope if selector == "gin.macro" else f"{selector}.{parameter}"
      place = _place_of(name, files, bindings)
      if place is not None:
        known = [s for s, kind in used if kind == "gin.macro"]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise errors.UserError(
          f"{place}: nothing uses {name}{hint or '; it has no effect here'}"
        )


def _is_used(scope: str, selector: str, parameter: str) -> bool:
  # What a macro refers to is made in the macro's scope, within the binding's.
  return any(
    parameter in values and name == selector and (not scope or scope in active)
    for (active, name), values in gin.config._OPERATIVE_CONFIG.items()
  )


def _place_of(
  name: str, files: Sequence[str], bindings: Sequence[str]
) -> str | None:
  """Returns where the user bound `name`: a flag, or a file not ours."""
  last = ".".join(name.split(".")[-2:])
  pattern = re.compile(rf"\s*(\S+[./])?{re.escape(last)}\s*=")
  if any(pattern.match(binding) for binding in bindings):
    return f"--gin.{name}"
  for file in files:
    path = pathlib.Path(file).resolve()
    if path.is_relative_to(_ROOT / "gin_configs") or not path.is_file():
      continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
      if pattern.match(line):
        return f"{file}:{number}"
  return None


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
