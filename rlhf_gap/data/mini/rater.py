"""The noisy rater: Bradley-Terry, extended with Davidson's ties.

Davidson (1970), "On extending the Bradley-Terry model to accommodate ties":
with d = utility_a - utility_b, the outcomes a, b and tie have the weights
exp(d / 2), exp(-d / 2) and nu. Given no tie, P(a) = sigmoid(d).
"""

import math

from rlhf_gap.data.mini.random_stream import RandomStream

# The label of a tie; other labels are the index of the better response.
TIE = 2


def preference_probability(utility_a: float, utility_b: float) -> float:
  """P(a is preferred to b | no tie) = sigmoid(utility_a - utility_b)."""
  return 0.5 * (1.0 + math.tanh(0.5 * (utility_a - utility_b)))


def tie_probability(
  utility_a: float, utility_b: float, tie_weight: float
) -> float:
  """P(tie) = nu / (nu + 2 cosh((utility_a - utility_b) / 2)).

  Args:
    utility_a: utility of one response.
    utility_b: utility of the other.
    tie_weight: Davidson's nu, >= 0; 0 for no ties.

  Returns:
    The probability; its maximum nu / (nu + 2) is at equal utilities.
  """
  spread = 2.0 * math.cosh(0.5 * (utility_a - utility_b))
  return tie_weight / (tie_weight + spread)


def label(
  rng: RandomStream, utility_a: float, utility_b: float, tie_weight: float
) -> int:
  """Returns a random label: 0 if a is preferred, 1 for b, or `TIE`."""
  if rng.chance(tie_probability(utility_a, utility_b, tie_weight)):
    return TIE
  return 0 if rng.chance(preference_probability(utility_a, utility_b)) else 1
