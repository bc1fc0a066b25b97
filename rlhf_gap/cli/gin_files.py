"""Parses gin files and reports mistakes in them in one line."""

import copy
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import gin

from rlhf_gap import errors
from rlhf_gap.cli import gin_mistakes, gin_sources, gin_values

Described = TypeVar("Described")

# The setting at the start of a constructor's message.
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
  """Reads gin files, then single bindings, into gin's global configuration.

  A binding's text is parsed by the type of its setting: a path stays a string,
  even if it looks like a number.

  Args:
    files: paths of gin files; later ones override earlier ones.
    bindings: "NAME = value" each; they override the files.
    search_paths: folders to search for files before the repository's root.
    allowed_modules: modules that the files may import in addition to ours, JAX,
      optax and seqio.

  Raises:
    UserError: a file is missing, a name is unknown, a value does not match its
      setting's type, or a file imports a module that is not allowed.
  """
  gin.clear_config()
  search_paths = gin_sources.with_checkouts(search_paths, files)
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
  except Exception as error:  # a mistake in a file can raise many types
    raise errors.UserError(gin_mistakes.one_line(error, lines)) from error
  gin_values.bind(bindings, lines)
  gin_values.check(lines, allowed_modules)


def construct(
  described: type[Described],
  files: Sequence[str],
  bindings: Sequence[str],
  search_paths: Sequence[str] = (),
) -> Described:
  """Constructs what the parsed files describe.

  Args:
    described: a dataclass whose fields the files bind.
    files: the parsed gin files, for messages.
    bindings: the bindings of the command line, for messages.
    search_paths: folders that were searched for the files.

  Returns:
    An instance of `described`.

  Raises:
    UserError: a required value is missing, a value is invalid, or one of the
      user's own bindings or macros is misspelt or has no effect.
  """
  search_paths = gin_sources.with_checkouts(search_paths, files)
  lines = gin_sources.lines_of(files, bindings, search_paths, None)
  missing = required_macros()
  if missing:
    flags = " ".join(f"--gin.{name}=..." for name in missing)
    raise errors.UserError(f"{', '.join(missing)} must be set: add {flags}")
  try:
    instance = gin.get_configurable(described)()
  except errors.UserError as error:
    message, *_ = str(error).splitlines()  # the other lines are gin's
    source = _source(str(error), lines)
    raise errors.UserError(f"{source}{message}") from error
  except (TypeError, ValueError, RuntimeError) as error:
    message = gin_mistakes.one_line(error, lines)
    source = _source(str(error), lines)
    raise errors.UserError(f"{source}{message}") from error
  gin_mistakes.check_used(lines)
  return instance


def _source(text: str, lines: Sequence[gin_sources.Line]) -> str:
  """Returns "flag: " or "place: " of the setting that a message is about."""
  message, *added_by_gin = text.splitlines()
  setting = _SETTING.search(message)
  call = _CALLED.search(" ".join(added_by_gin))
  if setting is None or call is None:
    return ""
  source = gin_values.source_of(
    call[2] or "", call[1].split(".")[-1], setting[1], lines
  )
  return "" if source is None else f"{source}: "


def operative() -> str:
  """Returns the operative configuration, in gin's syntax."""
  return gin.operative_config_str()


def settings() -> dict[str, str]:
  """Returns all settings of the parsed files and bindings, by name."""
  values_by_name = {}
  for (scope, selector), values in gin.config._CONFIG.items():
    for name, value in values.items():
      scoped = f"{scope}/{selector}" if scope else selector
      is_macro = selector == "gin.macro"
      full_name = scope if is_macro else f"{scoped}.{name}"
      values_by_name[full_name] = repr(value)
  return values_by_name


def required_macros() -> list[str]:
  """Returns the required macros that have no value yet."""
  return sorted(
    scope
    for (scope, selector), values in gin.config._CONFIG.items()
    # gin does not resolve this constant in macros.
    if selector == "gin.macro" and str(values["value"]) == "%gin.REQUIRED"
  )


def is_set(name: str) -> bool:
  """Returns whether a file or a binding sets a macro."""
  return (name, "gin.macro") in gin.config._CONFIG


def macro(name: str) -> Any:
  """Returns the value of a macro such as MODEL.

  Args:
    name: the macro's name.

  Returns:
    Its value, with references resolved.

  Raises:
    UserError: no file sets it, or a reference cannot be resolved.
  """
  try:
    value = gin.query_parameter(f"{name}/gin.macro.value")
  except ValueError as error:
    raise errors.UserError(
      f"no gin file sets {name}; add one that does, or --gin.{name}=value"
    ) from error
  try:
    return copy.deepcopy(value)  # gin resolves references on deep copies
  except (TypeError, ValueError, RuntimeError) as error:
    raise errors.UserError(gin_mistakes.one_line(error, [])) from error
