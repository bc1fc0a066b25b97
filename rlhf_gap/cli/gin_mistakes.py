"""Mistakes in gin files and bindings, in one line with place and remedy."""

import functools
import inspect
import pathlib
import re
import sys
from collections.abc import Sequence

import gin

from rlhf_gap import errors
from rlhf_gap.cli import near_names
from rlhf_gap.cli.gin_sources import ROOT, Line

_MACRO = "gin.macro"
_PLACE = re.compile(r'(?:In file |\()"?(\S+?\.gin)"?, line (\d+)')
# Former names of parameters, by (class, parameter).
_RENAMED = {
  ("Size", "policy"): "policy_gin_file",
  ("Study", "policy"): "policy_gin_file",
  ("Study", "golden"): "golden_gin_file",
}
# What gin adds to an error: where it was called, and what it had bound.
_ADDED = re.compile(
  r"\s*(In call to configurable|In bindings string|No values supplied by Gin)"
)


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
  known = [scope for (scope, kind) in gin.config._CONFIG if kind == _MACRO]
  use = re.compile(rf"^[^#]*%{name}\b")
  places = [line.place for line in lines if use.match(line.text)]
  place = f"{places[0]}: " if places else ""
  return f"{place}nothing sets %{name}{near_names.hint(name, known)}"


def _hint(text: str) -> str:
  """Suggests the near name where gin says that there is no such one."""
  found = re.search(r"'([\w.]+)' doesn't have a parameter named '(\w+)'", text)
  if found is not None:
    made = gin.config._REGISTRY.get_match(found[1])
    if made is None:
      return ""
    renamed = _RENAMED.get((found[1].split(".")[-1], found[2]))
    if renamed is not None:
      return f"; it is now called {renamed}"
    return near_names.hint(found[2], inspect.signature(made.wrapped).parameters)
  found = re.search(r"<module '([\w.]+)'.*has no attribute (\w+)", text)
  if found is not None:
    return near_names.hint(found[2], vars(sys.modules[found[1]]))
  found = re.search(
    r"No configurable matching (?:reference )?'@?([\w.]+)", text
  )
  if found is not None:
    known = [name for name, _ in gin.config._REGISTRY.items()]
    parts = found[1].count(".") + 1
    return near_names.hint(
      found[1], [".".join(k.split(".")[-parts:]) for k in known]
    )
  return ""


def check_used(lines: Sequence[Line]) -> None:
  """Finds bindings of the user's own that nothing asked for.

  Files of ours bind alternatives (two optimizers) of which a run uses one.

  Args:
    lines: what was parsed.

  Raises:
    UserError: a binding or a macro is not used.
  """
  for scope, selector, name in unused_bindings():
    place = place_of((scope, selector, name), lines)
    if place is not None:
      used = gin.config._OPERATIVE_CONFIG
      known = [scope for scope, kind in used if kind == _MACRO]
      written = _written(scope, selector, name)
      hint = near_names.hint(written, known) or "; it has no effect here"
      short = ".".join(written.split(".")[-3:])
      raise errors.UserError(f"{place}: nothing uses {short}{hint}")


def unused() -> list[str]:
  """Returns the names of macros and bindings that nothing has asked for."""
  return [_written(*binding) for binding in unused_bindings()]


def unused_bindings() -> list[tuple[str, str, str]]:
  """Returns (scope, selector, parameter) of what nothing has asked for."""
  return [
    (scope, selector, parameter)
    for (scope, selector), values in gin.config._CONFIG.items()
    for parameter in values
    if not _is_used(scope, selector, parameter)
  ]


def _written(scope: str, selector: str, parameter: str) -> str:
  return scope if selector == _MACRO else f"{selector}.{parameter}"


def _is_used(scope: str, selector: str, parameter: str) -> bool:
  # A binding holds in its own scope and in those below; what a macro refers to
  # is made in the macro's scope.
  return any(
    kind == selector
    and parameter in values
    and (asked == scope or not scope or asked.startswith(f"{scope}/"))
    for (asked, kind), values in gin.config._OPERATIVE_CONFIG.items()
  )


def place_of(
  binding: tuple[str, str, str], lines: Sequence[Line]
) -> str | None:
  """Returns where the user last bound a name: a flag, or a file not ours.

  Args:
    binding: scope, selector and parameter, by gin's own key.
    lines: what was parsed.
  """
  scope, selector, last = binding
  if selector == _MACRO:
    pattern, block = re.compile(rf"\s*{re.escape(scope)}\s*="), None
  else:
    owner = re.escape(selector.split(".")[-1])
    owner = (
      rf"{re.escape(scope)}/(?:\w+\.)*{owner}"
      if scope
      else (rf"(?:\w+\.)*{owner}")
    )
    pattern = re.compile(rf"\s*{owner}\.{re.escape(last)}\s*=")
    block = re.compile(rf"\s*{owner}:")
  found = None
  inside = False
  for line in lines:
    if _is_ours(line.place):
      continue
    if line.text and not line.text.startswith((" ", "\t", "#")):
      inside = bool(block and block.match(line.text))
    within = inside and re.match(rf"\s+{re.escape(last)}\s*=", line.text)
    if within or pattern.match(line.text):
      found = line.place
  return found


@functools.cache
def _is_ours(place: str) -> bool:
  path = pathlib.Path(place.rpartition(":")[0])
  folder = ROOT / "gin_configs"
  return any(
    candidate.resolve().is_relative_to(folder) and candidate.is_file()
    for candidate in (path, ROOT / path)
  )
