"""Policies as classifiers of pairs: Figures 6, 7 and 8, and Appendix E.1."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import axes, ticker

from rlhf_gap.analysis import arm_names, arms, baselines, quantiles
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.paper import tradeoffs
from rlhf_gap.plotting import styles
from rlhf_gap.plotting.drawing import Cell, Figure
from rlhf_gap.plotting.styles import BLUE, PURPLE, Style
from rlhf_gap.records import RunRecord

METHODS = ("online", "tandem", "offline")
ACCURACY = "pair_accuracy_sum"
CHOSEN = "chosen_log_ratio_nats"
OWN = "own_pair_accuracy_sum"
_ON_ONLINE_DATA = "accuracy/"
_JUDGED = {
  "proxy": ("proxy preference model", Style(PURPLE, "D", "--")),
  "online": ("online, final", Style(BLUE, "o", "-")),
  "offline": ("offline, final", styles.method_style("offline")),
}
_HEADER = ("arm", "run", "seed", "step", "value", "ci95_low", "ci95_high", "n")


def of_online_data(
  found: Sequence[RunRecord], name: str
) -> dict[int, dict[int, tuple[float, int]]]:
  """Returns how often a classifier was right on online runs' own pairs.

  Args:
    found: records of `rlhf_gap.evaluation.online_data`.
    name: "proxy", or the arm of a policy.

  Returns:
    By step of the data and seed, the share and the number of pairs.
  """
  accuracies: dict[int, dict[int, tuple[float, int]]] = {}
  for record in found:
    if record.run.arm != name:
      continue
    for metric, measured in record.metrics.items():
      step = int(metric.removeprefix(_ON_ONLINE_DATA))
      of_seed = accuracies.setdefault(step, {})
      of_seed[record.run.seed] = (measured.value, measured.n)
  return accuracies


def online_data(evidence: Evidence) -> Figure:
  """Fig. 6: who can tell the better response of online pairs, over time."""
  found = {name: of_online_data(evidence.online_data, name) for name in _JUDGED}
  found = {name: by_step for name, by_step in found.items() if by_step}
  if not found:
    raise UndefinedError("no classifier was asked about online data")
  rows = [
    (name, "", "", step, *_pooled(by_step[step]))
    for name, by_step in found.items()
    for step in sorted(by_step)
  ]

  def draw(ax: axes.Axes) -> None:
    for name, by_step in found.items():
      label, style = _JUDGED[name]
      steps = sorted(by_step)
      values = np.array([_pooled(by_step[s])[:3] for s in steps])
      ax.errorbar(
        steps,
        values[:, 0],
        (values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]),
        color=style.color,
        marker=style.marker,
        linestyle=style.line,
        capsize=3,
        label=label,
      )
    _half(ax)
    ax.set_xlabel("step of the online run that drew the pairs")
    ax.set_ylabel("agreement with golden labels")

  return Figure(
    name="fig_6",
    title="Figure 6: who can tell online responses apart",
    caption="All seeds' pairs together, with 95% intervals over pairs.",
    header=_HEADER,
    rows=rows,
    draw=draw,
    missing=tuple(_windows_missing(found)),
  )


def _windows_missing(
  found: Mapping[str, Mapping[int, Mapping[int, tuple[float, int]]]],
) -> list[str]:
  absent = [n for n in _JUDGED if n not in found]
  lines = [f"{name} was not asked" for name in absent]
  steps = {step for by_step in found.values() for step in by_step}
  seeds = {s for by in found.values() for one in by.values() for s in one}
  for name, by_step in found.items():
    for seed in sorted(seeds):
      lacks = [s for s in sorted(steps) if seed not in by_step.get(s, {})]
      if lacks:
        listed = ", ".join(map(str, lacks))
        lines.append(f"{name}, seed {seed}: no pairs of step {listed}")
  return lines


def _pooled(
  of_seeds: Mapping[int, tuple[float, int]],
) -> tuple[float, float, float, int]:
  """Share, 95% interval and number of pairs of all seeds together.

  By Agresti and Coull (1998): two successes and two failures are added.
  """
  n = sum(count for _, count in of_seeds.values())
  right = math.fsum(value * count for value, count in of_seeds.values())
  middle = (right + 2) / (n + 4)
  half = 1.96 * math.sqrt(middle * (1 - middle) / (n + 4))
  value = right / n
  # The interval's middle is drawn to one half; the share may lie at an end.
  low, high = min(middle - half, value), max(middle + half, value)
  return value, max(low, 0.0), min(high, 1.0), n


def _half(ax: axes.Axes) -> None:
  ax.axhline(0.5, color="0.35", lw=1.2, ls=(0, (1, 2)), label="chance")


def by_step(
  evidence: Evidence, of: arms.Arm, metric: str
) -> dict[int, dict[int, tuple[float, float, float, int]]]:
  """Returns a metric of runs over steps.

  Args:
    evidence: of one task, with its records.
    of: the runs.
    metric: of the records.

  Returns:
    By seed and step, the value, its 95% interval and what it rests on.
  """
  names = {run.name: run.seed for run in of.runs}
  found: dict[int, dict[int, tuple[float, float, float, int]]] = {}
  for record in evidence.records:
    measured = record.metrics.get(metric)
    if measured is not None and record.run.name in names:
      numbers = (measured.value, measured.ci95_low, measured.ci95_high)
      of_seed = found.setdefault(names[record.run.name], {})
      of_seed[record.checkpoint.step] = (*numbers, measured.n)
  return found


def _over_steps(
  evidence: Evidence,
  metric: str,
  *,
  name: str,
  title: str,
  caption: str,
  y_label: str,
  level: float | None = None,
) -> Figure:
  lines: dict[str, dict[int, dict[int, float]]] = {}
  rows: list[tuple[Cell, ...]] = []
  missing: list[str] = []
  for method in METHODS:
    try:
      arm = baselines.arm(evidence, method)
    except UndefinedError as error:
      missing.append(f"{arm_names.title(method)}: {error}")
      continue
    found = by_step(evidence, arm, metric)
    if not found:
      missing.append(f"{arm_names.title(method)}: no record has {metric}")
      continue
    missing += tradeoffs.lacking(arm, evidence)
    lines[method] = {
      seed: {step: values[0] for step, values in of_seed.items()}
      for seed, of_seed in found.items()
    }
    rows += [
      (method, "", seed, step, *values)
      for seed, of_seed in found.items()
      for step, values in sorted(of_seed.items())
    ]
  if not lines:
    raise UndefinedError("; ".join(missing))
  return Figure(
    name=name,
    title=title,
    caption=f"{caption} Thin lines are seeds, thick ones their means.",
    header=_HEADER,
    rows=rows,
    draw=lambda ax: _draw_seeds(ax, lines, y_label, level),
    missing=tuple(missing),
  )


def _draw_seeds(
  ax: axes.Axes,
  lines: Mapping[str, Mapping[int, Mapping[int, float]]],
  y_label: str,
  level: float | None,
) -> None:
  for method, of_seeds in lines.items():
    style = styles.method_style(method)
    for of_seed in of_seeds.values():
      steps = sorted(of_seed)
      values = [of_seed[step] for step in steps]
      ax.plot(steps, values, color=style.color, lw=0.7, alpha=0.5)
    shared = sorted(set.intersection(*(set(s) for s in of_seeds.values())))
    ax.plot(
      shared,
      [float(np.mean([s[step] for s in of_seeds.values()])) for step in shared],
      color=style.color,
      lw=2.2,
      ls=style.line,
      marker=style.marker,
      ms=5,
      mfc="none",
      label=arm_names.title(method),
    )
  if level is not None:
    word = "chance" if level == 0.5 else "SFT"
    ax.axhline(level, color="0.35", lw=1.2, ls=(0, (1, 2)), label=word)
  ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  ax.set_xlabel("training step")
  ax.set_ylabel(y_label)


def accuracy_over_training(evidence: Evidence) -> Figure:
  """Fig. 8, top: accuracy on golden pairs over training."""
  return _over_steps(
    evidence,
    ACCURACY,
    name="fig_8_top",
    title="Figure 8, top: accuracy on golden pairs",
    caption="Runs of the online runs' hyper-parameters.",
    y_label="accuracy on golden pairs",
    level=0.5,
  )


def winners_over_training(evidence: Evidence) -> Figure:
  """Fig. 8, bottom: how likely the winners of golden pairs stay."""
  return _over_steps(
    evidence,
    CHOSEN,
    name="fig_8_bottom",
    title="Figure 8, bottom: likelihood of winners",
    caption="Mean log pi / pi_sft of golden pairs' winners, tokens summed.",
    y_label="log pi / pi_sft of winners, nats",
    level=0.0,
  )


def self_classification(evidence: Evidence) -> Figure:
  """App. E.1: whether policies can tell their own samples apart."""
  return _over_steps(
    evidence,
    OWN,
    name="app_e1",
    title="Appendix E.1: accuracy on own samples",
    caption="Two samples a prompt of the policy itself, golden labels.",
    y_label="accuracy on own samples",
    level=0.5,
  )


def points(evidence: Evidence) -> list[tuple[str, str, int, float, float]]:
  """Returns (arm, run, step, accuracy, win rate) of baseline checkpoints.

  Args:
    evidence: of one task, with its records.
  """
  found = []
  for method in METHODS:
    try:
      names = {run.name for run in baselines.arm(evidence, method).runs}
    except UndefinedError:
      continue
    for record in evidence.records:
      accuracy = record.metrics.get(ACCURACY)
      if record.run.name in names and accuracy is not None:
        win = float(np.mean(record.by_prompt[arms.WIN]))
        step = record.checkpoint.step
        found.append((method, record.run.name, step, accuracy.value, win))
  return found


def correlation(evidence: Evidence) -> quantiles.Correlation:
  """Returns that of accuracy and win rate over baseline checkpoints.

  Args:
    evidence: of one task, with its records.

  Raises:
    UndefinedError: fewer than three runs, or nothing that varies.
  """
  found = points(evidence)
  return quantiles.correlation(
    np.array([accuracy for *_, accuracy, _ in found], np.float64),
    np.array([win for *_, win in found], np.float64),
    [run for _, run, *_ in found],
  )


def accuracy_and_win_rate(evidence: Evidence) -> Figure:
  """Fig. 7: win rate against accuracy, a point a checkpoint."""
  found = points(evidence)
  if not found:
    raise UndefinedError("no checkpoint's accuracy on golden pairs is known")
  try:
    r = correlation(evidence)
    told = (
      f"Pearson's r {r.value:.2f} [{r.ci95_low:.2f}, {r.ci95_high:.2f}],"
      f" {r.num_points} checkpoints of {r.num_groups} runs."
    )
  except UndefinedError as error:
    told = f"No correlation: {error}."
  drawn = {method for method, *_ in found}

  def draw(ax: axes.Axes) -> None:
    for method in METHODS:
      own = [(x, y) for name, _, _, x, y in found if name == method]
      style = styles.method_style(method)
      if own:
        ax.plot(
          *zip(*own, strict=True),
          ls="",
          marker=style.marker,
          color=style.color,
          mfc="none",
          label=arm_names.title(method),
        )
    ax.set_xlabel("accuracy on golden pairs")
    ax.set_ylabel("win rate against the golden policy")

  return Figure(
    name="fig_7",
    title="Figure 7: classifying and generating",
    caption=f"Checkpoints of the online runs' hyper-parameters. {told}",
    header=("arm", "run", "step", "accuracy", "win_rate"),
    rows=found,
    draw=draw,
    missing=tuple(
      f"{arm_names.title(method)}: no such checkpoints"
      for method in METHODS
      if method not in drawn
    ),
  )
