"""Figure 6: who can tell the better response of online pairs?

It needs no arm of its own: the stage "online_data" classifies the pairs that
every online run sampled, at several moments of that run.
"""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib import axes

from rlhf_gap.analysis import seed_means
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import SMALLEST_EFFECT, all_of, exceeds
from rlhf_gap.analysis.wording import pairs_basis, plain, signed
from rlhf_gap.paper.section import Section, without_kl_axis
from rlhf_gap.plotting import metric_over_steps, styles
from rlhf_gap.plotting.picture import Picture
from rlhf_gap.plotting.styles import BLUE, PURPLE, Style
from rlhf_gap.records import Measurement

_CLASSIFIERS = {
  "proxy": ("proxy preference model", Style(PURPLE, "D", "--")),
  "online": ("online, final", Style(BLUE, "o", "-")),
  "offline": ("offline, final", styles.method_style("offline")),
}
_METRIC_PREFIX = "accuracy/"

Accuracies = Mapping[int, Mapping[int, Measurement]]
"""A classifier's accuracy, by step of the online run and by seed."""


def accuracies_of(evidence: Evidence, classifier: str) -> Accuracies:
  """Returns how often a classifier is right on online runs' own pairs.

  Args:
    evidence: one task's evidence.
    classifier: "proxy", or the arm of a policy.
  """
  by_step: dict[int, dict[int, Measurement]] = {}
  for record in evidence.online_data:
    if record.run.arm != classifier:
      continue
    for metric, measured in record.metrics.items():
      step = int(metric.removeprefix(_METRIC_PREFIX))
      by_step.setdefault(step, {})[record.run.seed] = measured
  return by_step


def plot_figure_6(evidence: Evidence) -> Picture:
  """Plots the accuracy of every classifier over the online run."""
  accuracies = {name: accuracies_of(evidence, name) for name in _CLASSIFIERS}
  accuracies = {
    name: by_step for name, by_step in accuracies.items() if by_step
  }
  if not accuracies:
    raise UndefinedError("no classifier was asked about online data")

  def plot(ax: axes.Axes) -> None:
    for name, by_step in accuracies.items():
      _plot_classifier(ax, name, by_step)
    metric_over_steps.mark_level(ax, 0.5, "chance")
    ax.set_xlabel("step of the online run that sampled the pairs")
    ax.set_ylabel("agreement with golden labels")

  return Picture(
    name="fig_6",
    title="Figure 6: who can tell online responses apart",
    caption="Pairs of all seeds together, with 95% intervals over pairs.",
    header=metric_over_steps.HEADER,
    rows=[
      (name, "", "", step, *_pool_seeds(by_step[step]))
      for name, by_step in accuracies.items()
      for step in sorted(by_step)
    ],
    plot=plot,
    missing=tuple(_missing_pairs(accuracies)),
  )


def _plot_classifier(ax: axes.Axes, name: str, by_step: Accuracies) -> None:
  label, style = _CLASSIFIERS[name]
  steps = sorted(by_step)
  values = np.array([_pool_seeds(by_step[step])[:3] for step in steps])
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


def _missing_pairs(accuracies: Mapping[str, Accuracies]) -> list[str]:
  absent = [name for name in _CLASSIFIERS if name not in accuracies]
  lines = [f"{name} was not asked" for name in absent]
  steps = {step for by_step in accuracies.values() for step in by_step}
  seeds = {
    seed
    for by_step in accuracies.values()
    for by_seed in by_step.values()
    for seed in by_seed
  }
  for name, by_step in accuracies.items():
    for seed in sorted(seeds):
      lacks = [s for s in sorted(steps) if seed not in by_step.get(s, {})]
      if lacks:
        listed = ", ".join(map(str, lacks))
        lines.append(f"{name}, seed {seed}: no pairs of step {listed}")
  return lines


def _pool_seeds(
  by_seed: Mapping[int, Measurement],
) -> tuple[float, float, float, int]:
  """Returns the share, its 95% interval and the pairs of all seeds together.

  The interval is that of Agresti and Coull (1998), which adds two successes and
  two failures.
  """
  n = sum(measured.n for measured in by_seed.values())
  right = math.fsum(
    measured.value * measured.n for measured in by_seed.values()
  )
  middle = (right + 2) / (n + 4)
  half = 1.96 * math.sqrt(middle * (1 - middle) / (n + 4))
  value = right / n
  # The interval is centred nearer to one half than the share, which may
  # therefore lie outside of it.
  low, high = min(middle - half, value), max(middle + half, value)
  return value, max(low, 0.0), min(high, 1.0), n


def _mean_by_seed(
  evidence: Evidence, classifier: str
) -> tuple[dict[int, float], int]:
  """Returns the mean accuracy by seed, and the fewest pairs of a seed."""
  values: dict[int, list[float]] = {}
  counts: dict[int, int] = {}
  for by_seed in accuracies_of(evidence, classifier).values():
    for seed, measured in by_seed.items():
      values.setdefault(seed, []).append(measured.value)
      counts[seed] = counts.get(seed, 0) + measured.n
  if not values:
    raise UndefinedError(f"{classifier} was not asked about online data")
  means = {seed: sum(own) / len(own) for seed, own in values.items()}
  return means, min(counts.values())


def _is_best_classifier(
  evidence: Evidence, first: str, others: tuple[str, ...]
) -> Answer:
  best, n = _mean_by_seed(evidence, first)
  differences = {
    other: seed_means.difference(
      best,
      _mean_by_seed(evidence, other)[0],
      n,
      confidence=evidence.settings.confidence,
    )
    for other in others
  }
  levels = [f"{first} {plain(seed_means.mean(best, n))}"]
  levels += [f"minus {name} {signed(d)}" for name, d in differences.items()]
  verdict, reason = all_of(
    [exceeds(d, num_parts=len(differences)) for d in differences.values()]
  )
  numbers = (
    f"accuracy on online data: {', '.join(levels)}"
    f" ({pairs_basis(*differences.values())})"
  )
  return Answer(verdict, numbers, reason)


def _proxy_knows_online_data(evidence: Evidence) -> Answer:
  return _is_best_classifier(evidence, "proxy", ("online", "offline"))


def _offline_classifies_online_data(evidence: Evidence) -> Answer:
  return _is_best_classifier(evidence, "offline", ("online",))


FIGURE_6 = Section(
  title="Figure 6: who can tell online responses apart?",
  paper_shows=(
    "On pairs from ten moments of an online run, the paper's proxy agrees with"
    " golden labels most, its offline policy less, its online policy least."
  ),
  pictures=(without_kl_axis(plot_figure_6),),
  claims=(
    Claim(
      "the proxy knows online data best",
      "On pairs of the online run, the proxy agrees with golden labels more"
      " often than the final online and offline policies do as classifiers.",
      "Tang et al. (2024), Fig. 6",
      _proxy_knows_online_data,
      requires_any=("online_data",),
      quote=(
        "the proxy preference model has generally significantly higher"
        " accuracy than both policy baselines (section 5.3.1)"
      ),
      rule=(
        "Differences of mean accuracy over the windows of an online run,"
        " by seed. Supported if both Student intervals lie above 0,"
        f" contradicted if one at 97.5% lies below {SMALLEST_EFFECT:g}."
      ),
    ),
    Claim(
      "offline classifies online data better than online does",
      "On pairs of the online run, the final offline policy agrees with golden"
      " labels more often than the final online policy does.",
      "Tang et al. (2024), Fig. 6",
      _offline_classifies_online_data,
      requires_any=("online_data",),
      quote=(
        "despite being better at classification than online policy, the"
        " offline policy generates worse responses (section 1, on Fig. 6)"
      ),
      rule=(
        "The difference of mean accuracy over the windows, by seed."
        " Supported if its Student interval lies above 0, contradicted if"
        f" it lies below {SMALLEST_EFFECT:g}."
      ),
    ),
  ),
  requires_any=("online_data",),
)
