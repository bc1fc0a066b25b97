"""A picture's files: what was plotted, and its numbers as CSV."""

import csv
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from rlhf_gap.plotting import picture, styles


def _picture(rows, plot=lambda ax: None):
  return picture.Picture("p", "title", "caption", ("name", "value"), rows, plot)


def test_numbers_are_written_to_eight_digits_and_text_unchanged(tmp_path):
  rows = [("a, b", 1 / 3), ("", 7), ("c", 1e-12)]
  stem = picture.write(_picture(rows), str(tmp_path))
  with open(f"{stem}.csv", encoding="utf-8", newline="") as file:
    assert list(csv.reader(file)) == [
      ["name", "value"],
      ["a, b", "0.33333333"],
      ["", "7"],
      ["c", "1e-12"],
    ]


def test_a_picture_without_rows_or_lines_still_has_its_files(tmp_path):
  picture.write(_picture([]), str(tmp_path))
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    "p.csv",
    "p.png",
    "p.svg",
  ]
  assert (tmp_path / "p.csv").read_text() == "name,value\n"
  ElementTree.parse(tmp_path / "p.svg")


def test_every_label_is_in_the_legend_below_the_axes(tmp_path):
  legends = []

  def plot(ax):
    for label in ("first", "a much longer label than the first"):
      ax.plot([0, 1], [0, 1], label=label)
    legends.append(ax.figure)

  picture.write(_picture([], plot), str(tmp_path))
  (legend,) = legends[0].legends
  assert [text.get_text() for text in legend.get_texts()] == [
    "first",
    "a much longer label than the first",
  ]


def test_the_users_settings_neither_apply_nor_change(tmp_path):
  sizes = []

  def plot(ax):
    sizes.append(matplotlib.rcParams["font.size"])

  with matplotlib.rc_context({"font.size": 31}):
    picture.write(_picture([], plot), str(tmp_path))
    assert matplotlib.rcParams["font.size"] == 31
  assert sizes == [10]


@pytest.mark.parametrize("name", ["online", "online@xl", "online_bo2"])
def test_arms_of_a_method_share_its_colour(name):
  colors = {styles.method_style(name, number).color for number in range(4)}
  assert colors == {styles.BLUE}
  markers = {styles.method_style(name, number).marker for number in range(4)}
  assert len(markers) == 4


def test_extra_styles_have_no_methods_colour():
  methods = {styles.BLUE, styles.VERMILLION, styles.GREEN}
  extra = [styles.extra_style(number) for number in range(7)]
  assert not methods & {style.color for style in extra}
  assert len({(style.color, style.marker) for style in extra}) == 7
