"""gin files at the edge: parsed once, their mistakes in one line."""

import ast
import copy
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import gin

from rlhf_gap import errors
from rlhf_gap.cli import gin_mistakes

Described = TypeVar("Described")

# A value that is neither a literal nor a reference of gin's.
_BARE_WORD = re.compile(r"[A-Za-z_][\w.-]*")


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
  lines = gin_mistakes.lines_of(files, bindings, search_paths)
  for binding in bindings:
    if " = " not in binding:
      raise errors.UserError(f"--gin.{binding}: expected --gin.NAME=value")
  for folder in (str(gin_mistakes.ROOT), *reversed(search_paths)):
    gin.add_config_file_search_path(folder)
  try:
    gin.parse_config_files_and_bindings(
      [gin_mistakes.find(file, search_paths) for file in files],
      [_quoted(binding) for binding in bindings],
      skip_unknown=False,
      finalize_config=False,
    )
  except Exception as error:  # gin raises what the file leads it to
    raise errors.UserError(gin_mistakes.one_line(error, lines)) from error


def _quoted(binding: str) -> str:
  """Takes a path or a word on the command line for a string, quoted or not."""
  name, _, value = binding.partition(" = ")
  if value[:1] in "'\"[({@%":
    return binding
  if "/" in value or (_BARE_WORD.fullmatch(value) and not _is_literal(value)):
    return f"{name} = {value!r}"
  return binding


def _is_literal(value: str) -> bool:
  try:
    ast.literal_eval(value)
  except ValueError:
    return False
  return True


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
  lines = gin_mistakes.lines_of(files, bindings, search_paths)
  missing = required_macros()
  if missing:
    flags = " ".join(f"--gin.{name}=..." for name in missing)
    raise errors.UserError(f"{', '.join(missing)} must be set: add {flags}")
  try:
    made = gin.get_configurable(described)()
  except errors.UserError as error:
    # gin adds lines about where it was called.
    raise errors.UserError(str(error).splitlines()[0]) from error
  except (TypeError, ValueError, RuntimeError) as error:
    raise errors.UserError(gin_mistakes.one_line(error, lines)) from error
  gin_mistakes.check_used(lines)
  return made


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
