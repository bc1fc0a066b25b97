"""gin files at the edge: parsed once, their mistakes in one line."""

import copy
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import gin

from rlhf_gap import errors
from rlhf_gap.cli import gin_mistakes, gin_sources, gin_values

Described = TypeVar("Described")

# The setting that a constructor's message begins with.
_SETTING = re.compile(r"^(?:[A-Za-z]\w*[.:] ?)?([a-z]\w*) ?=")
_CALLED = re.compile(
  r"In call to configurable '([\w.]+)' \(.*?\)(?: in scope '([\w/]+)')?"
)


def parse(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = (),
  allowed_modules: Sequence[str] = (),
) -> None:
  """Reads gin files, then single bindings, into gin's one configuration.

  A binding's text is read by the type of the setting that it ends up in: what
  is bound to a path is a path, whatever it looks like.

  Args:
    files: paths of gin files; later ones override earlier ones.
    bindings: "NAME = value" each, which override the files.
    search_paths: folders to look for files in, before the repository's root.
    allowed_modules: modules that the files may import besides ours, JAX, optax
      and seqio.

  Raises:
    UserError: a file is missing, a name is unknown, a setting does not accept
      its value, or a file imports a module that is not allowed.
  """
  gin.clear_config()
  lines = gin_sources.lines_of(files, bindings, search_paths, allowed_modules)
  gin_sources.prepare_gin(search_paths)
  try:
    gin.parse_config_files_and_bindings(
      [gin_sources.find(file, search_paths) for file in files],
      [],
      skip_unknown=False,
      finalize_config=False,
    )
  except errors.UserError:
    raise
  except Exception as error:  # gin raises what the file leads it to
    raise errors.UserError(gin_mistakes.one_line(error, lines)) from error
  gin_values.bind(bindings, lines)
  gin_values.check(lines, allowed_modules)


def construct(
  described: type[Described],
  files: Sequence[str],
  bindings: Sequence[str],
  search_paths: Sequence[str] = (),
) -> Described:
  """Makes what the parsed files describe.

  Args:
    described: a dataclass whose fields the files bind.
    files: the gin files that were parsed, to name places in.
    bindings: the bindings of the command line, likewise.
    search_paths: folders that the files were looked for in.

  Returns:
    The description.

  Raises:
    UserError: a required value is missing, a value is wrong, or a binding or
      macro of the user's own is not used: it is misspelt, or without effect.
  """
  lines = gin_sources.lines_of(files, bindings, search_paths, None)
  missing = required_macros()
  if missing:
    flags = " ".join(f"--gin.{name}=..." for name in missing)
    raise errors.UserError(f"{', '.join(missing)} must be set: add {flags}")
  try:
    made = gin.get_configurable(described)()
  except errors.UserError as error:
    message, *_ = str(error).splitlines()  # gin adds where it was called
    source = _source(str(error), lines)
    raise errors.UserError(f"{source}{message}") from error
  except (TypeError, ValueError, RuntimeError) as error:
    message = gin_mistakes.one_line(error, lines)
    source = _source(str(error), lines)
    raise errors.UserError(f"{source}{message}") from error
  gin_mistakes.check_used(lines)
  return made


def _source(text: str, lines: Sequence[gin_sources.Line]) -> str:
  """Returns the flag or place that a constructor's message is about."""
  message, *added = text.splitlines()
  setting = _SETTING.search(message)
  made_in = _CALLED.search(" ".join(added))
  if setting is None or made_in is None:
    return ""
  source = gin_values.source_of(
    made_in[2] or "", made_in[1].split(".")[-1], setting[1], lines
  )
  return "" if source is None else f"{source}: "


def operative() -> str:
  """Returns the configuration as it was used, in gin's syntax."""
  return gin.operative_config_str()


def settings() -> dict[str, str]:
  """Returns everything that the parsed files and bindings set, by name."""
  found = {}
  for (scope, selector), values in gin.config._CONFIG.items():
    for name, value in values.items():
      scoped = f"{scope}/{selector}" if scope else selector
      is_macro = selector == "gin.macro"
      found[scope if is_macro else f"{scoped}.{name}"] = repr(value)
  return found


def required_macros() -> list[str]:
  """Returns the macros that a file marks as required and nothing has set."""
  return sorted(
    scope
    for (scope, selector), values in gin.config._CONFIG.items()
    # A reference to gin's constant, which gin does not resolve in macros.
    if selector == "gin.macro" and str(values["value"]) == "%gin.REQUIRED"
  )


def is_set(name: str) -> bool:
  """Whether a file or a binding sets a macro."""
  return (name, "gin.macro") in gin.config._CONFIG


def macro(name: str) -> Any:
  """Returns the value of a macro such as MODEL.

  Args:
    name: the macro's name.

  Returns:
    Its value, references resolved.

  Raises:
    UserError: no file sets it, or what it refers to cannot be made.
  """
  try:
    value = gin.query_parameter(f"{name}/gin.macro.value")
  except ValueError as error:
    raise errors.UserError(
      f"no gin file sets {name}; add one that does, or --gin.{name}=value"
    ) from error
  try:
    return copy.deepcopy(value)  # which is how gin resolves its references
  except (TypeError, ValueError, RuntimeError) as error:
    raise errors.UserError(gin_mistakes.one_line(error, [])) from error
