"""The report's own pictures: the gap, the judges, Gao's form, calibration.

Each function returns a `Picture`, or raises `UndefinedError` with the reason
why there is none.
"""

import dataclasses
import math
from collections.abc import Collection, Iterator

import numpy as np
from matplotlib import axes

from rlhf_gap.analysis import arm_names, arms, curves, gao, statistics
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.plotting import over_kl, styles
from rlhf_gap.plotting.picture import Cell, Picture
from rlhf_gap.records import Measurement

JUDGES = {
  "golden": ("win_rate", "golden preference model"),
  "proxy": ("proxy_win_rate", "proxy preference model"),
  "utility": ("utility_win_rate", "hidden utility"),
}
"""Every judge's outcomes by prompt, and its name in legends."""


def plot_gap(evidence: Evidence, log_base: float = 10.0) -> Picture:
  """Plots win rate over KL; points are checkpoints, curves are frontiers.

  Args:
    evidence: one task's evidence.
    log_base: base of the KL axis's logarithm.
  """
  look = styles.styles_of(
    name
    for name, arm in evidence.arms.items()
    if curves.extent(arm) is not None
  )
  if not look:
    raise UndefinedError("no arm has two checkpoints with a KL")
  series, rows = [], []
  missing = list(_not_plotted(evidence, look))
  for name in look:
    arm = evidence.arms[name]
    kl, band = over_kl.frontier(arm, evidence.settings)
    missing += over_kl.without_curve(arm)
    rows += over_kl.point_rows(name, arm)
    rows += over_kl.curve_rows("frontier", name, kl, band)
    peak = None
    try:
      peak = statistics.peak(arm, evidence.settings)
    except UndefinedError:  # few checkpoints of some seed are evaluated so far
      missing.append(f"{name}: too few checkpoints of a seed for its peak")
    else:
      rows.append(over_kl.peak_row(name, peak))
    series.append(
      over_kl.Series(
        arm_names.title(name), look[name], over_kl.points(arm), kl, band, peak
      )
    )
  start = evidence.arms.get("sft")
  return Picture(
    name="gap",
    title="Win rate against KL",
    caption=(
      "Each point is a checkpoint; each curve the arm's best configuration at"
      " that KL, averaged over seeds, with a 95% band; the star its peak."
    ),
    header=over_kl.HEADER,
    rows=rows,
    plot=lambda ax: over_kl.plot(
      ax,
      series,
      log_base,
      "win rate against the golden policy",
      over_kl.level_of(start),
    ),
    missing=tuple(missing),
  )


def _not_plotted(evidence: Evidence, plotted: Collection[str]) -> Iterator[str]:
  for name in evidence.names:
    if name not in evidence.arms:
      yield f"{name}: no records"
  for name, arm in evidence.arms.items():
    if name not in plotted and arm.num_checkpoints > 1:
      yield f"{name}: no configuration of which all runs have two checkpoints"


def plot_judges(
  evidence: Evidence, name: str = "online", log_base: float = 10.0
) -> Picture:
  """Plots an arm's win rate over KL by every judge's opinion.

  Args:
    evidence: one task's evidence.
    name: the arm. Of several configurations, the one with the highest KL.
    log_base: base of the KL axis's logarithm.
  """
  arm = _farthest(evidence.arm(name))
  if not arm.has(JUDGES["proxy"][0]):
    raise UndefinedError(f"the proxy was not asked when {name} was evaluated")
  look = styles.styles_of(JUDGES)
  series, rows = [], []
  for judge, (metric, title) in JUDGES.items():
    if arm.has(metric):
      kl, band = over_kl.frontier(arm, evidence.settings, metric)
      points = over_kl.points(arm, metric)
      series.append(over_kl.Series(title, look[judge], points, kl, band))
      rows += over_kl.point_rows(judge, arm, metric)
      rows += over_kl.curve_rows("mean", judge, kl, band)
  label = arm.configurations[0].label
  policy = f"{name} ({label})" if label else name
  return Picture(
    name=f"goodhart_{name}",
    title=f"{name} according to each judge",
    caption=(
      f"Win rate of {policy} according to each judge. If the proxy's rises"
      " while the others fall, the proxy is over-optimized."
    ),
    header=tuple("judge" if h == "arm" else h for h in over_kl.HEADER),
    rows=rows,
    plot=lambda ax: over_kl.plot(
      ax, series, log_base, "win rate by each judge", None
    ),
  )


def plot_gao_fits(evidence: Evidence, log_base: float = 10.0) -> Picture:
  """Plots Gao's form, fitted to every arm.

  Args:
    evidence: one task's evidence.
    log_base: base of the KL axis's logarithm.
  """
  start = evidence.arm("sft")
  series, rows = [], []
  look = styles.styles_of(evidence.arms)
  for name in look:
    arm = evidence.arms[name]
    ends = curves.extent(arm)
    if ends is None:
      continue
    try:
      fit = gao.fit("reinforcement", arm, start, evidence.settings)
    except UndefinedError:
      continue
    kl = np.exp(curves.grid_of(ends))
    band = fit.curve(kl)
    series.append(
      over_kl.Series(
        arm_names.title(name), look[name], over_kl.points(arm), kl, band
      )
    )
    rows += over_kl.curve_rows("reinforcement form", name, kl, band)
  if not series:
    raise UndefinedError("no arm has three checkpoints to fit")
  return Picture(
    name="gao_fits",
    title="Gao's form, fitted",
    caption=(
      "SFT's win rate + d (a - b log d), d = sqrt(KL), by least squares over"
      " all of an arm's checkpoints, with a 95% band."
    ),
    header=over_kl.HEADER,
    rows=rows,
    plot=lambda ax: over_kl.plot(
      ax,
      series,
      log_base,
      "win rate against the golden policy",
      over_kl.level_of(start),
    ),
  )


def plot_calibration(evidence: Evidence) -> Picture:
  """Plots how often judges are right over how sure they are.

  Args:
    evidence: one task's evidence.
  """
  judged = {n: j for n, j in evidence.judges.items() if j.calibration}
  if not judged:
    raise UndefinedError("no preference model's calibration was measured")
  look = styles.styles_of(judged)
  header = ("judge", "against", "predicted", "observed", "ci95_low")
  rows: list[tuple[Cell, ...]] = [
    (name, judge.calibrated_against, each.predicted, *_interval(each.observed))
    for name, judge in judged.items()
    for each in judge.calibration
  ]

  def plot(ax: axes.Axes) -> None:
    low = min(b.predicted for j in judged.values() for b in j.calibration)
    low = 0.5 if low >= 0.5 else 0.0
    ax.plot((low, 1), (low, 1), color="0.4", lw=1, label="perfect")
    for name, judge in judged.items():
      observed = [each.observed for each in judge.calibration]
      ax.errorbar(
        [each.predicted for each in judge.calibration],
        [rate.value for rate in observed],
        (
          [rate.value - rate.ci95_low for rate in observed],
          [rate.ci95_high - rate.value for rate in observed],
        ),
        color=look[name].color,
        marker=look[name].marker,
        linestyle=look[name].line,
        capsize=3,
        label=f"{name}, against {_against(judge.calibrated_against)}",
      )
    ax.set_xlabel("how sure the judge is")
    ax.set_ylabel("how often it is right")

  return Picture(
    name="calibration",
    title="Calibration of the preference models",
    caption="On held-out pairs, with 95% intervals; on the line is perfect.",
    header=(*header, "ci95_high", "pairs"),
    rows=rows,
    plot=plot,
  )


def _against(key: str) -> str:
  return {"utility": "hidden utility", "golden": "golden labels"}.get(key, key)


def _interval(measured: Measurement) -> tuple[float, float, float, int]:
  low, high = measured.ci95_low, measured.ci95_high
  return measured.value, low, high, measured.n


def _farthest(arm: arms.Arm) -> arms.Arm:
  """Returns the arm with only the configuration of the highest KL."""
  alone = [
    dataclasses.replace(arm, configurations=(c,)) for c in arm.configurations
  ]
  reach = [(curves.extent(each) or (0.0, -math.inf))[1] for each in alone]
  return alone[int(np.argmax(reach))]
