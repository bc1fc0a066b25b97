"""Parses text and checks values by a setting's type annotation."""

import ast
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_WHOLE = re.compile(r"[+-]?[0-9]+(?:_[0-9]+)*")
_UNIONS = (typing.Union, types.UnionType)


class MismatchError(Exception):
  """A setting does not accept a value; the message says what it accepts."""


def read(text: str, annotation: Any) -> Any:
  """Parses the text of a command line as the value of a setting.

  Text for a `str` is kept as it is: 2024, run-01 and None are valid names of a
  run. Quotes around the whole text are removed, as in gin files.

  Args:
    text: as the user wrote it.
    annotation: the setting's annotation.

  Raises:
    MismatchError: the text is not a value of that type.
  """
  choices = alternatives(annotation)
  if types.NoneType in choices and text == "None":
    return None
  wanted = expected(annotation)
  # Any text is a string, so `str` comes last.
  for choice in sorted(choices, key=lambda c: c is str):
    try:
      return _conformed(_reader(choice)(text), choice)
    except MismatchError as mismatch:
      wanted = str(mismatch) or wanted
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
      continue
  raise MismatchError(wanted)


def conformed(value: Any, annotation: Any) -> Any:
  """Converts a literal to a setting's type.

  Integers become floats and lists become tuples if the annotation says so. A
  leading "~" becomes the home folder.

  Args:
    value: the literal's value.
    annotation: the setting's annotation.

  Raises:
    MismatchError: the setting does not accept it.
  """
  wanted = expected(annotation)
  for choice in alternatives(annotation):
    try:
      return _conformed(value, choice)
    except MismatchError as mismatch:
      wanted = str(mismatch) or wanted
  raise MismatchError(wanted)


def accepts_instance(configurable: Any, annotation: Any) -> bool:
  """Returns whether a setting accepts an instance of a class.

  Args:
    configurable: a class. Functions are accepted without a check.
    annotation: the setting's annotation.
  """
  if not isinstance(configurable, type):
    return True
  return any(
    _is_instance_of(configurable, choice) for choice in alternatives(annotation)
  )


def accepts_function(annotation: Any) -> bool:
  """Returns whether a setting accepts a function, instead of its result."""
  return any(
    choice is Any or typing.get_origin(choice) is Callable
    for choice in alternatives(annotation)
  )


def alternatives(annotation: Any) -> tuple[Any, ...]:
  """Returns the members of a union, or the annotation alone."""
  if typing.get_origin(annotation) in _UNIONS:
    return tuple(
      choice
      for member in typing.get_args(annotation)
      for choice in alternatives(member)
    )
  return (types.NoneType if annotation is None else annotation,)


def elements(annotation: Any) -> Any:
  """Returns the annotation of a container's elements, or `Any`.

  Args:
    annotation: such as `tuple[int, ...]` or `Mapping[str, int] | None`.
  """
  for choice in alternatives(annotation):
    arguments = typing.get_args(choice)
    origin = typing.get_origin(choice)
    if isinstance(origin, type) and issubclass(origin, Collection):
      return arguments[1 if issubclass(origin, Mapping) else 0]
  return Any


def annotations_of(configurable: Callable[..., Any]) -> dict[str, Any]:
  """Returns the annotations of the parameters of a class or function.

  Args:
    configurable: the class or function that gin binds.
  """
  signature = inspect.signature(configurable).parameters
  owner = configurable
  if isinstance(owner, type) and "__init__" in vars(owner):
    owner = vars(owner)["__init__"]
  try:
    hints = typing.get_type_hints(owner)
  except (NameError, TypeError):
    return {}
  return {name: hints.get(name, Any) for name in signature}


def expected(annotation: Any) -> str:
  """Describes the values that a setting accepts."""
  words = [_words(choice) for choice in alternatives(annotation)]
  return " or ".join(dict.fromkeys(words))


def _words(choice: Any) -> str:
  named = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a non-empty string",
    types.NoneType: "None",
  }
  if choice in named:
    return named[choice]
  origin = typing.get_origin(choice)
  if origin is typing.Literal:
    return f"one of {', '.join(map(str, typing.get_args(choice)))}"
  if isinstance(origin, type) and issubclass(origin, Mapping):
    return 'names with values, such as {"inputs": 1024, "targets": 128}'
  if isinstance(origin, type) and issubclass(origin, Collection):
    return "several in parentheses, such as (1,) or ('a', 'b')"
  return "a reference, such as @module.Name()"


def _reader(choice: Any) -> Callable[[str], Any]:
  readers: dict[Any, Callable[[str], Any]] = {
    bool: _read_bool,
    int: _read_whole,
    float: float,
    str: _unquoted,
    Any: _literal_or_text,
  }
  return readers.get(choice, ast.literal_eval)


def _read_bool(text: str) -> bool:
  word = text.lower()
  if word not in (*_TRUE, *_FALSE):
    raise MismatchError
  return word in _TRUE


def _read_whole(text: str) -> int:
  if not _WHOLE.fullmatch(text):
    raise MismatchError
  return int(text)


def _unquoted(text: str) -> str:
  if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
    try:
      literal = ast.literal_eval(text)
    except (ValueError, SyntaxError):
      return text
    if isinstance(literal, str):
      return literal
  return text


def _literal_or_text(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError, TypeError, RecursionError):
    return text


def _conformed(value: Any, choice: Any) -> Any:
  if choice is Any:
    return value
  if choice is str:
    return _text(value)
  if choice is float and _is_real(value):
    return float(value)
  if choice in (bool, int, types.NoneType) and type(value) is choice:
    return value
  origin, arguments = typing.get_origin(choice), typing.get_args(choice)
  if origin is typing.Literal and value in arguments:
    return value
  if isinstance(origin, type) and issubclass(origin, Collection):
    return _container(value, origin, arguments)
  raise MismatchError


def _is_real(value: Any) -> bool:
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    return False
  return abs(value) < float("inf") and abs(value) <= 1.7e308


def _container(value: Any, origin: type, arguments: tuple[Any, ...]) -> Any:
  if issubclass(origin, Mapping):
    if not isinstance(value, Mapping):
      raise MismatchError
    keys, values = arguments
    return {conformed(k, keys): conformed(v, values) for k, v in value.items()}
  if not isinstance(value, (tuple, list)):
    raise MismatchError
  if origin is tuple and arguments[-1] is not Ellipsis:
    if len(value) != len(arguments):
      raise MismatchError
    return tuple(map(conformed, value, arguments))
  return tuple(conformed(element, arguments[0]) for element in value)


def _text(value: Any) -> str:
  if not isinstance(value, str) or not value:
    raise MismatchError
  if "\0" in value:
    raise MismatchError("a string without NUL characters")
  try:
    value.encode()
  except UnicodeEncodeError:
    raise MismatchError("a string in UTF-8") from None
  return home_expanded(value)


def home_expanded(path: str) -> str:
  """Returns `path` with a leading "~" replaced by the home folder.

  Args:
    path: any string.

  Raises:
    MismatchError: HOME is not set, or there is no such user.
  """
  if not path.startswith("~"):
    return path
  expanded = os.path.expanduser(path)
  if expanded.startswith("~"):
    raise MismatchError("a path; ~ cannot be expanded: no HOME or no such user")
  return expanded


def _is_instance_of(configurable: type, choice: Any) -> bool:
  origin = typing.get_origin(choice)
  if choice is Any or origin is not None:
    return choice is Any
  if not isinstance(choice, type) or choice in (bool, int, float, str):
    return False
  if getattr(choice, "_is_protocol", False):
    return all(_has(configurable, name) for name in _members(choice))
  return issubclass(configurable, choice)


def _members(protocol: type) -> set[str]:
  bases = [b for b in protocol.__mro__ if getattr(b, "_is_protocol", False)]
  names = {
    name
    for base in bases
    for name in (*vars(base), *vars(base).get("__annotations__", {}))
  }
  return {name for name in names if not name.startswith("_")}


def _has(configurable: type, name: str) -> bool:
  fields = getattr(configurable, "__dataclass_fields__", {})
  return hasattr(configurable, name) or name in fields
