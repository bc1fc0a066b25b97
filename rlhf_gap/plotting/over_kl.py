"""Elements of pictures over KL: points are checkpoints, curves frontiers."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from matplotlib import axes

from rlhf_gap.analysis import arms, curves, resampling, statistics
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.plotting.picture import Cell
from rlhf_gap.plotting.styles import Style

HEADER = (
  *("kind", "arm", "configuration", "run", "seed", "step"),
  *("kl_nats", "win_rate", "ci95_low", "ci95_high"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
  """Points and a curve with one entry in the legend.

  Attributes:
    label: entry in the legend.
    style: style of points and curve.
    points: KL in nats and win rate, [points, 2].
    kl_nats: KLs of the curve.
    curve: the curve with its band.
    peak: a peak to mark, if any.
  """

  label: str
  style: Style
  points: np.ndarray
  kl_nats: np.ndarray
  curve: resampling.Spread
  peak: statistics.Peak | None = None


def frontier(
  arm: arms.Arm, settings: statistics.BootstrapSettings, metric: str = arms.WIN
) -> tuple[np.ndarray, resampling.Spread]:
  """Returns KLs in nats and an arm's frontier there.

  Args:
    arm: the arm.
    settings: of the bootstrap.
    metric: of the outcomes by prompt.

  Raises:
    UndefinedError: no run has two checkpoints.
  """
  ends = curves.extent(arm)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  grid = curves.grid_of(ends)

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    return curves.frontier(
      curves.by_configuration(arm, resamples, grid, metric=metric)
    )

  return np.exp(grid), resampling.spread(statistic, settings.design(arm))


def points(arm: arms.Arm, metric: str = arms.WIN) -> np.ndarray:
  """Returns KL and win rate of checkpoints with a KL, [points, 2]."""
  moved = [
    (kl, win_rate)
    for run in arm.runs
    for kl, win_rate in zip(
      run.kl_nats.mean(axis=1), run.outcomes[metric].mean(axis=1), strict=True
    )
    if kl >= curves.LEAST_KL_NATS
  ]
  return np.array(moved, np.float64).reshape(-1, 2)


def without_curve(arm: arms.Arm) -> Iterator[str]:
  """Yields a message for each configuration that a frontier omits.

  Args:
    arm: the arm.
  """
  for configuration in arm.configurations:
    if min(curves.moved(run).sum() for run in configuration.runs) < 2:
      label = f" ({configuration.label})" if configuration.label else ""
      yield f"{arm.name}{label}: a run has fewer than two points, so no curve"


def level_of(arm: arms.Arm | None) -> float | None:
  """Returns an arm's last win rate; None if there is no arm."""
  if arm is None:
    return None
  return float(arm.runs[0].outcomes[arms.WIN][-1].mean())


def point_rows(
  label: str, arm: arms.Arm, metric: str = arms.WIN
) -> list[tuple[Cell, ...]]:
  """Returns a CSV row for every checkpoint."""
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


def curve_rows(
  kind: str, label: str, kl_nats: np.ndarray, band: resampling.Spread
) -> list[tuple[Cell, ...]]:
  """Returns a CSV row for every point of a curve."""
  columns = (kl_nats, band.value, band.low, band.high)
  return [
    (kind, label, "", "", "", "", *map(float, numbers))
    for numbers in zip(*columns, strict=True)
    if not math.isnan(numbers[1])
  ]


def peak_row(label: str, peak: statistics.Peak) -> tuple[Cell, ...]:
  """Returns the CSV row of a peak."""
  win = peak.win_rate
  return (
    *("peak", label, "", "", "", ""),
    *(peak.kl_nats, win.value, win.ci95_low, win.ci95_high),
  )


def plot(
  ax: axes.Axes,
  series: list[Series],
  log_base: float,
  y_label: str,
  level: float | None,
) -> None:
  """Plots series over log KL.

  Args:
    ax: axes to plot on.
    series: what to plot.
    log_base: base of the KL axis's logarithm.
    y_label: label of the vertical axis.
    level: SFT's win rate, plotted as a horizontal line; None for none.
  """

  def x_of(kl_nats: np.ndarray) -> np.ndarray:
    return np.log(kl_nats) / math.log(log_base)

  for each in series:
    _plot_series(ax, each, x_of(each.kl_nats), x_of(each.points[:, 0]))
  if level is not None:
    ax.axhline(level, color="0.35", lw=1.2, ls=(0, (1, 2)), label="SFT")
  label_axes(ax, log_base, y_label)


def _plot_series(
  ax: axes.Axes, series: Series, x: np.ndarray, points_x: np.ndarray
) -> None:
  color = series.style.color
  ax.fill_between(
    x, series.curve.low, series.curve.high, color=color, alpha=0.16, lw=0
  )
  ax.plot(
    *(points_x, series.points[:, 1]),
    ls="",
    marker=series.style.marker,
    ms=4,
    mfc="none",
    mec=color,
    alpha=0.6,
  )
  # One legend entry shows both line and marker.
  ax.plot(x, series.curve.value, ls=series.style.line, color=color, lw=2)
  ax.plot(
    [],
    [],
    ls=series.style.line,
    color=color,
    lw=2,
    marker=series.style.marker,
    mfc="none",
    label=series.label,
  )
  if series.peak is not None:
    top = int(np.nanargmax(series.curve.value))
    ax.plot(
      x[top],
      series.curve.value[top],
      marker="*",
      ms=14,
      mfc=color,
      mec="black",
      zorder=5,
    )


def label_axes(ax: axes.Axes, log_base: float, y_label: str) -> None:
  """Labels the axes, with KL in nats on the upper axis."""
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
  """Returns round numbers within a range, about three to twelve.

  Args:
    low: lower end of the range, > 0.
    high: upper end of the range.
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
