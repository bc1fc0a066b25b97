"""What the arms of the paper's figures are called and how they look."""

from collections.abc import Mapping

from rlhf_gap.study import arms
from rlhf_gap.study.drawing import (
  BLACK,
  BLUE,
  GREEN,
  ORANGE,
  PURPLE,
  SKY,
  VERMILLION,
  Style,
)

_BEST_OF_TWO = ("online_bo2", "tandem_bo2", "offline_bo2")
GENERATED = ("final_final", "early_final", "sft_early")
"""Arms of offline runs on pairs of two checkpoints: whose, in order."""

FULL_GRID = "offline_grid"
"""Arm of the offline settings that combine several changes of the baseline."""

_TITLES = {
  FULL_GRID: "offline, full grid",
  "online": "online",
  "offline": "offline",
  "tandem": "shuffled online data",
  "online_bo2": "online, Best-of-2",
  "tandem_bo2": "shuffled online data, Best-of-2",
  "offline_bo2": "offline, Best-of-2",
  "final_final": "pairs final / final",
  "early_final": "pairs early / final",
  "sft_early": "pairs SFT / early",
  "shuffle_1": "no shuffling",
}
_METHODS = {
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


def is_ablation(name: str) -> bool:
  """Returns whether an arm belongs to one figure of the paper alone."""
  return (
    bool(arms.size_of(name))
    or name in _BEST_OF_TWO
    or name in GENERATED
    or name == FULL_GRID
    or name.startswith(("shuffle_", "stale_", "reuse_"))
  )


def main(found: Mapping[str, arms.Arm]) -> dict[str, arms.Arm]:
  """Returns the arms that no single figure owns: online, offline, tandem."""
  return {name: arm for name, arm in found.items() if not is_ablation(name)}


def title(name: str) -> str:
  """Returns what a legend calls an arm."""
  method, _, size = name.partition("@")
  if method.startswith("shuffle_") and method not in _TITLES:
    return f"within {method.removeprefix('shuffle_')} batches"
  if method.startswith("stale_"):
    return f"refreshed {_every(method.removeprefix('stale_'))}"
  if method.startswith("reuse_"):
    passes, _, every = method.removeprefix("reuse_").partition("x")
    return f"{passes} passes, refreshed {_every(every)}"
  text = _TITLES.get(method, method)
  return f"{text}, {size}" if size else text


def _every(steps: str) -> str:
  return "never" if steps == "never" else f"every {steps} steps"


def of_method(name: str, number: int = 0) -> Style:
  """Returns a style in the colour of online, tandem or offline.

  Args:
    name: of an arm of one of them, such as "online@xl" or "tandem_bo2".
    number: tells apart arms of one method in one figure.
  """
  style = _METHODS[name.partition("@")[0].removesuffix("_bo2")]
  if not number:
    return style
  line = _LINES[number % len(_LINES)]
  return Style(style.color, _MARKERS[number - 1], line)


def other(number: int) -> Style:
  """Returns a style in none of the methods' colours, by its number."""
  return Style(
    _COLORS[number % len(_COLORS)],
    _MARKERS[number % len(_MARKERS)],
    _LINES[(number + 1) % len(_LINES)],
  )
