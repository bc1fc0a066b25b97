"""Figures 5 and 12: whose responses should offline pairs be?"""

from rlhf_gap.analysis import arm_names
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.paper import ahead
from rlhf_gap.paper.section import Section
from rlhf_gap.plotting import win_rate_over_kl
from rlhf_gap.plotting.picture import Picture
from rlhf_gap.plotting.win_rate_over_kl import in_extra_color, in_method_color

# Arms whose pairs hold a response of the final policy come first.
_GENERATED = tuple(
  sorted(arm_names.GENERATED, key=lambda name: not name.endswith("_final"))
)


def _plot_figure_5(evidence: Evidence, log_base: float) -> Picture:
  return win_rate_over_kl.plot(
    evidence,
    [
      in_method_color("online"),
      in_extra_color("final_final", 0),
      in_method_color("offline"),
    ],
    name="fig_5",
    title="Figure 5: pairs of the final online policy",
    caption=(
      "Offline runs on golden pairs, and on pairs whose responses both come"
      " from the final online policy; online for comparison."
    ),
    log_base=log_base,
  )


def _plot_figure_12(evidence: Evidence, log_base: float) -> Picture:
  return win_rate_over_kl.plot(
    evidence,
    [
      *(in_extra_color(name, n) for n, name in enumerate(_GENERATED)),
      in_method_color("offline"),
    ],
    name="fig_12",
    title="Figure 12: whose responses",
    caption=(
      "Offline runs on golden pairs, and on pairs from the SFT policy and the"
      " early and final online checkpoints."
    ),
    log_base=log_base,
  )


def _final_policy_data_do_not_close(evidence: Evidence) -> Answer:
  return ahead.is_ahead_of_all(evidence, "online", ("final_final",))


def _one_response_from_sft_helps(evidence: Evidence) -> Answer:
  return ahead.is_ahead_of_all(evidence, "sft_early", ("early_final",))


def _stronger_contrast_does_not_help(evidence: Evidence) -> Answer:
  return ahead.gains_little(evidence, "early_final", "final_final")


def _no_data_close(evidence: Evidence) -> Answer:
  return ahead.is_ahead_of_all(evidence, "online", _GENERATED)


FIGURE_5 = Section(
  title="Figure 5: are the offline data too poor?",
  paper_shows=(
    "The paper samples both responses of every pair from the final online"
    " policy. Offline alignment on them does not come near online"
    " (hypothesis 2)."
  ),
  pictures=(_plot_figure_5,),
  claims=(
    Claim(
      "better data do not close the gap",
      "Offline alignment on pairs of the final online policy stays below"
      " online alignment at the same KL (hypothesis 2: the offline data are to"
      " blame).",
      "Tang et al. (2024), Fig. 5",
      _final_policy_data_do_not_close,
      requires_any=("final_final",),
      judged=True,
    ),
  ),
  requires_any=("final_final",),
  own_arms=("final_final",),
)

FIGURE_12 = Section(
  title="Figure 12: whose responses should offline pairs be?",
  paper_shows=(
    "The paper's offline runs on pairs of the SFT policy, the early and the"
    " final online policy differ by task, and none reaches online."
  ),
  pictures=(_plot_figure_12,),
  claims=(
    Claim(
      "one response from SFT helps",
      "Offline alignment wins more often at the same KL if one response of"
      " each pair comes from the SFT policy and the other from the early online"
      " policy than if they come from the early and the final one.",
      "Tang et al. (2024), Fig. 12, section 6",
      _one_response_from_sft_helps,
      requires_any=("sft_early",),
      judged=True,
    ),
    Claim(
      "contrast alone does not help",
      "Pairs of the early against the final online policy gain too little over"
      " pairs from the final policy alone to matter.",
      "Tang et al. (2024), Fig. 12, section 6",
      _stronger_contrast_does_not_help,
      requires_any=("early_final",),
      judged=True,
    ),
    Claim(
      "no mixture of data closes the gap",
      "Offline alignment stays below online alignment whichever of its policies"
      " the pairs come from.",
      "Tang et al. (2024), Fig. 12",
      _no_data_close,
      requires_any=_GENERATED,
      judged=True,
    ),
  ),
  requires_any=_GENERATED,
  own_arms=_GENERATED,
)
