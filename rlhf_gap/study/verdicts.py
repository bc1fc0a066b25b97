"""Claims about records, and how a number decides one."""

import dataclasses
import enum
import math
from collections.abc import Callable, Collection, Mapping, Sequence

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
    online_data: records of who can tell the better response of an online run's
      own pairs (`rlhf_gap.evaluation.online_data`).
    sizes: parameters of the policy, by size; "" is the study's own.
  """

  task: str
  arms: Mapping[str, Arm]
  records: tuple[RunRecord, ...] = ()
  judges: Mapping[str, summary.Judge] = dataclasses.field(default_factory=dict)
  settings: statistics.Settings = statistics.Settings()
  online_data: tuple[RunRecord, ...] = ()
  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)

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
    about: arms without which the question does not come up: a study that was
      to run none of them is not asked. Empty: always asked.
  """

  name: str
  statement: str
  source: str
  decide: Callable[[Evidence], Answer]
  about: tuple[str, ...] = ()

  def is_asked(self, arms: Collection[str]) -> bool:
    """Returns whether a study of these arms is to answer it."""
    return not self.about or any(name in arms for name in self.about)

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


def harmless(
  found: Estimate, *, at_most: float = SMALLEST_EFFECT
) -> tuple[Verdict, str]:
  """Decides whether a loss is too small to matter.

  Args:
    found: the loss, positive where something is lost.
    at_most: the smallest that would matter.

  Returns:
    Supported where the interval lies below `at_most`; contradicted where it
    lies above 0 and reaches it; else, or with fewer than three seeds,
    underpowered, and why.
  """
  if found.num_seeds < MIN_SEEDS:
    return exceeds(found)
  if found.ci95_high < at_most:
    return Verdict.SUPPORTED, ""
  if found.ci95_low > 0:
    return Verdict.CONTRADICTED, ""
  return Verdict.UNDERPOWERED, (
    f"the interval holds both 0 and {at_most:g}, the smallest difference that"
    " would matter"
  )


def all_of(answers: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
  """Decides a statement that holds where each of its parts does.

  Args:
    answers: verdict and reason of each part.

  Returns:
    Contradicted where one part is, supported where all are, else underpowered
    with the reasons.
  """
  verdicts = {verdict for verdict, _ in answers}
  if Verdict.CONTRADICTED in verdicts:
    return Verdict.CONTRADICTED, ""
  if verdicts == {Verdict.SUPPORTED}:
    return Verdict.SUPPORTED, ""
  reasons = dict.fromkeys(reason for _, reason in answers if reason)
  return Verdict.UNDERPOWERED, "; ".join(reasons)


def within(
  found: Measurement | Estimate, low: float, high: float
) -> tuple[Verdict, str]:
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
  """Returns a difference as text: +0.083 [+0.051, +0.115].

  One seed's, which says nothing of how seeds differ, has no interval.
  """
  value, low, high = (
    f"{x:+.{digits}f}" for x in (found.value, found.ci95_low, found.ci95_high)
  )
  return f"{value} [{low}, {high}]" if math.isfinite(found.sem) else value


def plain(found: Measurement | Estimate, digits: int = 3) -> str:
  """Returns a figure as text: 0.412 [0.390, 0.434]; see `signed`."""
  value, low, high = (
    f"{x:.{digits}f}" for x in (found.value, found.ci95_low, found.ci95_high)
  )
  return f"{value} [{low}, {high}]" if math.isfinite(found.sem) else value


def basis(found: Estimate) -> str:
  """Returns what an estimate rests on: 2,048 prompts, 3 seeds."""
  return f"{found.num_prompts:,} prompts, {_seeds(found)}"


def _seeds(found: Estimate) -> str:
  return f"{found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}"
