"""Figures 1 and 4: online, offline, and offline on shuffled online data."""

import dataclasses

from rlhf_gap.analysis import arm_names, arms, comparison
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.paper import over_optimization
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
  "Tang et al. (2024), Fig. 1",
  lambda evidence: _online_beats(evidence, "offline"),
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
      "shuffled online data do not close the gap",
      "Offline alignment on the shuffled pairs of an online run stays below"
      " that online run at the same KL.",
      "Tang et al. (2024), Fig. 4",
      lambda evidence: _online_beats(evidence, "tandem"),
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
      requires_any=(arm_names.FULL_GRID,),
    ),
  ),
  requires_any=(arm_names.FULL_GRID,),
  own_arms=(arm_names.FULL_GRID,),
)
