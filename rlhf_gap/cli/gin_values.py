"""Parses and checks gin's bindings by the types of the bound parameters."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gin

from rlhf_gap import errors
from rlhf_gap.cli import gin_mistakes, gin_sources, setting_types
from rlhf_gap.cli.gin_sources import Line

_NAME = re.compile(r"(?:[A-Za-z_]\w*/)*[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_MACRO, _CONSTANT = "gin.macro", "gin.constant"
_VALUE = "value"


class Parameter(NamedTuple):
  """The key of a binding, as in gin's configuration.

  Attributes:
    scope: such as "sft"; for a macro, its name.
    selector: the configurable's full name, or "gin.macro".
    name: the parameter's name.
  """

  scope: str
  selector: str
  name: str


def bind(bindings: Sequence[str], lines: Sequence[Line]) -> None:
  """Applies the command line's bindings, each parsed by its setting's type.

  Args:
    bindings: "NAME = value" each; the last one of a name counts.
    lines: the parsed lines, for messages.

  Raises:
    UserError: a name is unknown, or its setting does not accept the value.
  """
  given = {}
  for binding in bindings:
    name, equals, text = binding.partition(" = ")
    if not equals:
      raise errors.UserError(f"--gin.{binding}: expected --gin.NAME=value")
    if not _NAME.fullmatch(name):
      raise errors.UserError(
        f"--gin.{name}={text}: {name!r} is not a valid name; expected"
        " --gin.NAME=value"
      )
    given[name] = text
  macros = {scope for scope, kind in gin.config._CONFIG if kind == _MACRO}
  macros |= given.keys()
  # References first, because they can determine the type of other macros.
  for name in sorted(given, key=lambda n: not given[n].startswith(("@", "%"))):
    _bind(name, given[name], macros, lines)


def _bind(
  name: str, text: str, macros: set[str], lines: Sequence[Line]
) -> None:
  try:
    value = _value_of(name, text, macros)
    gin.parse_config(f"{name} = {value}", skip_unknown=False)
  except errors.UserError:
    raise
  except Exception as error:  # a mistake in the text can raise many types
    message = gin_mistakes.one_line(error, lines)
    raise errors.UserError(f"--gin.{name}={text}: {message}") from error


def _value_of(name: str, text: str, macros: set[str]) -> str:
  """Returns the value of a binding in gin's syntax."""
  annotations = list(_annotations(name))
  takes_text = any(
    str in setting_types.alternatives(annotation) for annotation in annotations
  )
  if text.startswith("%") and (text[1:] in macros or not takes_text):
    return text
  if text.startswith("@") and not takes_text:
    return text
  if text[:1] in tuple("([{") and ("@" in text or "%" in text):
    return text  # a container of references, which `check` checks later
  for annotation in annotations or [Any]:
    try:
      value = setting_types.read(text, annotation)
      for other in annotations:
        value = setting_types.conformed(value, other)
    except setting_types.MismatchError as mismatch:
      raise errors.UserError(
        f"--gin.{name}={text}; expected {mismatch}"
      ) from mismatch
  return repr(value)


def _annotations(name: str) -> Iterator[Any]:
  """Yields the annotation of every parameter that a name is bound to."""
  if "." in name:
    key = gin.config.ParsedBindingKey.parse(name)
    yield _annotation(Parameter(key.scope, key.complete_selector, key.arg_name))
    return
  seen = {name}
  pending = [name]
  while pending:
    macro = pending.pop()
    for parameter, value in _bound():
      if parameter.selector == _MACRO:
        if _is_macro(value, macro) and parameter.scope not in seen:
          seen.add(parameter.scope)
          pending.append(parameter.scope)
      else:
        yield from _uses(value, _annotation(parameter), macro)


def _uses(value: Any, annotation: Any, macro: str) -> Iterator[Any]:
  if _is_macro(value, macro):
    yield annotation
  elif isinstance(value, (list, tuple)):
    for element in value:
      yield from _uses(element, setting_types.elements(annotation), macro)
  elif isinstance(value, Mapping):
    yield from _uses([*value.values()], annotation, macro)


def _bound() -> Iterator[tuple[Parameter, Any]]:
  for (scope, selector), values in list(gin.config._CONFIG.items()):
    for name, value in list(values.items()):
      yield Parameter(scope, selector, name), value


def _is_reference(value: Any) -> bool:
  return isinstance(value, gin.config.ConfigurableReference)


def _is_macro(value: Any, name: str) -> bool:
  return _is_reference(value) and value.scoped_selector == f"{name}/{_MACRO}"


def _annotation(parameter: Parameter) -> Any:
  configurable = gin.config._REGISTRY.get_match(parameter.selector)
  if configurable is None:
    return Any
  return _annotations_of(configurable.wrapped).get(parameter.name, Any)


@functools.cache
def _annotations_of(configurable: Any) -> dict[str, Any]:
  return setting_types.annotations_of(configurable)


def check(lines: Sequence[Line], allowed_modules: Sequence[str]) -> None:
  """Checks and converts every bound value by its setting's type.

  Lists become tuples, and "~" is expanded.

  Args:
    lines: the parsed lines, for messages.
    allowed_modules: modules other than ours whose classes may be used.

  Raises:
    UserError: a setting does not accept its value, or a value refers to a
      module that is not allowed.
  """
  allowed = (*gin_sources.TRUSTED_MODULES, *allowed_modules)
  for parameter, value in _bound():
    if parameter.selector != _MACRO:
      _check(parameter, value, _annotation(parameter), lines, allowed, ())


def _check(
  parameter: Parameter,
  value: Any,
  annotation: Any,
  lines: Sequence[Line],
  allowed: Sequence[str],
  followed: tuple[Parameter, ...],
) -> None:
  macro = _macro_of(value)
  if macro is not None:
    if macro in followed:
      raise errors.UserError(
        f"{named(macro, lines)}: %{macro.scope} refers to itself"
      )
    bound = gin.config._CONFIG.get((macro.scope, _MACRO), {})
    if _VALUE in bound:
      followed = (*followed, macro)
      _check(macro, bound[_VALUE], annotation, lines, allowed, followed)
    return
  try:
    conformed = _conformed(value, annotation, allowed)
  except setting_types.MismatchError as mismatch:
    raise errors.UserError(
      f"{named(parameter, lines)}={value!r}; expected {mismatch}"
    ) from mismatch
  key = (parameter.scope, parameter.selector)
  gin.config._CONFIG[key][parameter.name] = conformed


def _macro_of(value: Any) -> Parameter | None:
  if _is_reference(value) and value.selector == _MACRO:
    return Parameter("/".join(value.scopes), _MACRO, _VALUE)
  return None


def _conformed(value: Any, annotation: Any, allowed: Sequence[str]) -> Any:
  if _is_reference(value):
    if value.selector not in (_CONSTANT, _MACRO):
      _check_reference(value, annotation, allowed)
    return value
  if not _has_references(value):
    return setting_types.conformed(value, annotation)
  element = setting_types.elements(annotation)
  if isinstance(value, Mapping):
    return {k: _conformed(v, element, allowed) for k, v in value.items()}
  return tuple(_conformed(v, element, allowed) for v in value)


def _has_references(value: Any) -> bool:
  if isinstance(value, Mapping):
    return any(map(_has_references, value.values()))
  if isinstance(value, (list, tuple)):
    return any(map(_has_references, value))
  return _is_reference(value)


def _check_reference(
  value: Any, annotation: Any, allowed: Sequence[str]
) -> None:
  configurable = value.configurable.wrapped
  module = configurable.__module__
  if not gin_sources.is_allowed(module, allowed):
    raise setting_types.MismatchError(
      f"a class or function of a trusted module, not of {module}; if you trust"
      f" it, add --allow_module={module.split('.')[0]}"
    )
  is_accepted = (
    setting_types.accepts_instance(configurable, annotation)
    if value.evaluate
    else setting_types.accepts_function(annotation)
  )
  if not is_accepted:
    raise setting_types.MismatchError(setting_types.expected(annotation))


def named(parameter: Parameter, lines: Sequence[Line]) -> str:
  """Returns the user's name of a binding: its flag, or its place and name.

  Args:
    parameter: the binding.
    lines: the parsed lines.
  """
  place = gin_mistakes.place_of(parameter, lines)
  if place is None or place.startswith("--gin."):
    return place or short_name(parameter)
  return f"{place}: {short_name(parameter)}"


def short_name(parameter: Parameter) -> str:
  """Returns a macro's name, or Class.parameter."""
  if parameter.selector == _MACRO:
    return parameter.scope
  return f"{parameter.selector.split('.')[-1]}.{parameter.name}"


def source_of(
  scope: str, configurable: str, name: str, lines: Sequence[Line]
) -> str | None:
  """Returns the origin of a value that a constructor refused.

  Args:
    scope: gin's scope at the call.
    configurable: the class's name.
    name: the parameter's name.
    lines: the parsed lines.

  Returns:
    The flag, or the place in a file; None if the value is a default.
  """
  for parameter, value in _bound():
    *_, last = parameter.selector.split(".")
    applies = parameter.scope in ("", scope) or scope.startswith(
      parameter.scope
    )
    if (last, parameter.name) == (configurable, name) and applies:
      macro = _macro_of(value)
      while macro is not None:
        parameter = macro
        macro = _macro_of(gin.config._CONFIG.get(macro[:2], {}).get(_VALUE))
      return gin_mistakes.place_of(parameter, lines)
  return None
