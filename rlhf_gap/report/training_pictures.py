"""Pictures over training steps, from records and from the runs' logs."""

import re
from collections.abc import Iterable

import numpy as np
from matplotlib import axes, ticker

from rlhf_gap.analysis import summary
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.plotting import styles
from rlhf_gap.plotting.picture import Cell, Picture

METRICS = {
  "win_rate": "win rate against the golden policy",
  "kl_nats": "KL(policy, SFT) in nats",
  "proxy_win_rate": "win rate by the proxy's opinion",
  "utility": "true utility",
  "pair_accuracy_sum": "accuracy as a classifier of golden pairs",
  "own_pair_accuracy_sum": "accuracy as a classifier of own pairs",
  "chosen_log_ratio_nats": "log pi / pi_sft of chosen responses, nats",
  "rejected_log_ratio_nats": "log pi / pi_sft of rejected responses, nats",
  "response_length_tokens": "response length in tokens",
  "eos_rate": "responses that end by themselves",
  "distinct_2": "distinct 2-grams",
}
"""Metrics of records that have a picture, with the labels of their axes."""


def plot_metric(evidence: Evidence, metric: str) -> Picture:
  """Plots a metric of the records over steps, a line per configuration.

  Args:
    evidence: one task's evidence, with its records.
    metric: one of `METRICS`.
  """
  place = {
    run.name: (name, configuration.label)
    for name, arm in evidence.arms.items()
    for configuration in arm.configurations
    for run in configuration.runs
    if len(run.steps) > 1
  }
  rows: list[tuple[Cell, ...]] = []
  lines: dict[tuple[str, str], dict[int, list[float]]] = {}
  for record in evidence.records:
    measured, run = record.metrics.get(metric), record.run
    if measured is None or run.name not in place:
      continue
    arm, label = place[run.name]
    step = record.checkpoint.step
    lines.setdefault((arm, label), {}).setdefault(step, []).append(
      measured.value
    )
    numbers = (
      measured.value,
      measured.ci95_low,
      measured.ci95_high,
      measured.n,
    )
    rows.append((arm, label, run.name, run.seed, step, *numbers))
  if not lines:
    raise UndefinedError(f"no run has two records with {metric}")
  header = ("arm", "configuration", "run", "seed", "step", "value")
  return Picture(
    name=f"over_steps_{metric}",
    title=f"{METRICS[metric][0].upper()}{METRICS[metric][1:]} over training",
    caption="One line per configuration: the mean over its seeds.",
    header=(*header, "ci95_low", "ci95_high", "n"),
    rows=rows,
    plot=lambda ax: _plot(
      ax,
      [
        (
          arm,
          sorted(by_step),
          [float(np.mean(by_step[s])) for s in sorted(by_step)],
        )
        for (arm, _), by_step in lines.items()
      ],
      METRICS[metric],
    ),
  )


def plot_logged(curves: Iterable[summary.LoggedCurve], metric: str) -> Picture:
  """Plots a metric of the training logs over steps, a line per run.

  Args:
    curves: one task's logged curves.
    metric: the metric's name in the logs, such as "train/loss".
  """
  wanted = [curve for curve in curves if curve.metric == metric]
  if not wanted:
    raise UndefinedError(f"no run logged {metric}")
  return Picture(
    name="logged_" + re.sub(r"[^\w]+", "_", metric),
    title=f"{metric} while training",
    caption="One line per run, averaged over intervals of steps.",
    header=("arm", "run", "step", "value"),
    rows=[
      (curve.arm, curve.run, step, value)
      for curve in wanted
      for step, value in zip(curve.steps, curve.values, strict=True)
    ],
    plot=lambda ax: _plot(
      ax, [(c.arm, c.steps, c.values) for c in wanted], metric, marked=False
    ),
  )


def _plot(
  ax: axes.Axes,
  lines: Iterable[tuple[str, Iterable[int], Iterable[float]]],
  y_label: str,
  *,
  marked: bool = True,
) -> None:
  lines = list(lines)
  look = styles.styles_of(arm for arm, *_ in lines)
  for arm, style in look.items():
    own = [(x, y) for name, x, y in lines if name == arm]
    for number, (x, y) in enumerate(own):
      ax.plot(
        list(x),
        list(y),
        color=style.color,
        ls=style.line,
        lw=1.6 if len(own) == 1 else 1.0,
        alpha=1.0 if len(own) < 4 else 0.7,
        marker=style.marker if marked else "",
        ms=4,
        mfc="none",
        label="" if number else arm,
      )
  ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  ax.set_xlabel("training step")
  ax.set_ylabel(y_label)
