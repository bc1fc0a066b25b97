"""Text and values of settings, by annotation."""

import math
import typing
from collections.abc import Callable, Mapping

import pytest

from rlhf_gap.cli import setting_types


class Loss(typing.Protocol):
  """Stands for the protocol of a setting."""

  beta: float

  def value(self) -> float:
    """Declares a method."""


class Ipo:
  """Has the members of `Loss`."""

  beta: float = 0.1

  def value(self):
    """Implements the method."""
    return 0.0


class Unrelated:
  """Has no member of `Loss`."""


@pytest.mark.parametrize(
  ("text", "annotation", "value"),
  [
    ("2024", str, "2024"),
    ("None", str, "None"),
    ("'2024'", str, "2024"),
    ("'", str, "'"),
    ("None", str | None, None),
    ("7", int, 7),
    ("1_000", int, 1000),
    ("7", float, 7.0),
    ("1e-5", float, 1e-5),
    ("yes", bool, True),
    ("FALSE", bool, False),
    ("0", bool, False),
    ("3", int | str, 3),
    ("three", int | str, "three"),
    ("[1, 2]", tuple[int, ...], (1, 2)),
    ("(1, 'a')", tuple[int, str], (1, "a")),
    ("{'inputs': 3}", Mapping[str, int], {"inputs": 3}),
    ("sum", typing.Any, "sum"),
    ("0.5", typing.Any, 0.5),
  ],
)
def test_text_is_parsed_by_annotation(text, annotation, value):
  parsed = setting_types.read(text, annotation)
  assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
  ("text", "annotation", "expected"),
  [
    ("1.0", int, "a whole number"),
    ("True", int, "a whole number"),
    ("x", int | None, "a whole number or None"),
    ("inf", float, "a finite number"),
    ("nan", float, "a finite number"),
    ("1e400", float, "a finite number"),
    ("maybe", bool, "true or false"),
    ("2", bool, "true or false"),
    ("", str, "a non-empty string"),
    ("a\0b", str, "a string without NUL characters"),
    ("\ud800", str, "a string in UTF-8"),
    ("~nobody-of-this-name/x", str, "no such user"),
    ("1", tuple[int, ...], "several in parentheses"),
    ("(1,)", tuple[int, str], "several in parentheses"),
    ("['a']", tuple[int, ...], "a whole number"),
    ("[1]", Mapping[str, int], "names with values"),
    ("x", typing.Literal["a", "b"], "one of a, b"),
    ("__import__('os')", tuple[int, ...], "several in parentheses"),
  ],
)
def test_a_mismatch_says_what_is_accepted(text, annotation, expected):
  with pytest.raises(setting_types.MismatchError, match=expected):
    setting_types.read(text, annotation)


def test_values_are_converted_only_where_nothing_is_lost():
  assert setting_types.conformed(3, float) == 3.0
  assert setting_types.conformed([[1], [2]], tuple[tuple[int, ...], ...]) == (
    (1,),
    (2,),
  )
  for value, annotation in (
    (3.0, int),
    (True, int),
    (True, float),
    (1, bool),
    (math.inf, float),
    (7, str),
    ("", str),
    ("ab", tuple[str, ...]),
  ):
    with pytest.raises(setting_types.MismatchError):
      setting_types.conformed(value, annotation)


def test_the_home_folder_is_expanded(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  assert setting_types.conformed("~/runs", str) == "/home/me/runs"
  assert setting_types.conformed("a~b", str) == "a~b"
  nested = setting_types.conformed(["~/a"], tuple[str, ...])
  assert nested == ("/home/me/a",)


@pytest.mark.parametrize(
  ("configurable", "annotation", "accepted"),
  [
    (Ipo, Loss, True),
    (Unrelated, Loss, False),
    (Ipo, Ipo, True),
    (Unrelated, Ipo, False),
    (Ipo, Ipo | None, True),
    (Ipo, int, False),
    (Ipo, tuple[int, ...], False),
    (Unrelated, typing.Any, True),
    (lambda: Ipo(), Ipo, True),  # its result is not known before a call
  ],
)
def test_instances_that_a_setting_accepts(configurable, annotation, accepted):
  result = setting_types.accepts_instance(configurable, annotation)
  assert result == accepted


def test_functions_that_a_setting_accepts():
  assert setting_types.accepts_function(Callable[[int], int] | None)
  assert setting_types.accepts_function(typing.Any)
  assert not setting_types.accepts_function(Loss | int)


@pytest.mark.parametrize(
  ("annotation", "element"),
  [
    (tuple[int, ...], int),
    (Mapping[str, float] | None, float),
    (list[str], str),
    (int, typing.Any),
  ],
)
def test_elements_of_a_container(annotation, element):
  assert setting_types.elements(annotation) is element


def test_unions_are_flattened():
  nested = int | None | str | float
  alternatives = setting_types.alternatives(nested)
  assert set(alternatives) == {int, type(None), str, float}
