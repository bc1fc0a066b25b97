"""Checks of preference models: accuracy, calibration and position bias."""

from collections.abc import Callable, Iterator

import numpy as np

from rlhf_gap import stores
from rlhf_gap.analysis.summary import CalibrationBin, Judge
from rlhf_gap.evaluation import intervals

# (prompt, response) -> hidden utility
Utility = Callable[[str, str], float]

_NUM_BINS = 5
_COLUMNS = (
  "prompt_tokens",
  "chosen_tokens",
  "rejected_tokens",
  "judge_r12",
  "judge_r21",
)


def examine(
  name: str,
  labelled: stores.Store,
  source: stores.Store,
  source_labels: str,
  utility: Utility | None = None,
) -> Judge:
  """Compares a judge's verdicts on held-out pairs with other labels.

  Args:
    name: the judge's name.
    labelled: the pairs, with the judge's winner as chosen response, in the
      source's order.
    source: the same pairs, with the source's winner as chosen response.
    source_labels: the origin of the source's labels: "rater", "human" or
      "golden".
    utility: the hidden utility of a response; None for published data.

  Returns:
    Accuracy against the source's labels and the utility (ties of either count
    1/2), calibration against the utility if there is one and otherwise against
    the source's labels, and the position bias.
  """
  rows = range(labelled.num_rows)
  values = labelled.read(rows, _COLUMNS)
  before = source.read(rows, ("chosen_tokens",))["chosen_tokens"]
  r12, r21 = (values[n].astype(np.float64) for n in ("judge_r12", "judge_r21"))
  sure = 0.5 * (r12 + 1 - r21)  # probability of its own winner, >= 1/2
  same = (values["chosen_tokens"] == before).all(axis=1)
  agrees = np.where(sure == 0.5, 0.5, same)
  accuracy = {source_labels: intervals.win_rate(agrees)}
  truth = agrees
  against = source_labels
  if utility is not None:
    truth = _by_utility(values, labelled, utility, sure)
    accuracy["utility"] = intervals.win_rate(truth)
    against = "utility"
  return Judge(
    name=name,
    accuracy=accuracy,
    position_bias=intervals.mean(0.5 * (r12 + r21 - 1)),
    calibration=tuple(_bins(sure, truth)),
    calibrated_against=against,
  )


def _by_utility(
  values: dict[str, np.ndarray],
  labelled: stores.Store,
  utility: Utility,
  sure: np.ndarray,
) -> np.ndarray:
  decode = stores.decoder(labelled.manifest.vocabulary)

  def text(tokens: np.ndarray) -> str:
    return decode(tokens.tolist())

  better = np.empty(len(sure))
  for row, prompt in enumerate(values["prompt_tokens"]):
    prompt_text = text(prompt)
    chosen, rejected = (
      utility(prompt_text, text(values[f"{side}_tokens"][row]))
      for side in ("chosen", "rejected")
    )
    better[row] = 0.5 * (1 + np.sign(chosen - rejected))
  return np.where(sure == 0.5, 0.5, better)


def _bins(sure: np.ndarray, truth: np.ndarray) -> Iterator[CalibrationBin]:
  """Yields bins of equal width in the judge's probability of its own winner."""
  place = np.minimum((2 * (sure - 0.5) * _NUM_BINS).astype(int), _NUM_BINS - 1)
  for number in range(_NUM_BINS):
    inside = place == number
    if inside.sum() > 1:  # one value has no standard error
      observed = intervals.win_rate(truth[inside])
      yield CalibrationBin(float(sure[inside].mean()), observed)
