"""Figures 7 and 8: policies as classifiers of golden pairs.

They need the baseline runs of every method.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import axes

from rlhf_gap.analysis import (
  arm_names,
  arms,
  baselines,
  correlation,
  seed_means,
)
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  MIN_SEEDS,
  SMALLEST_EFFECT,
  Verdict,
  all_of,
  exceeds,
  few_seeds,
)
from rlhf_gap.analysis.wording import pairs_basis, plain, signed
from rlhf_gap.paper.section import Section, without_kl_axis
from rlhf_gap.plotting import metric_over_steps, styles
from rlhf_gap.plotting.picture import Picture

_ACCURACY = "pair_accuracy_sum"
_WINNERS_LOG_RATIO = "chosen_log_ratio_nats"
_STRONG_CORRELATION = 0.5
"""At a higher r, accuracy explains a quarter of the variance of win rate."""

Point = tuple[str, str, int, float, float]
"""Arm, run, step, accuracy and win rate of a checkpoint."""


def _baseline_checkpoints(evidence: Evidence) -> list[Point]:
  points: list[Point] = []
  for method in arm_names.METHODS:
    try:
      names = {run.name for run in baselines.arm(evidence, method).runs}
    except UndefinedError:
      continue
    for record in evidence.records:
      accuracy = record.metrics.get(_ACCURACY)
      if record.run.name in names and accuracy is not None:
        win_rate = float(np.mean(record.by_prompt[arms.WIN]))
        step = record.checkpoint.step
        points.append((method, record.run.name, step, accuracy.value, win_rate))
  return points


def _correlation(
  points: Sequence[Point], confidence: float = 0.95
) -> correlation.Correlation:
  return correlation.pearson(
    np.array([accuracy for *_, accuracy, _ in points], np.float64),
    np.array([win_rate for *_, win_rate in points], np.float64),
    [run for _, run, *_ in points],
    confidence=confidence,
  )


def plot_figure_7(evidence: Evidence) -> Picture:
  """Plots win rate over accuracy, one point per checkpoint."""
  points = _baseline_checkpoints(evidence)
  if not points:
    raise UndefinedError("no checkpoint's accuracy on golden pairs is known")
  plotted = {method for method, *_ in points}
  return Picture(
    name="fig_7",
    title="Figure 7: classifying and generating",
    caption=(
      "Checkpoints trained with the online runs' hyper-parameters."
      f" {_describe_correlation(points)}"
    ),
    header=("arm", "run", "step", "accuracy", "win_rate"),
    rows=points,
    plot=lambda ax: _plot_points(ax, points),
    missing=tuple(
      f"{arm_names.title(method)}: no such checkpoints"
      for method in arm_names.METHODS
      if method not in plotted
    ),
  )


def _describe_correlation(points: Sequence[Point]) -> str:
  try:
    r = _correlation(points)
  except UndefinedError as error:
    return f"No correlation: {error}."
  return (
    f"Pearson's r {r.value:.2f} [{r.ci95_low:.2f}, {r.ci95_high:.2f}],"
    f" {r.num_points} checkpoints of {r.num_groups} runs."
  )


def _plot_points(ax: axes.Axes, points: Sequence[Point]) -> None:
  for method in arm_names.METHODS:
    own = [(x, y) for name, _, _, x, y in points if name == method]
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


def plot_accuracy(evidence: Evidence) -> Picture:
  """Plots accuracy on golden pairs over training (Fig. 8, top)."""
  return metric_over_steps.plot(
    evidence,
    _ACCURACY,
    name="fig_8_top",
    title="Figure 8, top: accuracy on golden pairs",
    caption="Runs with the online runs' hyper-parameters.",
    y_label="accuracy on golden pairs",
    level=0.5,
  )


def plot_winners_likelihood(evidence: Evidence) -> Picture:
  """Plots the likelihood of golden pairs' winners (Fig. 8, bottom)."""
  return metric_over_steps.plot(
    evidence,
    _WINNERS_LOG_RATIO,
    name="fig_8_bottom",
    title="Figure 8, bottom: likelihood of winners",
    caption=(
      "Mean log pi / pi_sft of golden pairs' winners, summed over tokens."
    ),
    y_label="log pi / pi_sft of winners, nats",
    level=0.0,
  )


def _accuracy_does_not_predict_win_rate(evidence: Evidence) -> Answer:
  """Decides from offline checkpoints alone, as the paper does.

  Pooled over methods, the correlation mixes what a method does with how it
  samples; the paper calls the conclusion drawn from it incorrect.
  """
  runs = baselines.arm(evidence, "offline").runs
  points = _baseline_checkpoints(evidence)
  r = _correlation(
    [point for point in points if point[0] == "offline"],
    evidence.settings.confidence,
  )
  seeds = {run.seed for run in runs}
  numbers = (
    f"offline checkpoints: Pearson's r {r.value:+.2f} [{r.ci95_low:+.2f},"
    f" {r.ci95_high:+.2f}] ({r.num_points} checkpoints of {r.num_groups} runs,"
    f" taken as independent, {len(seeds)} seeds; on golden pairs)"
  )
  if len(seeds) < MIN_SEEDS:
    return Answer(Verdict.UNDERPOWERED, numbers, few_seeds(len(seeds)))
  strong = _STRONG_CORRELATION
  if -strong < r.ci95_low and r.ci95_high < strong:
    return Answer(Verdict.SUPPORTED, numbers)
  if r.ci95_low > strong or r.ci95_high < -strong:
    return Answer(Verdict.CONTRADICTED, numbers)
  reason = f"the interval reaches beyond {strong:g} in absolute value"
  return Answer(Verdict.UNDERPOWERED, numbers, reason)


def _at_the_end(
  evidence: Evidence, metric: str, names: Sequence[str]
) -> tuple[dict[str, dict[int, float]], int]:
  """Returns a metric of the last checkpoints by arm and seed, and pairs."""
  values: dict[str, dict[int, float]] = {}
  counts: list[int] = []
  for name in names:
    arm = baselines.arm(evidence, name)
    last = baselines.last_metric(evidence, arm, metric)
    values[name] = {seed: measured.value for seed, measured in last.items()}
    counts += [measured.n for measured in last.values()]
  return values, min(counts)


def _offline_is_the_better_classifier(evidence: Evidence) -> Answer:
  values, n = _at_the_end(evidence, _ACCURACY, ("offline", "online"))
  difference = seed_means.difference(
    values["offline"],
    values["online"],
    n,
    confidence=evidence.settings.confidence,
  )
  levels = ", ".join(
    f"{name} {plain(seed_means.mean(own, n))}" for name, own in values.items()
  )
  verdict, reason = exceeds(difference)
  return Answer(
    verdict,
    f"accuracy on golden pairs at the end: {levels}, difference"
    f" {signed(difference)} ({pairs_basis(difference)})",
    reason,
  )


def _offline_lowers_winners_most(evidence: Evidence) -> Answer:
  values, n = _at_the_end(evidence, _WINNERS_LOG_RATIO, arm_names.METHODS)
  levels = [
    f"{arm_names.title(name)} {signed(seed_means.mean(own, n), 2)}"
    for name, own in values.items()
  ]
  differences = {
    name: seed_means.difference(
      values[name],
      values["offline"],
      n,
      confidence=evidence.settings.confidence,
    )
    for name in ("online", "tandem")
  }
  verdict, reason = all_of(
    [
      exceeds(d, at_least=0.0, num_parts=len(differences))
      for d in differences.values()
    ]
  )
  levels += [
    f"{arm_names.title(name)} minus offline {signed(d, 2)}"
    for name, d in differences.items()
  ]
  middle = len(values)
  return Answer(
    verdict,
    f"log pi / pi_sft of golden pairs' winners at the end, nats:"
    f" {', '.join(levels[:middle])}; {', '.join(levels[middle:])}"
    f" ({pairs_basis(*differences.values())})",
    reason,
  )


def _offline_lowers_even_winners(evidence: Evidence) -> Answer:
  values, n = _at_the_end(evidence, _WINNERS_LOG_RATIO, ("offline",))
  lost = seed_means.mean(
    {seed: -value for seed, value in values["offline"].items()},
    n,
    confidence=evidence.settings.confidence,
  )
  verdict, reason = exceeds(lost, at_least=0.0)
  return Answer(
    verdict,
    "log pi_sft / pi of golden pairs' winners at the end, offline:"
    f" {signed(lost, 2)} nats ({pairs_basis(lost)})",
    reason,
  )


FIGURE_7 = Section(
  title="Figure 7: does a better classifier generate better?",
  paper_shows=(
    "Among the paper's offline policies, accuracy on golden pairs has little to"
    " do with win rate (hypothesis 3). Over all methods together the"
    " correlation is negative, from which, the paper warns, nothing follows:"
    " online alignment does not aim at accuracy."
  ),
  pictures=(without_kl_axis(plot_figure_7),),
  claims=(
    Claim(
      "accuracy says little of offline policies' win rates",
      "Over offline checkpoints, accuracy on golden pairs and win rate are"
      " correlated by less than 0.5 in absolute value (hypothesis 3: the"
      " offline policies classify too poorly).",
      "Tang et al. (2024), Fig. 7, section 5.3.2",
      _accuracy_does_not_predict_win_rate,
      requires_any=("offline",),
      judged=True,
      quote=(
        "focusing just on the offline experiments, we find little"
        " statistical correlation between the classification accuracy and"
        " model performance (section 5.3.2)"
      ),
      rule=(
        "Pearson's r over the checkpoints of offline runs, jackknifed by"
        " run. Supported if its interval lies within"
        f" {_STRONG_CORRELATION:g} of 0, contradicted if it lies outside."
      ),
    ),
  ),
  requires_any=("online", "offline"),
)

FIGURE_8 = Section(
  title="Figure 8: what training does to golden pairs",
  paper_shows=(
    "Over training, the paper's offline policies become the better classifiers,"
    " and make even the winners of golden pairs less likely, more than any"
    " other arm."
  ),
  pictures=(
    without_kl_axis(plot_accuracy),
    without_kl_axis(plot_winners_likelihood),
  ),
  claims=(
    Claim(
      "offline makes the better classifier",
      "At the end of training, offline policies identify the better response of"
      " golden pairs more often than online policies do.",
      "Tang et al. (2024), Fig. 8, top",
      _offline_is_the_better_classifier,
      requires_any=("online", "offline"),
      quote=(
        "offline policies [...] generally have higher prediction accuracy"
        " (compared to e.g., online policies) (section 5.3.2)"
      ),
      rule=(
        "The difference of accuracy on golden pairs at the last step, by"
        " seed. Supported if its Student interval lies above 0,"
        f" contradicted if it lies below {SMALLEST_EFFECT:g}."
      ),
    ),
    Claim(
      "offline lowers the winners' likelihood most",
      "At the end of training, winners of golden pairs are less likely under"
      " offline policies than under online ones and those on shuffled online"
      " data.",
      "Tang et al. (2024), Fig. 8, bottom",
      _offline_lowers_winners_most,
      requires_any=("tandem", "offline"),
      quote=(
        "the decay in log probs is the most drastic for the offline"
        " algorithms (section 5.3.3)"
      ),
      rule=(
        "Differences of log pi / pi_sft of golden winners at the last step,"
        " by seed. Supported if both Student intervals lie above 0,"
        " contradicted if one at 97.5% lies below 0."
      ),
    ),
    Claim(
      "offline lowers even the winners' likelihood",
      "At the end of training, winners of golden pairs are less likely under"
      " offline policies than under SFT.",
      "Tang et al. (2024), Fig. 8, bottom",
      _offline_lowers_even_winners,
      requires_any=("tandem", "offline"),
      quote=(
        "across all experiments, the likelihood of the winning responses"
        " [...] decrease over time (section 5.3.3)"
      ),
      rule=(
        "log pi_sft / pi of golden winners at the last step of the offline"
        " baseline, by seed. Supported if its Student interval lies above 0,"
        " contradicted if it lies below."
      ),
    ),
  ),
  requires_any=("online", "offline"),
)
