"""Plotted points, curves and bands are the numbers of the records."""

import dataclasses
import math

import numpy as np
import pytest
from matplotlib import figure

from rlhf_gap.analysis import arms, resampling, statistics
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.plotting import over_kl, styles, win_rate_over_kl
from rlhf_gap.plotting.win_rate_over_kl import PlottedArm, in_method_color
from tests.analysis import made_up

_SETTINGS = statistics.BootstrapSettings(replicates=100)


@pytest.fixture(scope="module")
def evidence():
  world = made_up.World(num_prompts=40, kl_prompts=20, num_checkpoints=4)
  measured = tuple(world.records())
  return Evidence("task", arms.group(measured), measured, settings=_SETTINGS)


def _axes(picture):
  ax = figure.Figure().add_subplot()
  picture.plot(ax)
  return ax


def _plot(evidence, plotted, **options):
  return win_rate_over_kl.plot(
    evidence, plotted, name="n", title="t", caption="c", **options
  )


def _lines(ax, color):
  """The data of every non-empty line in a colour, [points, 2]."""
  return [
    line.get_xydata()
    for line in ax.get_lines()
    if color in (line.get_color(), line.get_markeredgecolor())
    and len(line.get_xdata())
  ]


@pytest.mark.parametrize("log_base", [10.0, math.e])
def test_points_are_the_means_over_prompts_of_each_record(evidence, log_base):
  ax = _axes(_plot(evidence, [in_method_color("online")], log_base=log_base))
  points, _ = _lines(ax, styles.BLUE)
  expected = sorted(
    (
      math.log(np.mean(record.by_prompt["kl_nats"])) / math.log(log_base),
      np.mean(record.by_prompt["win_rate"]),
    )
    for record in evidence.records
    if record.run.arm == "online"
  )
  np.testing.assert_allclose(sorted(map(tuple, points)), expected, atol=1e-12)


def test_curve_and_band_are_the_rows_of_the_frontier(evidence):
  picture = _plot(evidence, [in_method_color("offline")], log_base=10.0)
  ax = _axes(picture)
  rows = [row for row in picture.rows if row[0] == "frontier"]
  kl, win_rate, low, high = np.array([row[6:] for row in rows], float).T
  _, curve = _lines(ax, styles.VERMILLION)
  np.testing.assert_allclose(curve[:, 0], np.log10(kl))
  np.testing.assert_allclose(curve[:, 1], win_rate)
  (band,) = ax.collections
  corners = band.get_paths()[0].vertices
  for x, bottom, top in zip(np.log10(kl), low, high, strict=True):
    heights = corners[np.isclose(corners[:, 0], x), 1]
    assert heights.min() == pytest.approx(bottom)
    assert heights.max() == pytest.approx(top)


def test_the_level_is_the_start_s_win_rate(evidence):
  def levels(**options):
    ax = _axes(_plot(evidence, [in_method_color("online")], **options))
    return [x.get_ydata() for x in ax.get_lines() if x.get_label() == "SFT"]

  (start,) = (r for r in evidence.records if r.run.arm == "sft")
  expected = np.mean(start.by_prompt["win_rate"])
  np.testing.assert_allclose(levels(), [[expected, expected]])
  assert levels(level_arm="") == []


def test_every_plotted_arm_has_one_legend_entry(evidence):
  plotted = [in_method_color("online"), in_method_color("tandem")]
  _, labels = _axes(_plot(evidence, plotted)).get_legend_handles_labels()
  assert labels == ["online", "shuffled online data", "SFT"]


def test_an_arm_with_a_single_checkpoint_is_listed_and_not_plotted(evidence):
  plotted = [in_method_color("online"), PlottedArm("sft", "SFT", _style())]
  picture = _plot(evidence, plotted)
  assert {row[1] for row in picture.rows} == {"online"}
  assert picture.missing == ("SFT: sft has no run with two checkpoints",)


def test_no_arm_to_plot_is_an_error_with_every_reason(evidence):
  plotted = [PlottedArm(name, name, _style()) for name in ("sft", "none")]
  with pytest.raises(resampling.UndefinedError) as error:
    _plot(evidence, plotted)
  assert str(error.value) == (
    "sft: sft has no run with two checkpoints; none: there are no records of"
    " the arm none"
  )


def _style():
  return styles.extra_style(0)


def test_checkpoints_at_the_reference_have_no_point(evidence):
  (start,) = evidence.arms["sft"].runs
  still = dataclasses.replace(start, kl_nats=np.zeros_like(start.kl_nats))
  arm = arms.Arm("still", (arms.Configuration("", (still,)),))
  assert over_kl.points(arm).shape == (0, 2)
  assert len(over_kl.point_rows("still", arm)) == 1


def test_a_missing_checkpoint_and_a_missing_seed_are_listed(evidence):
  run = "online/beta_0.1_seed_1"
  steps = sorted(
    r.checkpoint.step for r in evidence.records if r.run.name == run
  )
  kept = tuple(
    record
    for record in evidence.records
    if (record.run.name, record.checkpoint.step) != (run, steps[1])
  )
  fewer = dataclasses.replace(evidence, records=kept, arms=arms.group(kept))
  lines = win_rate_over_kl.missing_records(fewer.arms["online"], fewer)
  assert list(lines) == [f"{run}: no record of step {steps[1]}"]


def test_a_peak_is_marked_on_the_curve(evidence):
  arm = evidence.arms["online"]
  kl, band = over_kl.frontier(arm, _SETTINGS)
  series = over_kl.Series(
    "online",
    styles.method_style("online"),
    over_kl.points(arm),
    kl,
    band,
    statistics.peak(arm, _SETTINGS),
  )
  ax = figure.Figure().add_subplot()
  over_kl.plot(ax, [series], 10.0, "win rate", None)
  (star,) = (line for line in ax.get_lines() if line.get_marker() == "*")
  top = int(np.nanargmax(band.value))
  assert star.get_xdata()[0] == pytest.approx(math.log10(kl[top]))
  assert star.get_ydata()[0] == pytest.approx(band.value[top])


def test_the_upper_axis_shows_the_same_kl_in_nats():
  ax = figure.Figure().add_subplot()
  ax.set_xlim(-1, 2)
  over_kl.label_axes(ax, 10.0, "win rate")
  (nats,) = ax.child_axes
  assert ax.get_xlabel() == r"$\log_{10}$ KL(policy, SFT)"
  low, high = ax.get_xlim()
  assert all(10**low <= tick <= 10**high for tick in nats.get_xticks())
  assert nats.get_xlabel() == "KL in nats"
