"""The noisy rater: Bradley-Terry, with Davidson's ties where there are any.

Davidson (1970), "On extending the Bradley-Terry model to accommodate ties":
with d = utility_a - utility_b, a, b and a tie weigh exp(d / 2), exp(-d / 2) and
nu. Without ties (nu = 0) P(a) is sigmoid(d); with them it is that among the
pairs that are not tied.
"""

import math

from rlhf_gap.data.mini.draws import Draws

# A label is the index of the better response, or this.
TIE = 2


def preference_probability(utility_a: float, utility_b: float) -> float:
  """P(a is preferred to b | no tie) = sigmoid(utility_a - utility_b)."""
  return 0.5 * (1.0 + math.tanh(0.5 * (utility_a - utility_b)))


def tie_probability(
  utility_a: float, utility_b: float, tie_weight: float
) -> float:
  """P(tie) = nu / (nu + 2 cosh((utility_a - utility_b) / 2)).

  Args:
    utility_a: what one response is worth.
    utility_b: what the other is worth.
    tie_weight: Davidson's nu, >= 0; 0 for a rater who never ties.

  Returns:
    A probability, largest where the utilities are equal: nu / (nu + 2).
  """
  spread = 2.0 * math.cosh(0.5 * (utility_a - utility_b))
  return tie_weight / (tie_weight + spread)


def label(
  draws: Draws, utility_a: float, utility_b: float, tie_weight: float
) -> int:
  """Returns one rater's verdict: 0 for a, 1 for b, or `TIE`."""
  if draws.chance(tie_probability(utility_a, utility_b, tie_weight)):
    return TIE
  return 0 if draws.chance(preference_probability(utility_a, utility_b)) else 1
