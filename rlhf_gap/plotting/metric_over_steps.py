"""The picture of a metric over training, by method (Figure 8, Appendix E.1)."""

import functools
from collections.abc import Mapping

import numpy as np
from matplotlib import axes, ticker

from rlhf_gap.analysis import arm_names, baselines
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.plotting import styles, win_rate_over_kl
from rlhf_gap.plotting.picture import Cell, Picture

HEADER = ("arm", "run", "seed", "step", "value", "ci95_low", "ci95_high", "n")

Values = Mapping[int, Mapping[int, float]]
"""A metric by seed and step."""


def plot(
  evidence: Evidence,
  metric: str,
  *,
  name: str,
  title: str,
  caption: str,
  y_label: str,
  level: float | None = None,
) -> Picture:
  """Plots a metric of the baseline runs of every method over training.

  Args:
    evidence: one task's evidence, with its records.
    metric: the metric's name in records.
    name: the stem of the picture's files.
    title: what it shows.
    caption: how to read it.
    y_label: label of the vertical axis.
    level: a value to mark with a horizontal line: 0.5 is chance, 0 is SFT.

  Raises:
    UndefinedError: no baseline run has the metric.
  """
  by_method: dict[str, Values] = {}
  rows: list[tuple[Cell, ...]] = []
  missing: list[str] = []
  for method in arm_names.METHODS:
    try:
      arm = baselines.arm(evidence, method)
      measured = baselines.metric_by_step(evidence, arm, metric)
      if not measured:
        raise UndefinedError(f"no record has {metric}")
    except UndefinedError as error:
      missing.append(f"{arm_names.title(method)}: {error}")
      continue
    missing += win_rate_over_kl.missing_records(arm, evidence)
    by_method[method] = {
      seed: {step: m.value for step, m in steps.items()}
      for seed, steps in measured.items()
    }
    rows += [
      (method, "", seed, step, m.value, m.ci95_low, m.ci95_high, m.n)
      for seed, steps in measured.items()
      for step, m in sorted(steps.items())
    ]
  if not by_method:
    raise UndefinedError("; ".join(missing))
  return Picture(
    name=name,
    title=title,
    caption=f"{caption} Thin lines are seeds, thick ones their means.",
    header=HEADER,
    rows=rows,
    plot=functools.partial(
      _plot_methods, by_method=by_method, y_label=y_label, level=level
    ),
    missing=tuple(missing),
  )


def _plot_methods(
  ax: axes.Axes,
  *,
  by_method: Mapping[str, Values],
  y_label: str,
  level: float | None,
) -> None:
  for method, by_seed in by_method.items():
    _plot_method(ax, method, by_seed)
  if level is not None:
    mark_level(ax, level, "chance" if level == 0.5 else "SFT")
  ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  ax.set_xlabel("training step")
  ax.set_ylabel(y_label)


def _plot_method(ax: axes.Axes, method: str, by_seed: Values) -> None:
  style = styles.method_style(method)
  for by_step in by_seed.values():
    steps = sorted(by_step)
    values = [by_step[step] for step in steps]
    ax.plot(steps, values, color=style.color, lw=0.7, alpha=0.5)
  shared = sorted(set.intersection(*(set(s) for s in by_seed.values())))
  ax.plot(
    shared,
    [float(np.mean([s[step] for s in by_seed.values()])) for step in shared],
    color=style.color,
    lw=2.2,
    ls=style.line,
    marker=style.marker,
    ms=5,
    mfc="none",
    label=arm_names.title(method),
  )


def mark_level(ax: axes.Axes, level: float, label: str) -> None:
  """Plots a dotted horizontal line with an entry in the legend."""
  ax.axhline(level, color="0.35", lw=1.2, ls=(0, (1, 2)), label=label)
