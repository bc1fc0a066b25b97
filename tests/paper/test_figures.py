"""The paper's figures: their numbers, and what they say is missing."""

import csv
import dataclasses
import math

import numpy as np
import pytest

from rlhf_gap.analysis import (
  arm_names,
  ipo_optimum,
  quantiles,
  seed_means,
  statistics,
)
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.paper import (
  departures,
  fig_01_04,
  fig_05_12,
  fig_06,
  fig_07_08,
  fig_09,
  fig_10_11_14,
  fig_13,
  registry,
  staleness,
)
from rlhf_gap.plotting import picture
from tests.analysis import exact

pytestmark = pytest.mark.slow

_METRICS = {
  "pair_accuracy_sum": 0.6,
  "own_pair_accuracy_sum": 0.5,
  "chosen_log_ratio_nats": -1.0,
}
_ARMS = (
  *("online", "offline", "tandem", "offline_grid", "online_bo2"),
  *("tandem_bo2", "offline_bo2", *arm_names.GENERATED, "shuffle_1"),
  *("shuffle_4", "stale_4", "stale_never", "reuse_4x16"),
  *("online@small", "offline@small", "tandem@small"),
)


@pytest.fixture(scope="module")
def evidence():
  paths = {
    name: exact.flat(0.2 + 0.01 * number, **_METRICS)
    for number, name in enumerate(_ARMS)
  }
  paths["sft"] = [(0.0, 0.1, {})]
  classified = [
    record
    for arm, rate in (("proxy", 0.8), ("online", 0.5), ("offline", 0.6))
    for record in exact.classifier(arm, {15: rate, 30: rate - 0.1})
  ]
  against_sft = dict.fromkeys(paths, 0.5)
  return exact.evidence(
    paths,
    online_data=classified,
    sizes={"": 400, "small": 100},
    vs_sft=against_sft,
  )


def _rows(figure, folder):
  stem = picture.write(figure, str(folder))
  with open(f"{stem}.csv", encoding="utf-8", newline="") as file:
    return list(csv.DictReader(file))


_EVERY = [
  (section.title, number, draw)
  for section in registry.SECTIONS
  for number, draw in enumerate(section.pictures)
]


@pytest.mark.parametrize(
  "draw", [d for *_, d in _EVERY], ids=[f"{t[:12]}-{n}" for t, n, _ in _EVERY]
)
def test_every_figure_is_drawn_from_whole_records(draw, evidence, tmp_path):
  figure = draw(evidence, 10.0)
  assert figure.missing == ()
  rows = _rows(figure, tmp_path)
  assert rows
  assert (tmp_path / f"{figure.name}.svg").stat().st_size > 4000


def test_no_two_figures_share_a_name_and_every_arm_has_one(evidence):
  figures = [draw(evidence, 10.0) for *_, draw in _EVERY]
  names = [figure.name for figure in figures]
  assert len(set(names)) == len(names)
  shown = {str(cell) for f in figures for row in f.rows for cell in row[:2]}
  assert {name for name in _ARMS if "@" not in name} <= shown


@pytest.mark.parametrize("draw", [d for *_, d in _EVERY])
def test_a_figure_without_its_arms_says_why(draw):
  with pytest.raises(UndefinedError, match=r"\w+"):
    draw(exact.evidence({"sft": [(0.0, 0.1, {})]}), 10.0)


def _without(evidence, *, arm, seed=None, step=None):
  kept = [
    r
    for r in evidence.records
    if r.run.arm != arm
    or (seed is not None and r.run.seed != seed)
    or (step is not None and r.checkpoint.step != step)
  ]
  found = exact.arms.group(kept)
  return dataclasses.replace(evidence, arms=found, records=tuple(kept))


def test_a_figure_names_the_checkpoint_that_is_missing(evidence, tmp_path):
  less = _without(evidence, arm="final_final", seed=1, step=30)
  figure = fig_05_12.FIGURE_5.pictures[0](less, 10.0)
  assert figure.missing == ("final_final/seed_1: no record of step 30",)
  drawn = {row["arm"] for row in _rows(figure, tmp_path)}
  assert drawn == {"online", "offline", "final_final"}


def test_a_step_that_no_seed_has_is_missed_beside_online(evidence):
  less = _without(evidence, arm="offline_bo2", step=30)
  assert fig_09.plot_figure_9(less, 10.0).missing == tuple(
    f"offline_bo2/seed_{seed}: no record of step 30" for seed in (0, 1, 2)
  )


def test_an_arm_or_seed_that_is_missing_is_named(evidence):
  less = _without(evidence, arm="tandem")
  (line,) = fig_01_04.FIGURES_1_AND_4.pictures[1](less, 10.0).missing
  assert line.endswith("there are no records of the arm tandem")
  for make in (
    fig_07_08.plot_accuracy,
    fig_07_08.plot_figure_7,
  ):
    assert "shuffled online data" in make(less).missing[0]
  few = _without(evidence, arm="stale_4")
  few = _without(few, arm="reuse_4x16")
  few = _without(few, arm="stale_never")
  with pytest.raises(UndefinedError, match="no records of old pairs"):
    staleness.plot_staleness(few)


def test_figure_6_pools_seeds_and_names_windows_without_pairs(
  evidence, tmp_path
):
  figure = fig_06.plot_figure_6(evidence)
  rows = {(r["arm"], r["step"]): r for r in _rows(figure, tmp_path)}
  row = rows["proxy", "15"]
  assert float(row["value"]) == pytest.approx(0.8)
  assert int(row["n"]) == 3 * 64
  # Agresti and Coull by hand: (153.6 + 2) / 196 +- 1.96 sqrt(p q / 196).
  middle = (0.8 * 192 + 2) / 196
  half = 1.96 * math.sqrt(middle * (1 - middle) / 196)
  assert float(row["ci95_low"]) == pytest.approx(middle - half)
  assert float(row["ci95_high"]) == pytest.approx(middle + half)
  kept = [
    dataclasses.replace(
      r, metrics={k: v for k, v in r.metrics.items() if k != "accuracy/30"}
    )
    if (r.run.arm, r.run.seed) == ("online", 2)
    else r
    for r in evidence.online_data
  ]
  less = dataclasses.replace(evidence, online_data=tuple(kept))
  assert fig_06.plot_figure_6(less).missing == (
    "online, seed 2: no pairs of step 30",
  )


def test_figure_11_is_relative_to_online_of_the_same_size(evidence, tmp_path):
  rows = _rows(fig_10_11_14.plot_relative_performance(evidence), tmp_path)
  by = {(r["arm"], r["size"]): r for r in rows}
  for size, suffix in (("own", ""), ("small", "@small")):
    wins = {
      name: 0.2 + 0.01 * _ARMS.index(f"{name}{suffix}")
      for name in ("online", "offline", "tandem")
    }
    for name, win in wins.items():
      value = float(by[name, size]["value"])
      assert value == pytest.approx(win / wins["online"])
  assert {float(r["log2_relative_parameters"]) for r in rows} == {0.0, 2.0}
  figure = fig_10_11_14.plot_absolute_performance(evidence)
  (row,) = [r for r in _rows(figure, tmp_path) if r["arm"] == "online"][:1]
  assert row["seeds"] == "3"


@pytest.mark.parametrize(
  ("name", "age", "passes"),
  [
    ("stale_1", 0.0, 1),
    ("stale_4", 1.5, 1),
    ("stale_16", 7.5, 1),
    ("stale_never", 149.5, 1),
    ("stale_5000", 149.5, 1),
    ("reuse_4x16", 7.5, 4),
  ],
)
def test_the_age_of_pairs(name, age, passes):
  # Refreshed at steps 0, s, 2s, ...: enumerate all steps of a run of 300.
  assert staleness.age_steps(name, 300) == (age, passes)
  every = name.rpartition("_")[2].rpartition("x")[2]
  s = 300 if every == "never" else min(int(every), 300)
  whole = range(300 - 300 % s)
  assert np.mean([t % s for t in whole]) == age


def test_staleness_is_measured_against_online_at_matched_kl(evidence):
  points, missing = staleness.points(evidence)
  assert missing == []
  assert [p.arm for p in points] == ["stale_4", "reuse_4x16", "stale_never"]
  for point in points:
    expected = 0.01 * _ARMS.index(point.arm)
    assert point.gap.mean.value == pytest.approx(expected)


@pytest.mark.parametrize(
  ("beta", "offline", "online", "wins"),
  [(0.1, 1.303, 2.697, 0.900), (0.5, 0.152, 0.161, 0.657)],
)
def test_the_optimum_in_closed_form(beta, offline, online, wins):
  # By quadrature over ranks u: the tilt exp(u / beta), and online the fixed
  # point pi = exp(F / beta) / Z iterated to rest.
  edges = np.linspace(0, 1, 20001)
  u = (edges[1:] + edges[:-1]) / 2
  tilt = np.exp(u / beta)
  tilt /= tilt.mean()
  fixed = np.ones_like(u)
  for _ in range(4000):
    below = np.cumsum(fixed) / len(u) - fixed / len(u) / 2
    wanted = np.exp(below / beta)
    fixed = 0.98 * fixed + 0.02 * wanted / wanted.mean()
  beta = np.array([beta])
  for density, kl, known in (
    (tilt, ipo_optimum.offline_kl, offline),
    (fixed, ipo_optimum.online_kl, online),
  ):
    measured = float((density * np.log(density)).mean())
    assert float(kl(beta)[0]) == pytest.approx(measured, rel=1e-3)
    assert measured == pytest.approx(known, abs=2e-3)
    assert float(ipo_optimum.win_rate(beta)[0]) == pytest.approx(
      float((density * u).mean()), rel=1e-3
    )
  assert float(ipo_optimum.win_rate(beta)[0]) == pytest.approx(wins, abs=1e-3)


def test_the_mean_over_seeds_has_students_interval():
  found = seed_means.mean({0: 1.0, 1: 2.0, 2: 4.5}, 64)
  assert found.value == pytest.approx(2.5)
  sem = math.sqrt((1.5**2 + 0.5**2 + 2**2) / 2 / 3)
  assert found.sem == pytest.approx(sem)
  # Student's 97.5% point of two degrees of freedom.
  assert found.ci95_high == pytest.approx(2.5 + 4.30265 * sem)
  assert (found.num_seeds, found.num_prompts) == (3, 64)
  assert math.isinf(seed_means.mean({0: 1.0}, 64).ci95_high)
  gap = seed_means.difference({0: 1.0, 1: 2.0, 3: 9.0}, {0: 0.5, 1: 1.0}, 64)
  assert (gap.value, gap.num_seeds) == (pytest.approx(0.75), 2)
  with pytest.raises(UndefinedError, match="no seed in common"):
    seed_means.difference({0: 1.0}, {1: 1.0}, 64)


def test_quantiles_of_two_arms_are_compared(evidence):
  one, other = evidence.arms["tandem"], evidence.arms["online"]
  settings = exact.SETTINGS
  gap = quantiles.quantile_difference(one, other, 0.9, settings)
  ratio = quantiles.quantile_ratio(one, other, 0.9, settings)
  assert gap.value == pytest.approx(0.02)
  assert ratio.value == pytest.approx(0.22 / 0.20)
  lost = exact.evidence({"online": exact.flat(0.0)}).arms["online"]
  with pytest.raises(UndefinedError):
    quantiles.quantile_ratio(one, lost, 0.9, settings)


def test_sizes_of_unknown_parameters_have_no_place(evidence):
  unknown = dataclasses.replace(evidence, sizes={})
  expected = "parameters is unknown for sizes own, small"
  with pytest.raises(UndefinedError, match=expected):
    fig_10_11_14.plot_absolute_performance(unknown)


def test_a_planned_arm_without_records_is_missed_in_its_figure(evidence):
  planned = ("stale_64", "shuffle_400", "online@huge")
  evidence = dataclasses.replace(evidence, planned=planned)
  _, missing = staleness.points(evidence)
  lacks = "there are no records of the arm"
  assert missing == [f"refreshed every 64 steps: {lacks} stale_64"]
  found = fig_13.plot_figure_13(evidence, 10.0)
  assert f"within 400 batches: {lacks} shuffle_400" in found.missing
  found = fig_10_11_14.plot_method_by_size("online", evidence, 10.0)
  assert f"huge: {lacks} online@huge" in found.missing


def test_peaks_are_compared_by_their_factor():
  paths = {
    name: [(0.25, 0.2, {}), (peak, 0.5, {}), (64.0, 0.3, {})]
    for name, peak in (("online", 4.0), ("online@xl", 8.0))
  }
  found = exact.evidence(paths).arms
  ratio = statistics.log_peak_ratio(
    found["online@xl"], found["online"], exact.SETTINGS
  )
  # Read from a grid of 33 points over ln 256: one apart is 0.17.
  assert ratio.value == pytest.approx(math.log(2), abs=0.18)
  assert ratio.num_seeds == 3


def test_departures_say_what_the_paper_does_what_we_do_and_why():
  assert len(departures.select(miniature=False)) < len(departures.ALL)
  for one in departures.ALL:
    assert all((one.topic, one.paper, one.here, one.why))
    assert one.paper != one.here
