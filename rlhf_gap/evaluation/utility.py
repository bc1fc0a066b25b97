"""What responses are truly worth, where a miniature says so."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from rlhf_gap import records
from rlhf_gap.evaluation import intervals

Function = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Maps prompts and responses, as text, to the worth of each response."""

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
    decode: from ids to text.
    prompt: token ids, padded with 0.
    responses: likewise.
  """
  texts = [
    [decode(row.tolist()) for row in rows] for rows in (prompt, responses)
  ]
  return np.asarray(function(*texts), np.float64)


def outcomes(
  policy: Float[np.ndarray, "rows"], opponent: Float[np.ndarray, "rows"]
) -> Float[np.ndarray, "rows"]:
  """Returns 1 where the policy's response is worth more, 0 where less.

  Equal worth gives 1/2: what the verdicts would be if the hidden utility were
  the judge.

  Args:
    policy: of the policy's response to each prompt.
    opponent: of the golden policy's.
  """
  return 0.5 * (1 + np.sign(policy - opponent))


def measure(
  policy: Float[np.ndarray, "rows"], opponent: Float[np.ndarray, "rows"]
) -> dict[str, records.Measurement]:
  """Sums up utilities of the policy's and an opponent's responses.

  Args:
    policy: of the policy's response to each prompt.
    opponent: of the golden policy's.

  Returns:
    "utility": the policy's mean; "utility_win_rate": that of `outcomes`.
  """
  return {
    "utility": intervals.mean(policy),
    "utility_win_rate": intervals.win_rate(outcomes(policy, opponent)),
  }
