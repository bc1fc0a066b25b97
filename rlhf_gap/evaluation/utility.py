"""The hidden utility of responses, known for miniatures."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from rlhf_gap import records
from rlhf_gap.evaluation import intervals

Function = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Maps prompts and responses, as text, to each response's utility."""

Decode = Callable[[Sequence[int]], str]


def of_tokens(
  function: Function,
  decode: Decode,
  prompt: Int[np.ndarray, "rows source"],
  responses: Int[np.ndarray, "rows target"],
) -> Float[np.ndarray, "rows"]:
  """Returns the utility of each response, read as text.

  Args:
    function: the corpus's hidden utility.
    decode: maps ids to text.
    prompt: token ids, padded with 0.
    responses: token ids, padded with 0.
  """
  texts = [
    [decode(row.tolist()) for row in rows] for rows in (prompt, responses)
  ]
  return np.asarray(function(*texts), np.float64)


def outcomes(
  policy: Float[np.ndarray, "rows"], opponent: Float[np.ndarray, "rows"]
) -> Float[np.ndarray, "rows"]:
  """Returns the verdicts of a judge with the hidden utility.

  1 if the policy's response has the higher utility, 0 if the lower, and 1/2 if
  both are equal.

  Args:
    policy: utility of the policy's response to each prompt.
    opponent: utility of the golden policy's response.
  """
  return 0.5 * (1 + np.sign(policy - opponent))


def measure(
  policy: Float[np.ndarray, "rows"], opponent: Float[np.ndarray, "rows"]
) -> dict[str, records.Measurement]:
  """Computes the metrics of the policy's and an opponent's utilities.

  Args:
    policy: utility of the policy's response to each prompt.
    opponent: utility of the golden policy's response.

  Returns:
    "utility": the policy's mean; "utility_win_rate": that of `outcomes`.
  """
  return {
    "utility": intervals.mean(policy),
    "utility_win_rate": intervals.win_rate(outcomes(policy, opponent)),
  }
