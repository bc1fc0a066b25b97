"""What the paper says of the policy's size."""

import math

from rlhf_gap.analysis import arm_names, comparison, quantiles, statistics
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  Answer,
  Claim,
  Evidence,
  Verdict,
  all_of,
  basis,
  exceeds,
  signed,
  within,
)
from rlhf_gap.paper import sizes, tradeoffs

_SIMILAR = 2.0
"""Factor within which two KLs are similar."""


def _several_sizes(evidence: Evidence) -> list[str]:
  found = tradeoffs.sizes_of(evidence)
  if len(found) < 2:
    raise UndefinedError("policies of one size alone were trained")
  return found


def _gap_at_every_size(evidence: Evidence) -> Answer:
  found = {
    size: comparison.compare(
      evidence,
      evidence.arm(tradeoffs.at_size("online", size)),
      evidence.arm(tradeoffs.at_size("offline", size)),
    )
    for size in _several_sizes(evidence)
  }
  verdict, reason = all_of(
    [one.exceeds(parts=len(found)) for one in found.values()]
  )
  numbers = (
    f"{tradeoffs.size_title(evidence, size)}: {one.numbers}"
    for size, one in found.items()
  )
  return Answer(verdict, "; ".join(numbers), reason)


def _larger_wins_more(evidence: Evidence) -> Answer:
  smallest, *_, largest = _several_sizes(evidence)
  sizes.check_known(evidence)
  found = {
    name: quantiles.quantile_difference(
      sizes.tuned_alike(evidence, name, largest),
      sizes.tuned_alike(evidence, name, smallest),
      sizes.QUANTILE,
      evidence.settings,
    )
    for name in sizes.METHODS
  }
  verdict, reason = all_of(
    [exceeds(one, parts=len(found)) for one in found.values()]
  )
  levels = ", ".join(
    f"{arm_names.title(name)} {signed(one)}" for name, one in found.items()
  )
  return Answer(
    verdict,
    f"90% quantile of win rate, {tradeoffs.size_title(evidence, largest)} less"
    f" {tradeoffs.size_title(evidence, smallest)}: {levels}"
    f" ({basis(*found.values())})",
    reason,
  )


def _peaks_are_alike(evidence: Evidence) -> Answer:
  others = [size for size in _several_sizes(evidence) if size]
  own = evidence.arm("online")
  arms_of = {
    size: evidence.arm(tradeoffs.at_size("online", size)) for size in others
  }
  found = {
    size: statistics.log_peak_ratio(arm, own, evidence.settings)
    for size, arm in arms_of.items()
  }
  ratios = []
  for size, one in found.items():
    ends = one.value, one.ci95_low, one.ci95_high
    value, low, high = (math.exp(min(end, 99.0)) for end in ends)
    ratios.append(f"{size} {value:.2g} [{low:.2g}, {high:.2g}]")
  numbers = (
    "KL at online's peak, relative to this study's own size:"
    f" {'; '.join(ratios)} ({basis(*found.values())})"
  )
  if any(
    statistics.peak(arm, evidence.settings).at_the_end
    for arm in (own, *arms_of.values())
  ):
    return Answer(
      Verdict.UNDERPOWERED,
      numbers,
      "an arm is highest at its last point: its peak was not reached",
    )
  reach = math.log(_SIMILAR)
  verdict, reason = all_of(
    [within(one, -reach, reach, parts=len(found)) for one in found.values()]
  )
  return Answer(verdict, numbers, reason)


_SIZES = ("sizes",)

CLAIMS = (
  Claim(
    "the gap stays at every size",
    "At every size of the policy, online alignment wins more often than offline"
    " alignment at the same KL (hypothesis 5: scaling the policy is all that it"
    " takes).",
    "Tang et al. (2024), Figs. 10, 11 and 14",
    _gap_at_every_size,
    about=_SIZES,
  ),
  Claim(
    "larger policies win more often",
    "From the smallest to the largest policy, the 90% quantile of win rate"
    " rises in all arms.",
    "Tang et al. (2024), Figs. 10 and 14",
    _larger_wins_more,
    about=_SIZES,
  ),
  Claim(
    "peaks lie at a similar KL for all sizes",
    "Online's win rate is highest at KLs that differ by less than a factor of"
    " 2 between sizes of the policy.",
    "Tang et al. (2024), section 5.6 and Fig. 10",
    _peaks_are_alike,
    about=_SIZES,
  ),
)
"""Figures 10, 11 and 14."""
