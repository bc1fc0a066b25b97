"""Numbers to comparisons: probabilities, labels, scores and ranks."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from rlhf_gap.data.formats import rows

MAX_RESPONSES = 64
"""Responses of one row; more would make thousands of pairs."""

PAIRINGS = ("all", "best_worst")
"""Which pairs several responses make, for `--score_pairs`."""

_WORDS = {
  "a": 0,
  "response_a": 0,
  "model_a": 0,
  "b": 1,
  "response_b": 1,
  "model_b": 1,
}
_TIES = ("tie", "both", "neither", "tie (bothbad)", "both_bad")


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Which of two responses is better.

  Attributes:
    better: index of the better response; of either in a tie.
    worse: index of the other.
    r12: P(better one is better), shown first; NaN for a plain label.
    r21: P(worse one is better), shown first; NaN for a plain label.
    is_tie: whether neither is better: the pair has weight 0, as online ties
      have, so that no loss learns from it.
  """

  better: int
  worse: int
  r12: float = math.nan
  r21: float = math.nan
  is_tie: bool = False


def of_two(r12: float, r21: float) -> Comparison:
  """Compares two responses by a judge's probabilities in both orders.

  Args:
    r12: P(0 better), 0 shown first.
    r21: P(1 better), 1 shown first.
  """
  probability = (r12 + 1 - r21) / 2
  if probability < 0.5:
    return Comparison(1, 0, r21, r12)
  return Comparison(0, 1, r12, r21, is_tie=probability == 0.5)


def by_word(value: object, key: str) -> Comparison:
  """Compares two responses by a word: a, b or tie.

  Args:
    value: the word, in any case.
    key: its column, for messages.

  Raises:
    MalformedError: it is no such word.
  """
  word = rows.unicode_text(value, key).strip().lower()
  if word in _TIES:
    return tie(0, 1)
  if word not in _WORDS:
    raise rows.MalformedError("unknown_preference", repr(word[:40]))
  better = _WORDS[word]
  return Comparison(better, 1 - better)


def tie(one: int, other: int) -> Comparison:
  """Returns the comparison of two equally good responses."""
  return Comparison(one, other, 0.5, 0.5, is_tie=True)


def by_scores(scores: Sequence[float], pairing: str) -> tuple[Comparison, ...]:
  """Compares several responses: the higher score is better, equal is a tie.

  Args:
    scores: of each response.
    pairing: "all" makes a pair of each two responses; "best_worst" one of the
      first highest and the last lowest.
  """
  indices = range(len(scores))
  if pairing == "best_worst":
    best = max(indices, key=lambda i: (scores[i], -i))
    worst = min(indices, key=lambda i: (scores[i], -i))
    return (_ordered(best, worst, scores),)
  pairs = itertools.combinations(indices, 2)
  return tuple(_ordered(i, j, scores) for i, j in pairs)


def _ordered(i: int, j: int, scores: Sequence[float]) -> Comparison:
  if scores[i] == scores[j]:
    return tie(i, j)
  return Comparison(i, j) if scores[i] > scores[j] else Comparison(j, i)


def number(value: object, key: str) -> float:
  """Returns a finite number.

  Args:
    value: the column's value.
    key: the column, for messages.

  Raises:
    MalformedError: it is not a number.
    DroppedError: `not_finite`: NaN, infinite, or beyond float64.
  """
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    raise rows.MalformedError("wrong_type", f"{key} is {type(value).__name__}")
  try:
    real = float(value)
  except OverflowError:
    real = math.inf
  if not math.isfinite(real):
    raise rows.DroppedError("not_finite", key)
  return real


def probability(value: object, key: str) -> float:
  """Returns a number from 0 to 1.

  Args:
    value: what the column holds.
    key: the column, for messages.

  Raises:
    MalformedError: it is no number, or out of range.
    DroppedError: see `number`.
  """
  real = number(value, key)
  if not 0 <= real <= 1:
    raise rows.MalformedError("not_a_probability", f"{key} is {real:g}")
  return real


def optional_judgement(
  fields: Mapping[str, object],
) -> tuple[float, float] | None:
  """Returns a row's probabilities in both orders, if it has them.

  Args:
    fields: the row, by use. `probability` P stands for P and 1 - P.

  Raises:
    MalformedError: only one order is there, or a value is no probability.
  """
  if fields.get("probability") is not None:
    first = probability(fields["probability"], "probability")
    return first, 1 - first
  names = ("judge_r12", "judge_r21")
  given = [name for name in names if fields.get(name) is not None]
  if not given:
    return None
  if len(given) == 1:
    raise rows.MalformedError("one_order_only", given[0])
  r12, r21 = (probability(fields[name], name) for name in names)
  return r12, r21
