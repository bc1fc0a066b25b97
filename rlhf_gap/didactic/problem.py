"""A didactic problem: arms to train, pictures to plot, claims to answer."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from rlhf_gap.analysis import seed_means
from rlhf_gap.analysis.claims import Answer
from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.analysis.verdicts import Verdict, all_of
from rlhf_gap.analysis.wording import count_seeds, signed
from rlhf_gap.plotting.picture import Picture

Curves = Mapping[str, np.ndarray]
"""A measured number by arm, [seeds, points]; the last point is the result."""

Decision = tuple[Verdict, str]
Part = tuple[str, Estimate, Decision]
"""What was compared, by how much it differs, and what follows."""


@dataclasses.dataclass(frozen=True)
class DidacticClaim:
  """A published statement that the curves decide.

  Attributes:
    name: a few words.
    statement: the statement in full.
    source: who makes it, and where.
    parts: the differences that must all be as the statement says.
  """

  name: str
  statement: str
  source: str
  parts: Callable[[Curves], list[Part]]

  def answer(self, curves: Curves) -> Answer:
    """Returns the verdict with every difference behind it."""
    parts = self.parts(curves)
    verdict, reason = all_of([decision for _, _, decision in parts])
    numbers = ", ".join(f"{name} {signed(e)}" for name, e, _ in parts)
    seeds = count_seeds(min(e.num_seeds for _, e, _ in parts))
    return Answer(verdict, f"{numbers} ({seeds})", reason)


@dataclasses.dataclass(frozen=True)
class Problem:
  """A didactic problem.

  Attributes:
    measure: trains every arm at this many seeds.
    pictures: makes the figures.
    claims: what is decided.
  """

  measure: Callable[[int], Curves]
  pictures: Callable[[Curves], list[Picture]]
  claims: tuple[DidacticClaim, ...]


def last(curves: Curves, arm: str) -> np.ndarray:
  """Returns an arm's result, one number per seed."""
  return curves[arm][:, -1]


def over_seeds(values: np.ndarray) -> Estimate:
  """Returns the mean over seeds with Student's interval.

  Each number is exact; a count of prompts plays no part in the interval, but
  `power` divides by one fewer than it.
  """
  return seed_means.mean(dict(enumerate(values.tolist())), 2)
