"""A picture with the numbers that it shows, written as SVG, PNG and CSV."""

import contextlib
import csv
import dataclasses
import os
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib import axes, figure
from matplotlib.backends import backend_agg

SIZE_INCHES = (5.2, 3.9)
_PNG_DPI = 200
# Of a legend's entry: a letter on average, and all that is beside the words.
_LETTER_INCHES, _HANDLE_INCHES = 0.076, 0.7

Cell = str | int | float
Draw = Callable[[axes.Axes], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A picture with the numbers that it shows.

  Attributes:
    name: the stem of its files.
    title: what it shows, in a few words.
    caption: how to read it, in a sentence or two.
    header: names of the columns of its CSV.
    rows: the numbers.
    draw: draws them.
    missing: what it should show and cannot, a line each.
  """

  name: str
  title: str
  caption: str
  header: tuple[str, ...]
  rows: Sequence[tuple[Cell, ...]]
  draw: Draw
  missing: tuple[str, ...] = ()


def write(of: Picture, folder: str) -> str:
  """Writes a figure as SVG, PNG and CSV.

  Equal figures give equal bytes under equal versions of matplotlib.

  Args:
    of: the figure.
    folder: where to write; it must exist.

  Returns:
    The path without the ending.
  """
  stem = os.path.join(folder, of.name)
  with _look(of.name):
    picture = figure.Figure(figsize=SIZE_INCHES, layout="constrained")
    backend_agg.FigureCanvasAgg(picture)
    subplot = picture.add_subplot()
    of.draw(subplot)
    handles, labels = subplot.get_legend_handles_labels()
    if handles:
      wide = _LETTER_INCHES * max(map(len, labels)) + _HANDLE_INCHES
      picture.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(min(int(SIZE_INCHES[0] / wide), len(labels)), 1),
      )
    # Laid out once, not again for every file.
    picture.draw_without_rendering()
    picture.set_layout_engine(None)
    picture.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None})
    picture.savefig(f"{stem}.png", dpi=_PNG_DPI, metadata={"Software": None})
  with open(f"{stem}.csv", "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(of.header)
    writer.writerows([_short(cell) for cell in row] for row in of.rows)
  return stem


def _short(cell: Cell) -> Cell:
  return f"{cell:.8g}" if isinstance(cell, float) else cell


def _look(salt: str) -> contextlib.AbstractContextManager[None]:
  """Settings of matplotlib, whatever the user's own are."""
  return matplotlib.rc_context(
    {
      "axes.grid": True,
      "axes.spines.right": False,
      "axes.spines.top": False,
      "font.family": "DejaVu Sans",  # comes with matplotlib
      "font.size": 10,
      "grid.alpha": 0.3,
      "grid.linewidth": 0.6,
      "legend.frameon": False,
      "legend.handlelength": 3.2,
      "svg.fonttype": "path",
      "svg.hashsalt": salt,
    }
  )
