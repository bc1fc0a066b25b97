"""Claims about records, and how a number decides one."""

import dataclasses
import enum
from collections.abc import Callable, Mapping

from rlhf_gap.records import Measurement, RunRecord
from rlhf_gap.study import statistics, summary
from rlhf_gap.study.arms import Arm
from rlhf_gap.study.resampling import Estimate, UndefinedError

SMALLEST_EFFECT = 0.02
"""A difference of win rates that would matter.

At the paper's 2,048 prompts it is two standard errors of one win rate: the
smallest that its figures could show.
"""

MIN_SEEDS = 3
"""With fewer, luck of the seed cannot be told from a difference."""


class Verdict(enum.StrEnum):
  """What records say of a claim."""

  SUPPORTED = "supported"
  CONTRADICTED = "contradicted"
  UNDERPOWERED = "underpowered"


@dataclasses.dataclass(frozen=True)
class Answer:
  """A verdict with what it rests on.

  Attributes:
    verdict: the verdict.
    numbers: estimates with intervals, numbers of prompts and seeds, as text.
    reason: why it is underpowered, or what else must be known; "" otherwise.
  """

  verdict: Verdict
  numbers: str
  reason: str = ""

  def __str__(self) -> str:
    parts = (str(self.verdict), self.numbers, self.reason)
    return "; ".join(part for part in parts if part)


@dataclasses.dataclass(frozen=True)
class Evidence:
  """All that a claim may look at: one task of a study.

  Attributes:
    task: its name.
    arms: by name.
    records: that the arms were made of.
    judges: by name.
    settings: of bootstraps.
  """

  task: str
  arms: Mapping[str, Arm]
  records: tuple[RunRecord, ...] = ()
  judges: Mapping[str, summary.Judge] = dataclasses.field(default_factory=dict)
  settings: statistics.Settings = statistics.Settings()

  def arm(self, name: str) -> Arm:
    """Returns an arm.

    Raises:
      UndefinedError: there is none of this name.
    """
    if name not in self.arms:
      raise UndefinedError(f"there are no records of the arm {name}")
    return self.arms[name]

  def accuracy(self, judge: str, against: str) -> Measurement:
    """Returns how often a judge agrees with something.

    Raises:
      UndefinedError: this was not measured.
    """
    examined = self.judges.get(judge)
    if examined is None or against not in examined.accuracy:
      raise UndefinedError(
        f"the {judge} preference model was not compared with {_NAMES[against]}"
      )
    return examined.accuracy[against]


_NAMES = {
  "golden": "golden labels",
  "utility": "the hidden utility",
}


@dataclasses.dataclass(frozen=True)
class Claim:
  """A statement that records decide.

  Attributes:
    name: a word or two, for tables and scripts.
    statement: a sentence.
    source: where it is made, such as "Tang et al. (2024), Fig. 1".
    decide: answers; raises `UndefinedError` where records are missing.
  """

  name: str
  statement: str
  source: str
  decide: Callable[[Evidence], Answer]

  def answer(self, evidence: Evidence) -> Answer:
    """Returns the answer; what is missing makes it underpowered."""
    try:
      return self.decide(evidence)
    except UndefinedError as error:
      return Answer(Verdict.UNDERPOWERED, "", str(error))


def exceeds(
  found: Estimate, *, at_least: float = SMALLEST_EFFECT
) -> tuple[Verdict, str]:
  """Decides whether a difference is positive.

  Args:
    found: the difference.
    at_least: the smallest that would matter.

  Returns:
    Supported where the interval lies above 0; contradicted where it lies below
    `at_least`; else, or with fewer than three seeds, underpowered, and why.
  """
  if found.num_seeds < MIN_SEEDS:
    return Verdict.UNDERPOWERED, (
      f"{_seeds(found)}; {MIN_SEEDS} are needed to tell luck from a difference"
    )
  if found.ci95_low > 0:
    return Verdict.SUPPORTED, ""
  if found.ci95_high < at_least:
    return Verdict.CONTRADICTED, ""
  return Verdict.UNDERPOWERED, (
    f"the interval holds both 0 and {at_least:g}, the smallest difference that"
    " would matter"
  )


def within(found: Measurement, low: float, high: float) -> tuple[Verdict, str]:
  """Decides whether a figure lies in a range.

  Args:
    found: the figure.
    low: the range's lower end.
    high: its upper end.

  Returns:
    Supported where the interval lies inside; contradicted where it lies
    outside; else underpowered, and why.
  """
  if low <= found.ci95_low and found.ci95_high <= high:
    return Verdict.SUPPORTED, ""
  if found.ci95_high < low or high < found.ci95_low:
    return Verdict.CONTRADICTED, ""
  return Verdict.UNDERPOWERED, "the interval reaches over an end of the range"


def signed(found: Estimate, digits: int = 3) -> str:
  """Returns a difference as text: +0.083 [+0.051, +0.115]."""
  value, low, high = (
    f"{x:+.{digits}f}" for x in (found.value, found.ci95_low, found.ci95_high)
  )
  return f"{value} [{low}, {high}]"


def plain(found: Measurement | Estimate, digits: int = 3) -> str:
  """Returns a figure as text: 0.412 [0.390, 0.434]."""
  value, low, high = (
    f"{x:.{digits}f}" for x in (found.value, found.ci95_low, found.ci95_high)
  )
  return f"{value} [{low}, {high}]"


def basis(found: Estimate) -> str:
  """Returns what an estimate rests on: 2,048 prompts, 3 seeds."""
  return f"{found.num_prompts:,} prompts, {_seeds(found)}"


def _seeds(found: Estimate) -> str:
  return f"{found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}"
