"""Figures 1 and 4: online, offline, and offline on shuffled online data."""

import dataclasses

from rlhf_gap.analysis import arm_names, arms, comparison, statistics
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.verdicts import (
  MIN_SEEDS,
  SMALLEST_EFFECT,
  Verdict,
  exceeds,
  few_seeds,
)
from rlhf_gap.analysis.wording import count_seeds
from rlhf_gap.paper import closing_the_gap, over_optimization, rules
from rlhf_gap.paper.section import Section
from rlhf_gap.plotting import styles, win_rate_over_kl
from rlhf_gap.plotting.picture import Picture
from rlhf_gap.plotting.win_rate_over_kl import PlottedArm, in_method_color


def _plot_figure_1(evidence: Evidence, log_base: float) -> Picture:
  return win_rate_over_kl.plot(
    evidence,
    [in_method_color("online"), in_method_color("offline")],
    name="fig_1",
    title="Figure 1: online and offline",
    caption=(
      "Each point is a checkpoint; each curve is the arm's best at that KL."
    ),
    log_base=log_base,
  )


def _plot_figure_4(evidence: Evidence, log_base: float) -> Picture:
  return win_rate_over_kl.plot(
    evidence,
    [in_method_color(name) for name in arm_names.METHODS],
    name="fig_4",
    title="Figure 4: the same pairs, shuffled",
    caption="Offline runs on the pairs that the online runs sampled, shuffled.",
    log_base=log_base,
  )


def full_grid(evidence: Evidence) -> arms.Arm:
  """Returns the offline arm with every combination of hyper-parameters.

  Args:
    evidence: one task's evidence.

  Raises:
    UndefinedError: only the sweep was run.
  """
  rest = evidence.arm(arm_names.FULL_GRID)
  sweep = evidence.arm("offline").configurations
  return arms.Arm(arm_names.FULL_GRID, (*sweep, *rest.configurations))


def _plot_full_grid(evidence: Evidence, log_base: float) -> Picture:
  name = arm_names.FULL_GRID
  combined = {**evidence.arms, name: full_grid(evidence)}
  style = styles.extra_style(1)
  return win_rate_over_kl.plot(
    dataclasses.replace(evidence, arms=combined),
    [
      in_method_color("online"),
      in_method_color("offline"),
      PlottedArm(name, arm_names.title(name), style),
    ],
    name="fig_1_grid",
    title="Figure 1 with the full grid",
    caption=(
      "The offline sweep that changes one setting at a time, and all"
      " combinations of its settings."
    ),
    log_base=log_base,
  )


def _online_beats(evidence: Evidence, other: str) -> Answer:
  compared = comparison.compare(
    evidence, evidence.arm("online"), evidence.arm(other)
  )
  verdict, reason = compared.exceeds()
  return Answer(verdict, f"win rate of {compared.numbers}", reason)


def _online_peaks_higher(evidence: Evidence) -> Answer:
  compared = comparison.compare(
    evidence, evidence.arm("online"), evidence.arm("offline")
  )
  verdict, reason = exceeds(compared.gap.at_peak)
  return Answer(verdict, f"win rate of {compared.numbers}", reason)


def _online_is_nowhere_behind(evidence: Evidence) -> Answer:
  worst = statistics.worst_point(
    evidence.arm("online"), evidence.arm("offline"), evidence.settings
  )
  numbers = (
    f"online minus offline is lowest at KL {worst.kl_nats:.2g} nats,"
    f" {worst.difference:+.3f}; lowest 95% bounds over all KLs:"
    f" {worst.lowest_bound:+.3f} pointwise, {worst.highest_bound:+.3f} upper"
    f" simultaneous ({worst.num_prompts:,} prompts,"
    f" {count_seeds(worst.num_seeds)})"
  )
  if worst.num_seeds < MIN_SEEDS:
    return Answer(Verdict.UNDERPOWERED, numbers, few_seeds(worst.num_seeds))
  if worst.lowest_bound > -SMALLEST_EFFECT:
    return Answer(Verdict.SUPPORTED, numbers)
  if worst.highest_bound < -SMALLEST_EFFECT:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(
    Verdict.UNDERPOWERED,
    numbers,
    f"at some KL a deficit of {SMALLEST_EFFECT:g} is neither excluded nor sure",
  )


def _online_beats_full_grid(evidence: Evidence) -> Answer:
  compared = comparison.compare(
    evidence, evidence.arm("online"), full_grid(evidence)
  )
  verdict, reason = compared.exceeds()
  return Answer(verdict, compared.numbers, reason)


ONLINE_BEATS_OFFLINE = Claim(
  "online beats offline",
  "At the same KL, online alignment wins more often than offline alignment"
  " over its whole sweep.",
  "Tang et al. (2024), Fig. 1, section 2.1",
  lambda evidence: _online_beats(evidence, "offline"),
  judged=True,
  quote=(
    "with the same budget on the KL divergence, online algorithms obtain"
    " generally better performance than offline algorithms (section 2.1)"
  ),
  rule=rules.AHEAD,
)

FIGURES_1_AND_4 = Section(
  title="Figures 1 and 4: online, offline, and offline on shuffled online data",
  paper_shows=(
    "In all four tasks of the paper, online's cloud of checkpoints lies above"
    " offline's at the same KL. Offline runs on the online runs' own pairs,"
    " shuffled, stay below online (hypothesis 1, coverage, is not enough)."
  ),
  pictures=(_plot_figure_1, _plot_figure_4),
  claims=(
    ONLINE_BEATS_OFFLINE,
    Claim(
      "online peaks higher",
      "The highest win rate of online alignment exceeds that of offline"
      " alignment, each at its own KL.",
      "Tang et al. (2024), Fig. 1, section 2.1",
      _online_peaks_higher,
      judged=True,
      quote=(
        "online algorithms' peak performance is higher than that of the"
        " offline algorithms across all tasks (section 2.1)"
      ),
      rule=(
        "The difference of the arms' highest win rates, each at its own"
        " KL, cross-fitted. Supported if its interval lies above 0,"
        f" contradicted if it lies below {SMALLEST_EFFECT:g}."
      ),
    ),
    Claim(
      "online is nowhere behind",
      "At no KL that both reach does online alignment win less often than"
      " offline alignment by what would matter (a Pareto improvement).",
      "Tang et al. (2024), section 1, on Fig. 1",
      _online_is_nowhere_behind,
      judged=True,
      quote=(
        "online algorithms are a pareto improvement over offline algorithms"
        " (section 1)"
      ),
      rule=(
        "The difference of the frontiers at every KL that both reach."
        " Supported if every pointwise interval lies above"
        f" -{SMALLEST_EFFECT:g}, contradicted if a simultaneous band lies"
        f" below -{SMALLEST_EFFECT:g} anywhere."
      ),
    ),
    Claim(
      "shuffled online data do not close the gap",
      "Offline alignment on the shuffled pairs of an online run closes less"
      " than half of the gap at the same KL. Asked only if there is a gap.",
      "Tang et al. (2024), Fig. 4, section 5.1",
      closing_the_gap.shuffled_data_at_matched_kl,
      judged=True,
      quote=(
        "offline algorithms, even when augmented with the same data"
        " coverage as the online algorithm [...] cannot obtain the same"
        " level of performance (section 5.1; a probable exception: Chat"
        " arena)"
      ),
      rule=rules.CLOSED_SHARE,
    ),
    Claim(
      "shuffled online data do not close the gap at the peak",
      "Offline alignment on the shuffled pairs of an online run closes less"
      " than half of the gap between the highest win rates. Asked only if there"
      " is a gap.",
      "Tang et al. (2024), Fig. 4, section 5.1",
      closing_the_gap.shuffled_data_at_the_peaks,
      judged=True,
      quote=(
        "overall, there is little improvement on the offline performance"
        " due to the change [...] to the shuffled online dataset (section"
        " 5.1)"
      ),
      rule=rules.CLOSED_SHARE,
    ),
    *over_optimization.CLAIMS,
  ),
  # A study of these arms alone has them in the report's first picture.
  requires_any=(
    *("final_final", "online_bo2", "*@*"),
    *("stale_*", "reuse_*", "shuffle_*"),
  ),
)

FULL_GRID = Section(
  title="Figure 1: is it the offline sweep?",
  paper_shows=(
    "The paper pools learning rates, betas and lengths of its offline runs. It"
    " does not say whether they are fully crossed."
  ),
  pictures=(_plot_full_grid,),
  claims=(
    Claim(
      "online beats the full grid",
      "At the same KL, online alignment wins more often than offline alignment"
      " over all combinations of its hyper-parameters.",
      "Tang et al. (2024), Fig. 1",
      _online_beats_full_grid,
      judged=True,
      requires_any=(arm_names.FULL_GRID,),
      quote=(
        "for the offline algorithm we pooled together results for sweeps"
        " over hyper-parameters (section 2.1)"
      ),
      rule=rules.AHEAD,
    ),
  ),
  requires_any=(arm_names.FULL_GRID,),
  own_arms=(arm_names.FULL_GRID,),
)
