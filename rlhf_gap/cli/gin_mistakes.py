"""Describes mistakes in gin files in one line, with place and remedy."""

import inspect
import re
import sys
from collections.abc import Sequence

import gin

from rlhf_gap import errors
from rlhf_gap.cli.gin_sources import Line

_MACRO = "gin.macro"
_PLACE = re.compile(r'(?:In file |\()"?(\S+?\.gin)"?, line (\d+)')
# Former names of parameters, by (class, parameter).
_RENAMED = {
  ("Size", "policy"): "policy_gin_file",
  ("Study", "policy"): "policy_gin_file",
  ("Study", "golden"): "golden_gin_file",
}
# The start of what gin appends to an error.
_ADDED = re.compile(
  r"\s*(In call to configurable|In bindings string|No values supplied by Gin)"
)


def one_line(error: Exception, lines: Sequence[Line]) -> str:
  """Converts an error to one line, with place and remedy.

  Args:
    error: raised by gin, or by a function that it called.
    lines: the parsed lines.
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
  return f"{place}nothing sets %{name}{errors.did_you_mean(name, known)}"


def _hint(text: str) -> str:
  """Suggests a similar name if gin's message is about an unknown one."""
  match = re.search(r"'([\w.]+)' doesn't have a parameter named '(\w+)'", text)
  if match is not None:
    configurable = gin.config._REGISTRY.get_match(match[1])
    if configurable is None:
      return ""
    renamed = _RENAMED.get((match[1].split(".")[-1], match[2]))
    if renamed is not None:
      return f"; it is now called {renamed}"
    parameters = inspect.signature(configurable.wrapped).parameters
    return errors.did_you_mean(match[2], parameters)
  match = re.search(r"<module '([\w.]+)'.*has no attribute (\w+)", text)
  if match is not None:
    return errors.did_you_mean(match[2], vars(sys.modules[match[1]]))
  match = re.search(
    r"No configurable matching (?:reference )?'@?([\w.]+)", text
  )
  if match is not None:
    known = [name for name, _ in gin.config._REGISTRY.items()]
    parts = match[1].count(".") + 1
    return errors.did_you_mean(
      match[1], [".".join(k.split(".")[-parts:]) for k in known]
    )
  return ""


def check_used(lines: Sequence[Line]) -> None:
  """Checks that every binding of the user's own is used.

  Our own files may bind alternatives, such as two optimizers, of which a run
  uses one.

  Args:
    lines: the parsed lines.

  Raises:
    UserError: a binding or a macro is not used.
  """
  for scope, selector, name in unused_bindings():
    place = place_of((scope, selector, name), lines)
    if place is not None:
      used = gin.config._OPERATIVE_CONFIG
      known = [scope for scope, kind in used if kind == _MACRO]
      written = _written(scope, selector, name)
      hint = errors.did_you_mean(written, known) or "; it has no effect here"
      short = ".".join(written.split(".")[-3:])
      raise errors.UserError(f"{place}: nothing uses {short}{hint}")


def unused() -> list[str]:
  """Returns the names of the unused macros and bindings."""
  return [_written(*binding) for binding in unused_bindings()]


def unused_bindings() -> list[tuple[str, str, str]]:
  """Returns (scope, selector, parameter) of each unused binding."""
  return [
    (scope, selector, parameter)
    for (scope, selector), values in gin.config._CONFIG.items()
    for parameter in values
    if not _is_used(scope, selector, parameter)
  ]


def _written(scope: str, selector: str, parameter: str) -> str:
  return scope if selector == _MACRO else f"{selector}.{parameter}"


def _is_used(scope: str, selector: str, parameter: str) -> bool:
  # A binding applies to its own scope and to nested ones. A macro's reference
  # is evaluated in the macro's scope.
  return any(
    kind == selector
    and parameter in values
    and (used_in == scope or not scope or used_in.startswith(f"{scope}/"))
    for (used_in, kind), values in gin.config._OPERATIVE_CONFIG.items()
  )


def place_of(
  binding: tuple[str, str, str], lines: Sequence[Line]
) -> str | None:
  """Returns the flag or the place in a user's file that last bound a name.

  Args:
    binding: scope, selector and parameter, as in gin's own keys.
    lines: the parsed lines.

  Returns:
    None if only our own files bind the name, or none does.
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
  place = None
  inside = False
  for line in lines:
    if line.is_ours:
      continue
    if line.text and not line.text.startswith((" ", "\t", "#")):
      inside = bool(block and block.match(line.text))
    within = inside and re.match(rf"\s+{re.escape(last)}\s*=", line.text)
    if within or pattern.match(line.text):
      place = line.place
  return place
