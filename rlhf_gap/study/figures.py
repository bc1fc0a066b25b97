"""The figures of a report, drawn from records alone.

A function of a task's evidence gives a `drawing.Figure`, or raises
`UndefinedError` with the reason why there is none.
"""

import dataclasses
import math

import numpy as np
from matplotlib import axes

from rlhf_gap.records import Measurement
from rlhf_gap.study import arms, curves, drawing, gao, resampling, statistics
from rlhf_gap.study.drawing import Cell, Figure, Style
from rlhf_gap.study.resampling import UndefinedError
from rlhf_gap.study.verdicts import Evidence

JUDGES = {
  "golden": ("win_rate", "golden preference model"),
  "proxy": ("proxy_win_rate", "proxy preference model"),
  "utility": ("utility_win_rate", "hidden utility"),
}
"""Whose opinion: its outcomes by prompt, and what to call it."""

_HEADER = (
  *("kind", "arm", "configuration", "run", "seed", "step"),
  *("kl_nats", "win_rate", "ci95_low", "ci95_high"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Series:
  """Points and a curve of one thing in a plot over KL."""

  label: str
  style: Style
  points: np.ndarray  # [points, 2]: KL in nats, win rate
  kl_nats: np.ndarray
  curve: resampling.Spread
  peak: statistics.Peak | None = None


def gap(evidence: Evidence, log_base: float = 10.0) -> Figure:
  """KL against win rate: points are checkpoints, curves are frontiers.

  Args:
    evidence: of one task.
    log_base: of the axis.
  """
  look = drawing.styles(
    name
    for name, arm in evidence.arms.items()
    if curves.extent(arm) is not None
  )
  if not look:
    raise UndefinedError("no arm has two checkpoints with a KL")
  series, rows = [], []
  for name in look:
    arm = evidence.arms[name]
    kl, band = _frontier(arm, evidence.settings)
    peak = statistics.peak(arm, evidence.settings)
    series.append(_Series(name, look[name], _points(arm), kl, band, peak))
    rows += _point_rows(name, arm)
    rows += _curve_rows("frontier", name, kl, band)
    rows.append(_peak_row(name, peak))
  start = evidence.arms.get("sft")
  return Figure(
    name="gap",
    title="Win rate against KL",
    caption=(
      "Each point is a checkpoint; each curve the arm's best configuration at"
      " that KL, averaged over seeds, with a 95% band; the star its peak."
    ),
    header=_HEADER,
    rows=rows,
    draw=lambda ax: _draw_over_kl(
      ax, series, log_base, "win rate against the golden policy", _level(start)
    ),
  )


def goodhart(
  evidence: Evidence, name: str = "online", log_base: float = 10.0
) -> Figure:
  """What proxy, golden model and hidden utility say of one arm, over KL.

  Args:
    evidence: of one task.
    name: of the arm; of several configurations the one that goes farthest.
    log_base: of the axis.
  """
  arm = _farthest(evidence.arm(name))
  if not arm.has(JUDGES["proxy"][0]):
    raise UndefinedError(f"the proxy was not asked when {name} was evaluated")
  look = drawing.styles(JUDGES)
  series, rows = [], []
  for judge, (metric, title) in JUDGES.items():
    if arm.has(metric):
      kl, band = _frontier(arm, evidence.settings, metric)
      points = _points(arm, metric)
      series.append(_Series(title, look[judge], points, kl, band))
      rows += _point_rows(judge, arm, metric)
      rows += _curve_rows("mean", judge, kl, band)
  label = arm.configurations[0].label
  of = f"{name} ({label})" if label else name
  return Figure(
    name=f"goodhart_{name}",
    title=f"What the judges think of {name}",
    caption=(
      f"How often {of} wins by each judge's opinion. Where the proxy's rises"
      " and the others fall, the proxy is over-optimized."
    ),
    header=tuple("judge" if h == "arm" else h for h in _HEADER),
    rows=rows,
    draw=lambda ax: _draw_over_kl(
      ax, series, log_base, "win rate by each judge", None
    ),
  )


def gao_fits(evidence: Evidence, log_base: float = 10.0) -> Figure:
  """Gao's form fitted to every arm.

  Args:
    evidence: of one task.
    log_base: of the axis.
  """
  start = evidence.arm("sft")
  series, rows = [], []
  look = drawing.styles(evidence.arms)
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
    series.append(_Series(name, look[name], _points(arm), kl, band))
    rows += _curve_rows("reinforcement form", name, kl, band)
  if not series:
    raise UndefinedError("no arm has three checkpoints to fit")
  return Figure(
    name="gao_fits",
    title="Gao's form, fitted",
    caption=(
      "SFT's win rate + d (a - b log d), d = sqrt(KL), by least squares over"
      " all of an arm's checkpoints, with a 95% band."
    ),
    header=_HEADER,
    rows=rows,
    draw=lambda ax: _draw_over_kl(
      ax, series, log_base, "win rate against the golden policy", _level(start)
    ),
  )


def calibration(evidence: Evidence) -> Figure:
  """How often judges are right, by how sure they are.

  Args:
    evidence: of one task.
  """
  judged = {n: j for n, j in evidence.judges.items() if j.calibration}
  if not judged:
    raise UndefinedError("no preference model's calibration was measured")
  look = drawing.styles(judged)
  header = ("judge", "against", "predicted", "observed", "ci95_low")
  rows: list[tuple[Cell, ...]] = [
    (name, judge.calibrated_against, one.predicted, *_interval(one.observed))
    for name, judge in judged.items()
    for one in judge.calibration
  ]

  def draw(ax: axes.Axes) -> None:
    low = min(one.predicted for j in judged.values() for one in j.calibration)
    low = 0.5 if low >= 0.5 else 0.0
    ax.plot((low, 1), (low, 1), color="0.4", lw=1, label="perfect")
    for name, judge in judged.items():
      x = [one.predicted for one in judge.calibration]
      y = [one.observed.value for one in judge.calibration]
      below = [
        o.observed.value - o.observed.ci95_low for o in judge.calibration
      ]
      above = [
        o.observed.ci95_high - o.observed.value for o in judge.calibration
      ]
      ax.errorbar(
        x,
        y,
        (below, above),
        color=look[name].color,
        marker=look[name].marker,
        linestyle=look[name].line,
        capsize=3,
        label=f"{name}, against {_against(judge.calibrated_against)}",
      )
    ax.set_xlabel("how sure the judge is")
    ax.set_ylabel("how often it is right")

  return Figure(
    name="calibration",
    title="Calibration of the preference models",
    caption="On held-out pairs, with 95% intervals; on the line is perfect.",
    header=(*header, "ci95_high", "pairs"),
    rows=rows,
    draw=draw,
  )


def _against(key: str) -> str:
  return {"utility": "hidden utility", "golden": "golden labels"}.get(key, key)


def _interval(measured: Measurement) -> tuple[float, float, float, int]:
  low, high = measured.ci95_low, measured.ci95_high
  return measured.value, low, high, measured.n


def _frontier(
  arm: arms.Arm, settings: statistics.Settings, metric: str = arms.WIN
) -> tuple[np.ndarray, resampling.Spread]:
  ends = curves.extent(arm)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  grid = curves.grid_of(ends)

  def along(draws: resampling.Draws) -> np.ndarray:
    found = curves.by_configuration(arm, draws, grid, metric=metric)
    return curves.frontier(found)

  return np.exp(grid), resampling.spread(along, settings.design(arm))


def _farthest(arm: arms.Arm) -> arms.Arm:
  """The arm with that configuration alone that reaches the highest KL."""
  alone = [
    dataclasses.replace(arm, configurations=(c,)) for c in arm.configurations
  ]
  reach = [(curves.extent(one) or (0.0, -math.inf))[1] for one in alone]
  return alone[int(np.argmax(reach))]


def _points(arm: arms.Arm, metric: str = arms.WIN) -> np.ndarray:
  found = [
    (kl, win)
    for run in arm.runs
    for kl, win in zip(
      run.kl_nats.mean(axis=1), run.outcomes[metric].mean(axis=1), strict=True
    )
  ]
  return np.array([one for one in found if one[0] >= curves.LEAST_KL_NATS])


def _level(arm: arms.Arm | None) -> float | None:
  """SFT's win rate, for a horizontal line."""
  if arm is None:
    return None
  return float(arm.runs[0].outcomes[arms.WIN][-1].mean())


def _point_rows(
  label: str, arm: arms.Arm, metric: str = arms.WIN
) -> list[tuple[Cell, ...]]:
  return [
    (
      *("checkpoint", label, configuration.label, run.name, run.seed),
      *(int(step), float(kl), float(win), "", ""),
    )
    for configuration in arm.configurations
    for run in configuration.runs
    for step, kl, win in zip(
      run.steps,
      run.kl_nats.mean(axis=1),
      run.outcomes[metric].mean(axis=1),
      strict=True,
    )
  ]


def _curve_rows(
  kind: str, label: str, kl_nats: np.ndarray, band: resampling.Spread
) -> list[tuple[Cell, ...]]:
  columns = (kl_nats, band.value, band.low, band.high)
  return [
    (kind, label, "", "", "", "", *map(float, numbers))
    for numbers in zip(*columns, strict=True)
    if not math.isnan(numbers[1])
  ]


def _peak_row(label: str, peak: statistics.Peak) -> tuple[Cell, ...]:
  win = peak.win_rate
  return (
    *("peak", label, "", "", "", ""),
    *(peak.kl_nats.value, win.value, win.ci95_low, win.ci95_high),
  )


def _draw_over_kl(
  ax: axes.Axes,
  series: list[_Series],
  log_base: float,
  y_label: str,
  level: float | None,
) -> None:
  def x_of(kl_nats: np.ndarray) -> np.ndarray:
    return np.log(kl_nats) / math.log(log_base)

  for one in series:
    color = one.style.color
    x = x_of(one.kl_nats)
    ax.fill_between(
      x, one.curve.low, one.curve.high, color=color, alpha=0.16, lw=0
    )
    ax.plot(
      *(x_of(one.points[:, 0]), one.points[:, 1]),
      ls="",
      marker=one.style.marker,
      ms=4,
      mfc="none",
      mec=color,
      alpha=0.6,
    )
    # One entry of the legend shows both the line and the marker.
    ax.plot(x, one.curve.value, ls=one.style.line, color=color, lw=2)
    ax.plot(
      [],
      [],
      ls=one.style.line,
      color=color,
      lw=2,
      marker=one.style.marker,
      mfc="none",
      label=one.label,
    )
    if one.peak is not None:
      top = int(np.nanargmax(one.curve.value))
      ax.plot(
        x[top],
        one.curve.value[top],
        marker="*",
        ms=14,
        mfc=color,
        mec="black",
        zorder=5,
      )
  if level is not None:
    ax.axhline(level, color="0.35", lw=1.2, ls=(0, (1, 2)), label="SFT")
  _label_axes(ax, log_base, y_label)


def _label_axes(ax: axes.Axes, log_base: float, y_label: str) -> None:
  name = "ln" if math.isclose(log_base, math.e) else rf"$\log_{{{log_base:g}}}$"
  ax.set_xlabel(f"{name} KL(policy, SFT)")
  ax.set_ylabel(y_label)
  scale = math.log(log_base)
  nats = ax.secondary_xaxis(
    "top",
    functions=(
      lambda x: np.exp(np.asarray(x) * scale),
      lambda kl: np.log(np.maximum(kl, 1e-12)) / scale,
    ),
  )
  low, high = (math.exp(end * scale) for end in ax.get_xlim())
  ticks = round_ticks(low, high)
  nats.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
  nats.set_xlabel("KL in nats")


def round_ticks(low: float, high: float) -> list[float]:
  """Returns round numbers within a range, three to a dozen or so.

  Args:
    low: where it begins, > 0.
    high: where it ends.
  """
  exponents = range(
    math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
  )
  for digits in _TICK_DIGITS:
    every = [digit * 10.0**e for e in exponents for digit in digits]
    ticks = [tick for tick in every if low <= tick <= high]
    if len(ticks) > 2:
      return ticks
  return np.linspace(low, high, 4)[1:-1].round(3).tolist()


_TICK_DIGITS = (
  (1, 3),
  (1, 2, 5),
  (1, 1.5, 2, 3, 4, 5, 6, 8),
  tuple(round(1 + 0.1 * k, 1) for k in range(90)),
)
