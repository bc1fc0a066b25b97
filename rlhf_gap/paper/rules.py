"""The numbers and rules that several claims share, in words.

`docs/preregistration.md` states them, so they are fixed before a study runs.
"""

from rlhf_gap.analysis.comparison import LEAST_KL_FACTOR
from rlhf_gap.analysis.verdicts import SMALLEST_EFFECT

_MATCHED = (
  "The mean difference of the two arms' frontiers over the log KL that both"
  " reach"
)
_NARROW = (
  f"Underpowered if that range is less than a factor of {LEAST_KL_FACTOR:g}."
)

AHEAD = (
  f"{_MATCHED}. Supported if its interval lies above 0, contradicted if it lies"
  f" below {SMALLEST_EFFECT:g}. {_NARROW}"
)

AHEAD_OF_ALL = (
  f"{_MATCHED}, for each comparison. Supported if every interval lies above 0,"
  f" contradicted if one at 1 - 5% / comparisons lies below"
  f" {SMALLEST_EFFECT:g}. {_NARROW}"
)

HARMLESS = (
  f"{_MATCHED}. Supported if its interval lies below {SMALLEST_EFFECT:g},"
  f" contradicted if it lies at or above it. {_NARROW}"
)

CLOSED_SHARE = (
  "The part of the gap that the third arm closes, minus half of the gap."
  " Supported if its interval lies below 0, contradicted if it lies above."
  f" Moot unless the gap's own interval lies above 0 and reaches"
  f" {SMALLEST_EFFECT:g}."
)

DECLINE = (
  "The win rate at the step of the peak minus that at the end of training, of"
  " the configuration that falls most; step and configuration are chosen on"
  " other prompts and seeds. Supported if the interval lies above 0,"
  f" contradicted if it lies below {SMALLEST_EFFECT:g} and training went to"
  " four times the peak's KL or further."
)
