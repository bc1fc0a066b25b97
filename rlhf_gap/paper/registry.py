"""The paper figure by figure: what each shows, our picture, which claims."""

import dataclasses
import functools
from collections.abc import Callable, Collection

from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.paper import app_h, discrimination, sizes, staleness, tradeoffs
from rlhf_gap.plotting.drawing import Figure

Draw = Callable[[Evidence, float], Figure]
"""Draws from a task's evidence and the base of the axes' logarithm."""


@dataclasses.dataclass(frozen=True)
class Section:
  """One figure of the paper, or what the later literature asks besides.

  Attributes:
    title: of the section.
    shows: what the paper's figure shows, in our words.
    draw: our pictures.
    claims: names of the claims that it bears on.
    about: arms without which there is nothing to show, see `Claim.about`.
  """

  title: str
  shows: str
  draw: tuple[Draw, ...]
  claims: tuple[str, ...]
  about: tuple[str, ...]

  def is_wanted(self, arms: Collection[str]) -> bool:
    """Returns whether a study of these arms is to show it."""
    return any(name in arms for name in self.about)


def _plain(draw: Callable[[Evidence], Figure]) -> Draw:
  """Returns a drawing that has no axis of KL, as one that has."""

  @functools.wraps(draw)
  def drawn(evidence: Evidence, log_base: float) -> Figure:
    del log_base
    return draw(evidence)

  return drawn


def _sizes_of(method: str) -> Draw:
  return functools.partial(_at_sizes, method)


def _at_sizes(method: str, evidence: Evidence, log_base: float) -> Figure:
  return tradeoffs.policy_sizes(evidence, method, log_base)


_DISCRIMINATION = ("online", "offline")

SECTIONS = (
  Section(
    "Figures 1 and 4: online, offline, and offline on shuffled online data",
    "In all four tasks of the paper online's cloud of checkpoints lies above"
    " offline's at the same KL; offline runs on the online runs' own pairs,"
    " shuffled, stay below online (hypothesis 1, coverage, is not enough).",
    (tradeoffs.online_and_offline, tradeoffs.shuffled_online_data),
    (
      "online beats offline",
      "shuffled online data do not close the gap",
      "win rate falls beyond a peak",
      "the proxy is over-optimized",
    ),
    # Alone, these are the report's first picture already.
    ("final_final", "online_bo2", "sizes", "stale", "shuffled"),
  ),
  Section(
    "Figure 1: is it the offline sweep?",
    "The paper pools learning rates, betas and lengths of its offline runs, and"
    " does not tell whether in all combinations.",
    (tradeoffs.online_and_full_grid,),
    ("online beats the full grid",),
    ("offline_grid",),
  ),
  Section(
    "Figure 5: are the offline data too poor?",
    "The paper draws both responses of every pair from the final online policy:"
    " offline alignment on them does not come near online (hypothesis 2).",
    (tradeoffs.final_policy_data,),
    ("better data do not close the gap",),
    ("final_final",),
  ),
  Section(
    "Figure 6: who can tell online responses apart?",
    "On pairs from ten moments of an online run, the paper's proxy agrees with"
    " golden labels most, its offline policy less, its online policy least.",
    (_plain(discrimination.online_data),),
    (
      "the proxy knows online data best",
      "offline classifies online data better than online does",
    ),
    ("online_data",),
  ),
  Section(
    "Figure 7: does a better classifier generate better?",
    "The paper finds no use in accuracy: policies that tell golden pairs apart"
    " better do not win more often (hypothesis 3).",
    (_plain(discrimination.accuracy_and_win_rate),),
    ("better classifiers do not win more often",),
    _DISCRIMINATION,
  ),
  Section(
    "Figure 8: what training does to golden pairs",
    "Over training the paper's offline policies become the better classifiers,"
    " and make even the winners of golden pairs less likely, more than any"
    " other arm.",
    (
      _plain(discrimination.accuracy_over_training),
      _plain(discrimination.winners_over_training),
    ),
    (
      "offline makes the better classifier",
      "offline lowers the winners' likelihood most",
      "offline lowers even the winners' likelihood",
    ),
    _DISCRIMINATION,
  ),
  Section(
    "Figure 9: is the contrastive loss to blame?",
    "With Best-of-2, which only imitates winners, the paper's online runs still"
    " beat offline ones (hypothesis 4).",
    (tradeoffs.best_of_two,),
    (
      "the gap needs no contrast",
      "shuffled online data do not close Best-of-2's gap",
    ),
    ("online_bo2", "offline_bo2"),
  ),
  Section(
    "Figures 10, 11 and 14: does a larger policy close the gap?",
    "From Large to XL and XXL all of the paper's arms win more often, the order"
    " of online and offline stays, and the peaks' KL hardly moves"
    " (hypothesis 5).",
    (
      *(map(_sizes_of, sizes.METHODS)),
      _plain(sizes.relative_performance),
      _plain(sizes.absolute_performance),
    ),
    (
      "the gap stays at every size",
      "larger policies win more often",
      "peaks lie at a similar KL for all sizes",
    ),
    ("sizes",),
  ),
  Section(
    "Figure 12: whose responses should offline pairs be?",
    "The paper's offline runs on pairs of the SFT policy, the early and the"
    " final online policy differ by task, and none reaches online.",
    (tradeoffs.data_sets,),
    ("no mixture of data closes the gap",),
    ("final_final", "early_final", "sft_early"),
  ),
  Section(
    "Figure 13: does the order of the online data matter?",
    "The paper replays an online run in order, permuted within 4 and within 500"
    " batches, and as a whole.",
    (tradeoffs.shuffle_levels,),
    ("an exact replay is the online run", "slight shuffling is harmless"),
    ("shuffled",),
  ),
  Section(
    "Appendix E.1: can policies tell their own samples apart?",
    "By golden labels the paper's policies are no better than chance at telling"
    " which of two of their own samples is better.",
    (_plain(discrimination.self_classification),),
    ("self-classification is chance",),
    _DISCRIMINATION,
  ),
  Section(
    "Appendix H: what theory expects",
    "The paper writes down what IPO's optimum would be. For hard, transitive"
    " labels it has a closed form, by which offline would be ahead at the same"
    " KL: the gap is not in the optimum.",
    (app_h.prediction,),
    ("the optimum's theory does not explain the gap",),
    _DISCRIMINATION,
  ),
  Section(
    "Between online and offline: how old may pairs be?",
    "Not in the paper: semi-online runs refresh the sampler every s steps, and"
    " reuse trains on each batch several times. Later work finds slight"
    " staleness harmless.",
    (_plain(staleness.cost_of_staleness),),
    ("slight off-policyness is harmless", "the sampler must be refreshed"),
    ("stale",),
  ),
)
"""In the paper's order."""
