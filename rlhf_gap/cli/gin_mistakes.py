"""Mistakes in gin files and bindings, in one line with place and remedy."""

import difflib
import inspect
import pathlib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import gin

from rlhf_gap import errors

# The repository's root: "gin_configs/models/..." is found from anywhere.
ROOT = pathlib.Path(__file__).parents[2]

_INCLUDE = re.compile(r"""\s*include\s+['"]([^'"]+)['"]""")
_PLACE = re.compile(r'(?:In file |\()"?(\S+?\.gin)"?, line (\d+)')
# What gin adds to an error: where it was called, and what it had bound.
_ADDED = re.compile(
  r"\s*(In call to configurable|In bindings string|No values supplied by Gin)"
)


class Line(NamedTuple):
  """A line that the user wrote.

  Attributes:
    place: "file:number", or the flag that it was given by.
    text: what it says.
  """

  place: str
  text: str


def find(file: str, search_paths: Sequence[str], place: str = "") -> str:
  """Returns where a gin file lies.

  Args:
    file: its path, as it was given.
    search_paths: folders to look in, before the repository's root.
    place: where it is included, if it is.

  Raises:
    UserError: there is none; a near one is suggested.
  """
  for folder in (pathlib.Path(), *map(pathlib.Path, search_paths), ROOT):
    if (folder / file).is_file():
      return str(folder / file)
  known = [str(p.relative_to(ROOT)) for p in ROOT.glob("gin_configs/**/*.gin")]
  place = f"{place}: " if place else ""
  raise errors.UserError(f"{place}{file}: no such gin file{near(file, known)}")


def lines_of(
  files: Sequence[str],
  bindings: Sequence[str],
  search_paths: Sequence[str] = (),
) -> list[Line]:
  """Returns every line that will be parsed, with its place.

  Args:
    files: paths of gin files; those that they include are read too.
    bindings: "NAME = value" each.
    search_paths: folders to look for files in.

  Raises:
    UserError: a file is missing.
  """
  lines = []
  for file in files:
    path = find(file, search_paths)
    for number, text in enumerate(
      pathlib.Path(path).read_text().split("\n"), 1
    ):
      place = f"{file}:{number}"
      lines.append(Line(place, text))
      included = _INCLUDE.match(text)
      if included:
        find(included[1], search_paths, place)
        lines += lines_of([included[1]], (), search_paths)
  flags = [Line(f"--gin.{b.split(' = ')[0]}", b) for b in bindings]
  return lines + flags


def near(word: str, known: Iterable[str]) -> str:
  """Returns "; did you mean ...?" where one of `known` is near to `word`."""
  matches = difflib.get_close_matches(word, sorted(set(known)), n=1)
  return f"; did you mean {matches[0]}?" if matches else ""


def one_line(error: Exception, lines: Sequence[Line]) -> str:
  """Returns what gin says in one line, with place and remedy.

  Args:
    error: what gin, or what it called, raised.
    lines: what was parsed.
  """
  text = re.sub(r"\s+", " ", str(error)).strip()
  unknown = re.search(r"in scope '(\w+)'$", text)
  if unknown is not None and "macro()" in text:
    return _unknown_macro(unknown[1], lines)
  place = _PLACE.search(text)
  hint = _hint(text)
  if place is not None:
    text = text[: place.start()].strip()
    return f"{place[1]}:{place[2]}: {_ADDED.split(text)[0].rstrip('.')}{hint}"
  return f"{_ADDED.split(text)[0].rstrip('.')}{hint}"


def _unknown_macro(name: str, lines: Sequence[Line]) -> str:
  known = [scope for (scope, kind) in gin.config._CONFIG if kind == "gin.macro"]
  use = re.compile(rf"^[^#]*%{name}\b")
  places = [line.place for line in lines if use.match(line.text)]
  place = f"{places[0]}: " if places else ""
  return f"{place}nothing sets %{name}{near(name, known)}"


def _hint(text: str) -> str:
  """Suggests the near name where gin says that there is no such one."""
  found = re.search(r"'([\w.]+)' doesn't have a parameter named '(\w+)'", text)
  if found is not None:
    made = gin.config._REGISTRY.get_match(found[1])
    if made is None:
      return ""
    return near(found[2], inspect.signature(made.wrapped).parameters)
  found = re.search(r"<module '([\w.]+)'.*has no attribute (\w+)", text)
  if found is not None:
    return near(found[2], vars(sys.modules[found[1]]))
  found = re.search(
    r"No configurable matching (?:reference )?'@?([\w.]+)", text
  )
  if found is not None:
    known = [name for name, _ in gin.config._REGISTRY.items()]
    parts = found[1].count(".") + 1
    return near(found[1], [".".join(k.split(".")[-parts:]) for k in known])
  return ""


def check_used(lines: Sequence[Line]) -> None:
  """Finds bindings of the user's own that nothing asked for.

  Files of ours bind alternatives (two optimizers) of which a run uses one.

  Args:
    lines: what was parsed.

  Raises:
    UserError: a binding or a macro is not used.
  """
  for name in unused():
    place = _place_of(name, lines)
    if place is not None:
      used = gin.config._OPERATIVE_CONFIG
      known = [scope for scope, kind in used if kind == "gin.macro"]
      hint = near(name, known) or "; it has no effect here"
      short = ".".join(name.split(".")[-3:])
      raise errors.UserError(f"{place}: nothing uses {short}{hint}")


def unused() -> list[str]:
  """Returns the macros and bindings that nothing has asked for so far."""
  names = []
  for (scope, selector), values in gin.config._CONFIG.items():
    for parameter in values:
      if not _is_used(scope, selector, parameter):
        is_macro = selector == "gin.macro"
        names.append(scope if is_macro else f"{selector}.{parameter}")
  return names


def _is_used(scope: str, selector: str, parameter: str) -> bool:
  # A binding holds in its own scope and in those below; what a macro refers to
  # is made in the macro's scope.
  return any(
    kind == selector
    and parameter in values
    and (asked == scope or not scope or asked.startswith(f"{scope}/"))
    for (asked, kind), values in gin.config._OPERATIVE_CONFIG.items()
  )


def _place_of(name: str, lines: Sequence[Line]) -> str | None:
  """Returns where the user bound `name`: by a flag, or in a file not ours."""
  *_, owner, last = ["", *name.split(".")]
  bound = rf"(?:\S+[./])?{re.escape(owner)}\.{re.escape(last)}"
  pattern = re.compile(rf"\s*{bound if owner else re.escape(last)}\s*=")
  block = re.compile(rf"\s*(?:\S+[./])?{re.escape(owner)}:")
  inside = False
  for line in lines:
    if _is_ours(line.place):
      continue
    if line.text and not line.text.startswith((" ", "\t", "#")):
      inside = bool(owner and block.match(line.text))
    within = inside and re.match(rf"\s+{re.escape(last)}\s*=", line.text)
    if within or pattern.match(line.text):
      return line.place
  return None


def _is_ours(place: str) -> bool:
  path = pathlib.Path(place.rpartition(":")[0])
  folder = ROOT / "gin_configs"
  return any(
    candidate.resolve().is_relative_to(folder) and candidate.is_file()
    for candidate in (path, ROOT / path)
  )
