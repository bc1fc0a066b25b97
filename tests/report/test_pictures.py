"""Figures: their numbers, their files, and what is said where there is none."""

import csv
import dataclasses
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from rlhf_gap.analysis import arms, curves, resampling, statistics
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.plotting import over_kl, picture, styles
from rlhf_gap.report import pictures, training_pictures
from tests.analysis import made_up

SETTINGS = statistics.BootstrapSettings(replicates=100)


@pytest.fixture(scope="module")
def evidence():
  found = tuple(made_up.World(num_prompts=80, kl_prompts=30).records())
  judges = {j.name: j for j in made_up.study().tasks[0].judges}
  return Evidence("task", arms.group(found), found, judges, SETTINGS)


def _written(figure, folder):
  stem = picture.write(figure, str(folder))
  with open(f"{stem}.csv", encoding="utf-8", newline="") as file:
    return stem, list(csv.DictReader(file))


def test_the_numbers_of_the_gap_are_those_of_the_records(evidence, tmp_path):
  _, rows = _written(pictures.plot_gap(evidence), tmp_path)
  points = [row for row in rows if row["kind"] == "checkpoint"]
  moved = [r for r in evidence.records if r.run.arm != "sft"]
  assert len(points) == len(moved)
  for record in moved[::9]:
    (row,) = [
      row
      for row in points
      if (row["run"], row["step"])
      == (record.run.name, str(record.checkpoint.step))
    ]
    assert row["arm"] == record.run.arm
    for column, name in (("kl_nats", "kl_nats"), ("win_rate", "win_rate")):
      expected = np.mean(record.by_prompt[name])
      assert float(row[column]) == pytest.approx(expected, rel=1e-6)


def test_curves_lie_within_their_bands_over_the_arm_s_range(evidence, tmp_path):
  _, rows = _written(pictures.plot_gap(evidence), tmp_path)
  for name in made_up.ARMS:
    curve = [r for r in rows if (r["kind"], r["arm"]) == ("frontier", name)]
    assert len(curve) == curves.GRID_POINTS
    for row in curve:
      low, value, high = (
        float(row[key]) for key in ("ci95_low", "win_rate", "ci95_high")
      )
      assert low <= value <= high
    low, high = curves.extent(evidence.arms[name])
    assert float(curve[0]["kl_nats"]) == pytest.approx(math.exp(low))
    assert float(curve[-1]["kl_nats"]) == pytest.approx(math.exp(high))
    (peak,) = [r for r in rows if (r["kind"], r["arm"]) == ("peak", name)]
    found = statistics.peak(evidence.arms[name], SETTINGS)
    assert float(peak["win_rate"]) == pytest.approx(found.win_rate.value)


@pytest.mark.parametrize(
  ("arm", "lacks"),
  [
    ("tandem", ["tandem: no configuration of which all runs have two check"]),
    (
      "offline",
      [
        "offline (loss.beta=0.1): a run has fewer than two points, so no curve",
        "offline: too few checkpoints of a seed for its peak",
      ],
    ),
  ],
)
def test_a_run_that_has_hardly_begun_leaves_the_rest_to_be_plotted(
  evidence, arm, lacks
):
  """A report can be made while its study still runs."""
  begun = [
    record
    for record in evidence.records
    if record.run.arm != arm
    or record.run.seed == 0
    or (record.run.name, record.checkpoint.step)
    == (f"{arm}/beta_0.1_seed_1", 50)
  ]
  found = pictures.plot_gap(
    dataclasses.replace(
      evidence,
      arms=arms.group(begun),
      records=tuple(begun),
      planned=("online", "later"),
    )
  )
  others = {"online", "offline", "tandem"} - {arm}
  assert {row[1] for row in found.rows} >= others
  first, *others = found.missing
  assert first == "later: no records"
  for line, expected in zip(others, lacks, strict=True):
    assert line.startswith(expected)
  assert pictures.plot_gap(evidence).missing == ()


def test_goodhart_shows_every_judge_of_the_farthest_configuration(
  evidence, tmp_path
):
  _, rows = _written(pictures.plot_judges(evidence, "offline"), tmp_path)
  assert {row["judge"] for row in rows} == {"golden", "proxy", "utility"}
  shown = {row["run"] for row in rows if row["kind"] == "checkpoint"}
  farthest = max(
    evidence.arms["offline"].configurations,
    key=lambda c: curves.extent(arms.Arm("", (c,)))[1],
  )
  assert shown == {run.name for run in farthest.runs}


def test_all_files_are_written_and_the_same_again(evidence, tmp_path):
  for number, make in enumerate(
    (
      lambda: pictures.plot_gap(evidence, 2.0),
      lambda: pictures.plot_judges(evidence),
      lambda: pictures.plot_gao_fits(evidence, math.e),
      lambda: pictures.plot_calibration(evidence),
      lambda: training_pictures.plot_metric(evidence, "kl_nats"),
    )
  ):
    files = []
    for again in ("one", "two"):
      folder = tmp_path / f"{number}_{again}"
      folder.mkdir()
      stem, rows = _written(make(), folder)
      assert rows
      assert (folder / f"{make().name}.png").read_bytes()[:4] == b"\x89PNG"
      ElementTree.parse(f"{stem}.svg")
      files.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert files[0] == files[1]


def test_calibration_gives_every_bin_with_its_pairs(evidence, tmp_path):
  _, rows = _written(pictures.plot_calibration(evidence), tmp_path)
  for judge in evidence.judges.values():
    own = [row for row in rows if row["judge"] == judge.name]
    assert [float(row["predicted"]) for row in own] == [
      one.predicted for one in judge.calibration
    ]
    assert [int(row["pairs"]) for row in own] == [120] * 5


def test_over_steps_has_every_record_of_a_run(evidence, tmp_path):
  figure = training_pictures.plot_metric(evidence, "response_length_tokens")
  _, rows = _written(figure, tmp_path)
  # SFT has one record, which is no line.
  assert len(rows) == len(evidence.records) - 1
  assert rows[0].keys() >= {"arm", "configuration", "seed", "step", "value"}


def test_logged_curves_are_those_of_one_metric(tmp_path):
  of = made_up.study().tasks[0].curves
  _, rows = _written(training_pictures.plot_logged(of, "train/loss"), tmp_path)
  assert {row["run"] for row in rows} == {"sft", "online/seed_0"}
  assert len(rows) == sum(len(curve.steps) for curve in of)
  with pytest.raises(resampling.UndefinedError, match="train/rho"):
    training_pictures.plot_logged(of, "train/rho")


@pytest.mark.parametrize(
  ("make", "reason"),
  [
    (pictures.plot_gap, "no arm has two checkpoints"),
    (pictures.plot_judges, "no records of the arm online"),
    (pictures.plot_gao_fits, "no records of the arm sft"),
    (pictures.plot_calibration, "was measured"),
    (lambda e: training_pictures.plot_metric(e, "kl_nats"), "two records"),
  ],
)
def test_a_figure_that_cannot_be_plotted_says_why(make, reason):
  with pytest.raises(resampling.UndefinedError, match=reason):
    make(Evidence("", {}, settings=SETTINGS))


def test_every_arm_has_its_own_colour_marker_and_line():
  names = ("online", "offline", "tandem", "sft", "golden_policy", "a", "b", "c")
  look = styles.styles_of(names)
  assert set(look) == set(names)
  for attribute in ("marker", "line"):
    of_compared = [
      getattr(look[name], attribute) for name in ("online", "offline", "tandem")
    ]
    assert len(set(of_compared)) == 3
  both = [(style.color, style.marker) for style in look.values()]
  assert len(set(both)) == len(names)
  assert styles.styles_of(["b", "offline", "online"]).keys() == {
    "online",
    "offline",
    "b",
  }
  assert next(iter(styles.styles_of(["b", "offline", "online"]))) == "online"


@pytest.mark.parametrize(
  ("low", "high"),
  [(0.05, 80.0), (0.4, 3.0), (1.3, 1.9), (0.41, 0.43), (900.0, 2e4)],
)
def test_every_range_of_kl_has_ticks_within_it(low, high):
  ticks = over_kl.round_ticks(low, high)
  assert 2 <= len(ticks) <= 12
  assert all(low <= tick <= high for tick in ticks)
  assert ticks == sorted(set(ticks))
