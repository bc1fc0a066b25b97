"""Claims and pictures about Tajwar et al.'s axes, for bandit and lengths."""

import functools

import numpy as np
from matplotlib import axes

from rlhf_gap import progress
from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.analysis.verdicts import exceeds, harmless
from rlhf_gap.didactic import training
from rlhf_gap.didactic.problem import Curves, Part, last, over_seeds
from rlhf_gap.plotting import styles
from rlhf_gap.plotting.picture import Cell, Picture

_COLORS = dict(
  zip(
    training.SOURCES,
    (styles.BLUE, styles.SKY, styles.GREEN, styles.ORANGE, styles.VERMILLION),
    strict=True,
  )
)
_LINES = dict(zip(training.LOSSES, ("-", "--"), strict=True))


def measure(tasks: dict[str, training.Task], num_seeds: int) -> Curves:
  """Trains every arm on every task; names are "task: arm"."""
  curves = {}
  arms = training.arms()
  with progress.bar("training", len(arms), "arms") as shown:
    for arm_name, arm in arms.items():
      for task, rewards in training.train(tasks, arm, num_seeds).items():
        curves[f"{task}: {arm_name}"] = rewards
      shown.update(1)
  return curves


def gap(curves: Curves, task: str, first: str, second: str) -> np.ndarray:
  """Returns the difference of two arms' results, per seed."""
  return last(curves, f"{task}: {first}") - last(curves, f"{task}: {second}")


def ahead(name: str, difference: np.ndarray) -> Part:
  """A part that holds if the difference is positive."""
  estimate = over_seeds(difference)
  return name, estimate, exceeds(estimate)


def no_loss(name: str, difference: np.ndarray) -> Part:
  """A part that holds if the loss is too small to matter."""
  estimate = over_seeds(difference)
  return name, estimate, harmless(estimate)


def each_loss(
  curves: Curves, task: str, first: str, second: str
) -> list[tuple[str, np.ndarray]]:
  """Returns the difference of two sources, for each loss."""
  return [
    (
      f"{task}, {loss}:",
      gap(curves, task, f"{loss}, {first}", f"{loss}, {second}"),
    )
    for loss in training.LOSSES
  ]


def picture(
  curves: Curves, task: str, *, name: str, title: str, y_label: str
) -> Picture:
  """Plots a task's arms over training, with 95% bands over seeds."""
  of_task = {
    arm: curves[f"{task}: {arm}"]
    for arm in training.arms()
    if "no reuse" not in arm
  }
  rows: list[tuple[Cell, ...]] = []
  bands = {arm: _band(values) for arm, values in of_task.items()}
  for arm, estimates in bands.items():
    rows += [
      (arm, step, e.value, e.ci95_low, e.ci95_high) for step, e in estimates
    ]
  return Picture(
    name=name,
    title=title,
    caption="Solid: IPO; dashed: best of 10. Bands: 95% over seeds.",
    header=("arm", "step", "value", "ci95_low", "ci95_high"),
    rows=rows,
    plot=functools.partial(_plot, bands=bands, title=title, y_label=y_label),
  )


def _band(values: np.ndarray) -> list[tuple[int, Estimate]]:
  steps = range(0, values.shape[1], 10)
  return [(step, over_seeds(values[:, step])) for step in steps]


def _plot(
  ax: axes.Axes,
  *,
  bands: dict[str, list[tuple[int, Estimate]]],
  title: str,
  y_label: str,
) -> None:
  for arm, estimates in bands.items():
    loss, _, source = arm.partition(", ")
    color = _COLORS[source]
    steps = [step for step, _ in estimates]
    low = [e.ci95_low for _, e in estimates]
    high = [e.ci95_high for _, e in estimates]
    if np.isfinite(low).all():
      ax.fill_between(steps, low, high, color=color, alpha=0.16, lw=0)
    values = [e.value for _, e in estimates]
    label = source if loss == "IPO" else None
    ax.plot(steps, values, color=color, ls=_LINES[loss], lw=1.8, label=label)
  for loss, line in _LINES.items():
    ax.plot([], [], color="0.35", ls=line, lw=1.8, label=loss)
  ax.set_title(title, fontsize=10)
  ax.set_xlabel("gradient step")
  ax.set_ylabel(y_label)
