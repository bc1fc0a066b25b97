"""A picture and its numbers, written as SVG, PNG and CSV."""

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
# Widths in a legend: an average letter, and an entry's handle with its margins.
_LETTER_INCHES, _HANDLE_INCHES = 0.076, 0.7

Cell = str | int | float
PlotOn = Callable[[axes.Axes], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A picture with the numbers that it shows.

  Attributes:
    name: the stem of its files.
    title: what it shows, in a few words.
    caption: how to read it, in a sentence or two.
    header: column names of its CSV.
    rows: the numbers.
    plot: plots the numbers on axes.
    missing: a line for everything that it should show but cannot.
  """

  name: str
  title: str
  caption: str
  header: tuple[str, ...]
  rows: Sequence[tuple[Cell, ...]]
  plot: PlotOn
  missing: tuple[str, ...] = ()


def write(picture: Picture, folder: str) -> str:
  """Writes a picture as SVG, PNG and CSV.

  The same picture and version of matplotlib give the same bytes.

  Args:
    picture: the picture.
    folder: where to write; it must exist.

  Returns:
    The path without its suffix.
  """
  stem = os.path.join(folder, picture.name)
  with _look(picture.name):
    canvas = figure.Figure(figsize=SIZE_INCHES, layout="constrained")
    backend_agg.FigureCanvasAgg(canvas)
    subplot = canvas.add_subplot()
    picture.plot(subplot)
    handles, labels = subplot.get_legend_handles_labels()
    if handles:
      wide = _LETTER_INCHES * max(map(len, labels)) + _HANDLE_INCHES
      canvas.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(min(int(SIZE_INCHES[0] / wide), len(labels)), 1),
      )
    # Lay out once, not again for every file.
    canvas.draw_without_rendering()
    canvas.set_layout_engine(None)
    canvas.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None})
    canvas.savefig(f"{stem}.png", dpi=_PNG_DPI, metadata={"Software": None})
  with open(f"{stem}.csv", "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(picture.header)
    writer.writerows([_short(cell) for cell in row] for row in picture.rows)
  return stem


def _short(cell: Cell) -> Cell:
  return f"{cell:.8g}" if isinstance(cell, float) else cell


def _look(salt: str) -> contextlib.AbstractContextManager[None]:
  """Returns fixed settings of matplotlib, independent of the user's own."""
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
