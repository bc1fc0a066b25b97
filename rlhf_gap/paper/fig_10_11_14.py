"""Figures 10, 11 and 14: does a larger policy close the gap?"""

import functools
import math
from collections.abc import Mapping

from matplotlib import axes

from rlhf_gap.analysis import (
  arm_names,
  comparison,
  gap_change,
  quantiles,
  sizes,
  statistics,
)
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.analysis.verdicts import (
  SMALLEST_EFFECT,
  Verdict,
  all_of,
  exceeds,
  within,
)
from rlhf_gap.analysis.wording import basis, signed
from rlhf_gap.paper import rules
from rlhf_gap.paper.section import PlotPicture, Section, without_kl_axis
from rlhf_gap.plotting import styles, win_rate_over_kl
from rlhf_gap.plotting.picture import Cell, Picture
from rlhf_gap.plotting.win_rate_over_kl import PlottedArm

QUANTILE = 0.9
"""Of win rate over checkpoints and hyper-parameters, as in the paper."""

_SIMILAR_FACTOR = 2.0
"""KLs within this factor of each other are similar."""

BySize = Mapping[str, Estimate]


def plot_method_by_size(
  method: str, evidence: Evidence, log_base: float
) -> Picture:
  """Plots one method at every size (Fig. 10).

  Args:
    method: one of `arm_names.METHODS`. The paper plots all of them at two
      sizes in one picture.
    evidence: one task's evidence.
    log_base: base of the KL axis's logarithm.
  """
  plotted = []
  for number, size in enumerate(sizes.sizes_of(evidence), 1):
    name = sizes.at_size(method, size)
    style = styles.method_style(name, number)
    plotted.append(PlottedArm(name, sizes.size_title(evidence, size), style))
  return win_rate_over_kl.plot(
    evidence,
    plotted,
    name=f"fig_10_{method}",
    title=f"Figure 10: {arm_names.title(method)} by policy size",
    caption="The judges and the golden policy are the same for all sizes.",
    log_base=log_base,
    level_arm="",  # each size starts from its own SFT policy
  )


def plot_relative_performance(evidence: Evidence) -> Picture:
  """Plots performance relative to online at the same size (Fig. 11)."""
  return _plot_performance(
    evidence,
    relative=True,
    name="fig_11",
    title="Figure 11: relative to online, by policy size",
    y_label="best win rate relative to online",
  )


def plot_absolute_performance(evidence: Evidence) -> Picture:
  """Plots performance as win rates (Fig. 14)."""
  return _plot_performance(
    evidence,
    relative=False,
    name="fig_14",
    title="Figure 14: best win rate, by policy size",
    y_label="best win rate",
  )


def _plot_performance(
  evidence: Evidence, *, relative: bool, name: str, title: str, y_label: str
) -> Picture:
  performance, missing = _measure(evidence, relative=relative)
  positions = _positions(evidence)
  rows: list[tuple[Cell, ...]] = [
    (
      *(method, size or "own", positions[size]),
      *(best.value, best.ci95_low, best.ci95_high),
      *(best.num_prompts, best.num_seeds),
    )
    for method, by_size in performance.items()
    for size, best in by_size.items()
  ]

  def plot(ax: axes.Axes) -> None:
    for method, by_size in performance.items():
      _plot_method(ax, method, by_size, positions)
    ax.set_xlabel("log2 of parameters, relative to the smallest policy")
    ax.set_ylabel(y_label)

  return Picture(
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
    plot=plot,
    missing=tuple(dict.fromkeys(missing)),
  )


def _plot_method(
  ax: axes.Axes, method: str, by_size: BySize, positions: Mapping[str, float]
) -> None:
  style = styles.method_style(method)
  estimates = by_size.values()
  ax.errorbar(
    [positions[size] for size in by_size],
    [best.value for best in estimates],
    (
      [max(best.value - best.ci95_low, 0.0) for best in estimates],
      [max(best.ci95_high - best.value, 0.0) for best in estimates],
    ),
    color=style.color,
    marker=style.marker,
    linestyle=style.line,
    capsize=3,
    label=arm_names.title(method),
  )


def _measure(
  evidence: Evidence, *, relative: bool
) -> tuple[dict[str, dict[str, Estimate]], list[str]]:
  """Returns performance by method and size, and what is missing."""
  performance: dict[str, dict[str, Estimate]] = {}
  missing: list[str] = []
  for size in sizes.sizes_of(evidence):
    for method in arm_names.METHODS:
      try:
        arm = sizes.tuned_alike(evidence, method, size)
        if relative:
          online = sizes.tuned_alike(evidence, "online", size)
          best = quantiles.quantile_ratio(
            arm, online, QUANTILE, evidence.settings
          )
        else:
          best = quantiles.quantile(arm, QUANTILE, evidence.settings)
      except UndefinedError as error:
        missing.append(str(error))
      else:
        performance.setdefault(method, {})[size] = best
        missing += win_rate_over_kl.missing_records(arm, evidence)
  if not performance:
    raise UndefinedError("; ".join(missing))
  return performance, missing


def _positions(evidence: Evidence) -> dict[str, float]:
  """Returns log2 of parameters relative to the smallest policy, by size."""
  sizes.check_known(evidence)
  smallest = min(evidence.sizes.values())
  return {
    size: math.log2(count / smallest) for size, count in evidence.sizes.items()
  }


def _several_sizes(evidence: Evidence) -> list[str]:
  names = sizes.sizes_of(evidence)
  if len(names) < 2:
    raise UndefinedError("policies of one size alone were trained")
  return names


def _gap_stays_at_every_size(evidence: Evidence) -> Answer:
  compared = {
    size: comparison.compare(
      evidence,
      evidence.arm(sizes.at_size("online", size)),
      evidence.arm(sizes.at_size("offline", size)),
    )
    for size in _several_sizes(evidence)
  }
  verdict, reason = all_of(
    [each.exceeds(num_parts=len(compared)) for each in compared.values()]
  )
  numbers = (
    f"{sizes.size_title(evidence, size)}: {each.numbers}"
    for size, each in compared.items()
  )
  return Answer(verdict, "; ".join(numbers), reason)


def _scale_narrows_shuffled_data_s_gap(evidence: Evidence) -> Answer:
  smallest, *_, largest = _several_sizes(evidence)
  sizes.check_known(evidence)

  def pair(size: str) -> gap_change.Pair:
    online, tandem = (
      evidence.arm(sizes.at_size(method, size))
      for method in ("online", "tandem")
    )
    return online, tandem

  narrowed = gap_change.narrowing(
    pair(smallest), pair(largest), evidence.settings
  )
  verdict, reason = exceeds(narrowed)
  return Answer(
    verdict,
    f"online minus shuffled online data, {sizes.size_title(evidence, smallest)}"
    f" minus {sizes.size_title(evidence, largest)}: {signed(narrowed)}"
    f" ({basis(narrowed)})",
    reason,
  )


def _larger_policies_win_more(evidence: Evidence) -> Answer:
  smallest, *_, largest = _several_sizes(evidence)
  sizes.check_known(evidence)
  rises = {
    name: quantiles.quantile_difference(
      sizes.tuned_alike(evidence, name, largest),
      sizes.tuned_alike(evidence, name, smallest),
      QUANTILE,
      evidence.settings,
    )
    for name in arm_names.METHODS
  }
  verdict, reason = all_of(
    [exceeds(rise, num_parts=len(rises)) for rise in rises.values()]
  )
  levels = ", ".join(
    f"{arm_names.title(name)} {signed(rise)}" for name, rise in rises.items()
  )
  return Answer(
    verdict,
    f"90% quantile of win rate, {sizes.size_title(evidence, largest)} minus"
    f" {sizes.size_title(evidence, smallest)}: {levels}"
    f" ({basis(*rises.values())})",
    reason,
  )


def _peaks_are_similar(evidence: Evidence) -> Answer:
  others = [size for size in _several_sizes(evidence) if size]
  own = evidence.arm("online")
  by_size = {
    size: evidence.arm(sizes.at_size("online", size)) for size in others
  }
  log_ratios = {
    size: statistics.log_peak_ratio(arm, own, evidence.settings)
    for size, arm in by_size.items()
  }
  ratios = []
  for size, log_ratio in log_ratios.items():
    ends = log_ratio.value, log_ratio.ci95_low, log_ratio.ci95_high
    value, low, high = (math.exp(min(end, 99.0)) for end in ends)
    ratios.append(f"{size} {value:.2g} [{low:.2g}, {high:.2g}]")
  numbers = (
    "KL at online's peak, relative to this study's own size:"
    f" {'; '.join(ratios)} ({basis(*log_ratios.values())})"
  )
  if any(
    statistics.peak(arm, evidence.settings).at_the_end
    for arm in (own, *by_size.values())
  ):
    return Answer(
      Verdict.UNDERPOWERED,
      numbers,
      "an arm is highest at its last point: its peak was not reached",
    )
  reach = math.log(_SIMILAR_FACTOR)
  verdict, reason = all_of(
    [
      within(log_ratio, -reach, reach, num_parts=len(log_ratios))
      for log_ratio in log_ratios.values()
    ]
  )
  return Answer(verdict, numbers, reason)


def _by_size(method: str) -> PlotPicture:
  return functools.partial(plot_method_by_size, method)


FIGURES_10_11_AND_14 = Section(
  title="Figures 10, 11 and 14: does a larger policy close the gap?",
  paper_shows=(
    "From Large to XL and XXL, all of the paper's arms win more often, online"
    " stays above offline, and the peaks' KL hardly moves (hypothesis 5)."
  ),
  pictures=(
    *map(_by_size, arm_names.METHODS),
    without_kl_axis(plot_relative_performance),
    without_kl_axis(plot_absolute_performance),
  ),
  claims=(
    Claim(
      "the gap stays at every size",
      "At every size of the policy, online alignment wins more often than"
      " offline alignment at the same KL (hypothesis 5: scaling the policy is"
      " enough).",
      "Tang et al. (2024), Figs. 10, 11 and 14",
      _gap_stays_at_every_size,
      requires_any=("*@*",),
      judged=True,
      quote=(
        "The persistence of the performance discrepancy implies that the"
        " sampling issue is likely not to be addressed by simply scaling up"
        " models (section 1)"
      ),
      rule=rules.AHEAD_OF_ALL,
    ),
    Claim(
      "scale narrows the gap to shuffled online data",
      "Shuffled online data stay less far behind online alignment at the same"
      " KL with the largest policy than with the smallest.",
      "Tang et al. (2024), Fig. 11, section 5.5",
      _scale_narrows_shuffled_data_s_gap,
      requires_any=("*@*",),
      quote=(
        "scaling policy networks by 16x [...] helps significantly bridge the"
        " gap between online and offline with online generated dataset (section"
        " 5.5)"
      ),
      rule=(
        "The gap of the two arms at matched KL, smallest minus largest"
        " policy. Supported if its interval lies above 0, contradicted if"
        f" it lies below {SMALLEST_EFFECT:g}."
      ),
      judged=True,
    ),
    Claim(
      "larger policies win more often",
      "From the smallest to the largest policy, the 90% quantile of win rate"
      " rises in all arms.",
      "Tang et al. (2024), Figs. 10 and 14",
      _larger_policies_win_more,
      requires_any=("*@*",),
      judged=True,
      quote=(
        "The peak performance seems to improve as the policy size increases"
        " (section 5.5)"
      ),
      rule=(
        "Differences of the 90% quantile of win rate over checkpoints,"
        " largest minus smallest policy, in each arm. Supported if every"
        " interval lies above 0, contradicted if one at 1 - 5% / arms lies"
        f" below {SMALLEST_EFFECT:g}."
      ),
    ),
    Claim(
      "peaks lie at a similar KL for all sizes",
      "Online's win rate is highest at KLs that differ by less than a factor of"
      " 2 between sizes of the policy.",
      "Tang et al. (2024), section 5.5 and Fig. 10",
      _peaks_are_similar,
      requires_any=("*@*",),
      judged=True,
      quote=(
        "the peak performance is obtained at a similar KL divergence"
        " (section 5.5)"
      ),
      rule=(
        "The ratio of the KLs at online's peak, on a log scale. Supported"
        f" if every interval lies within a factor of {_SIMILAR_FACTOR:g},"
        " contradicted if one at 1 - 5% / sizes lies outside, underpowered"
        " if a peak is an arm's last point."
      ),
    ),
  ),
  requires_any=("*@*",),
  own_arms=("*@*",),
)
