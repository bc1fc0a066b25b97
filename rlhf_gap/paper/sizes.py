"""Best performance by size of the policy: Figures 11 and 14."""

import math

from matplotlib import axes

from rlhf_gap.analysis import arm_names, arms, baselines, quantiles
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.paper import tradeoffs
from rlhf_gap.plotting import styles
from rlhf_gap.plotting.drawing import Cell, Figure

METHODS = ("online", "tandem", "offline")
_TUNED = ("objective", "optimizer")
QUANTILE = 0.9
"""Of win rate over checkpoints and hyper-parameters (Tang et al. 2024)."""


def tuned_alike(evidence: Evidence, method: str, size: str) -> arms.Arm:
  """Returns an arm at the settings that it was trained at in every size.

  The study's own size has a whole sweep; of two sweeps the one with poorer
  settings has the lower quantile, whatever the policies are worth.

  Args:
    evidence: of one task, with its records.
    method: one of `METHODS`.
    size: of the policy; "" is the study's own.

  Returns:
    The arm; of the study's own size the configurations whose loss, optimizer
    and length further sizes have, too.

  Raises:
    UndefinedError: there is no such arm, or nothing is left of it.
  """
  found = evidence.arm(tradeoffs.at_size(method, size))
  names = [tradeoffs.at_size(method, s) for s in tradeoffs.sizes_of(evidence)]
  others = [
    evidence.arms[name]
    for name in names
    if name != method and name in evidence.arms
  ]
  if size or not others:
    return found
  known = {
    record.run.name: baselines.settings_of(record, _TUNED)
    for record in evidence.records
  }
  shared = {known[run.name] for other in others for run in other.runs}
  longest = max(int(run.steps[-1]) for other in others for run in other.runs)
  kept = tuple(
    configuration
    for configuration in found.configurations
    if all(
      known[run.name] in shared and int(run.steps[-1]) <= longest
      for run in configuration.runs
    )
  )
  if not kept:
    raise UndefinedError(f"no run of {method} is tuned as other sizes' are")
  return arms.Arm(found.name, kept)


def _found(
  evidence: Evidence, *, relative: bool
) -> tuple[dict[str, dict[str, Estimate]], list[str]]:
  """By method and size; and what is missing."""
  found: dict[str, dict[str, Estimate]] = {}
  missing = []
  for size in tradeoffs.sizes_of(evidence):
    for method in METHODS:
      try:
        arm = tuned_alike(evidence, method, size)
        if relative:
          best = tuned_alike(evidence, "online", size)
          estimate = quantiles.quantile_ratio(
            arm, best, QUANTILE, evidence.settings
          )
        else:
          estimate = quantiles.quantile(arm, QUANTILE, evidence.settings)
      except UndefinedError as error:
        missing.append(str(error))
      else:
        found.setdefault(method, {})[size] = estimate
        missing += tradeoffs.lacking(arm, evidence)
  if not found:
    raise UndefinedError("; ".join(missing))
  return found, missing


def check_known(evidence: Evidence) -> None:
  """Raises `UndefinedError` where some size's parameters were not counted."""
  unknown = [
    size or "own"
    for size in tradeoffs.sizes_of(evidence)
    if size not in evidence.sizes
  ]
  if unknown:
    raise UndefinedError(
      f"how many parameters the sizes have is not known ({', '.join(unknown)})"
    )


def _places(evidence: Evidence) -> dict[str, float]:
  """log2 of parameters relative to the smallest, by size."""
  check_known(evidence)
  counts = evidence.sizes
  least = min(counts.values())
  return {size: math.log2(count / least) for size, count in counts.items()}


def _figure(
  evidence: Evidence, *, relative: bool, name: str, title: str, y_label: str
) -> Figure:
  found, missing = _found(evidence, relative=relative)
  places = _places(evidence)
  rows: list[tuple[Cell, ...]] = [
    (
      *(method, size or "own", places[size]),
      *(one.value, one.ci95_low, one.ci95_high),
      *(one.num_prompts, one.num_seeds),
    )
    for method, by_size in found.items()
    for size, one in by_size.items()
  ]

  def draw(ax: axes.Axes) -> None:
    for method, by_size in found.items():
      style = styles.method_style(method)
      x = [places[size] for size in by_size]
      y = [one.value for one in by_size.values()]
      below = [max(o.value - o.ci95_low, 0.0) for o in by_size.values()]
      above = [max(o.ci95_high - o.value, 0.0) for o in by_size.values()]
      ax.errorbar(
        x,
        y,
        (below, above),
        color=style.color,
        marker=style.marker,
        linestyle=style.line,
        capsize=3,
        label=arm_names.title(method),
      )
    ax.set_xlabel("log2 of parameters, relative to the smallest policy")
    ax.set_ylabel(y_label)

  return Figure(
    name=name,
    title=title,
    caption=(
      "90% quantile of win rate over all checkpoints and the hyper-parameters"
      " that all sizes were trained with, with 95% intervals."
    ),
    header=(
      *("arm", "size", "log2_relative_parameters", "value"),
      *("ci95_low", "ci95_high", "prompts", "seeds"),
    ),
    rows=rows,
    draw=draw,
    missing=tuple(dict.fromkeys(missing)),
  )


def relative_performance(evidence: Evidence) -> Figure:
  """Fig. 11: relative to online at the same size."""
  return _figure(
    evidence,
    relative=True,
    name="fig_11",
    title="Figure 11: relative to online, by policy size",
    y_label="best win rate relative to online",
  )


def absolute_performance(evidence: Evidence) -> Figure:
  """Fig. 14: as win rates."""
  return _figure(
    evidence,
    relative=False,
    name="fig_14",
    title="Figure 14: best win rate, by policy size",
    y_label="best win rate",
  )
