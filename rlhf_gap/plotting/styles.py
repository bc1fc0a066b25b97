"""Colours, markers and lines of every arm and judge.

The colours are those of Okabe and Ito (2008), which colour-blind readers can
tell apart. Every arm also has its own marker and line, for print in black and
white.
"""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Style:
  """How one series is plotted.

  Attributes:
    color: of marker, line and band.
    marker: of points.
    line: of curves.
  """

  color: str
  marker: str
  line: str | tuple[int, tuple[int, ...]]


BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, BLACK = "#CC79A7", "#E69F00", "#56B4E9", "#000000"

_BY_NAME = {
  "online": Style(BLUE, "o", "-"),
  "offline": Style(VERMILLION, "s", "--"),
  "tandem": Style(GREEN, "^", "-."),
  "golden_policy": Style(ORANGE, "P", ":"),
  "sft": Style(BLACK, "X", ":"),
  # Judges of a response:
  "golden": Style(BLUE, "o", "-"),
  "proxy": Style(VERMILLION, "s", "--"),
  "utility": Style(GREEN, "^", "-."),
}
_UNNAMED = (
  Style(PURPLE, "v", (0, (5, 1))),
  Style(ORANGE, "D", (0, (1, 1))),
  Style(SKY, "P", (0, (3, 1, 1, 1))),
  Style(BLACK, "*", (0, (5, 5))),
  Style(GREEN, "<", (0, (3, 5, 1, 5))),
  Style(VERMILLION, ">", (0, (1, 5))),
)


def styles_of(names: Iterable[str]) -> dict[str, Style]:
  """Returns a style for each series. Well-known names always look the same.

  Args:
    names: names of arms or judges, in any order.

  Returns:
    Styles by name, in the order of legends and tables. Styles repeat after six
    other names.
  """
  requested = set(names)
  named = {n: style for n, style in _BY_NAME.items() if n in requested}
  others = sorted(requested - set(_BY_NAME))
  return named | {
    name: _UNNAMED[i % len(_UNNAMED)] for i, name in enumerate(others)
  }


_BY_METHOD = {
  "online": Style(BLUE, "o", "-"),
  "tandem": Style(GREEN, "^", "-."),
  "offline": Style(VERMILLION, "s", "--"),
}
_LINES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
  "-",
  "--",
  (0, (1, 1)),
  (0, (3, 1, 1, 1)),
)
_COLORS = (SKY, PURPLE, ORANGE, BLACK)
_MARKERS = "DvP*X<>"


def method_style(name: str, number: int = 0) -> Style:
  """Returns a style in the colour of an arm's method.

  Args:
    name: an arm of the method, such as "online@xl" or "tandem_bo2".
    number: distinguishes arms of one method within a figure.
  """
  style = _BY_METHOD[name.partition("@")[0].removesuffix("_bo2")]
  if not number:
    return style
  line = _LINES[number % len(_LINES)]
  return Style(style.color, _MARKERS[number - 1], line)


def extra_style(number: int) -> Style:
  """Returns the style with this number, in none of the methods' colours."""
  return Style(
    _COLORS[number % len(_COLORS)],
    _MARKERS[number % len(_MARKERS)],
    _LINES[(number + 1) % len(_LINES)],
  )
