"""Claims about records, and how a number decides one."""

import dataclasses
import enum
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from rlhf_gap.analysis import statistics, summary
from rlhf_gap.analysis.arms import Arm
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.records import Measurement, RunRecord

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
    planned: names of the arms that the study was to run, finished or not.
  """

  task: str
  arms: Mapping[str, Arm]
  records: tuple[RunRecord, ...] = ()
  judges: Mapping[str, summary.Judge] = dataclasses.field(default_factory=dict)
  settings: statistics.Settings = statistics.Settings()
  online_data: tuple[RunRecord, ...] = ()
  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  planned: tuple[str, ...] = ()

  @property
  def names(self) -> list[str]:
    """Names of all arms, those without records too: what there should be."""
    return sorted({*self.arms, *self.planned})

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
  found: Estimate, *, at_least: float = SMALLEST_EFFECT, parts: int = 1
) -> tuple[Verdict, str]:
  """Decides whether a difference is positive.

  Args:
    found: the difference.
    at_least: the smallest that would matter.
    parts: differences of which each must be positive for a statement to hold:
      one of many comes out wrong more easily, so that each contradicts at
      1 - 5% / parts only (Bonferroni).

  Returns:
    Supported where the interval lies above 0; contradicted where it lies below
    `at_least`; else, or with fewer than three seeds, underpowered, and why.
  """
  if found.num_seeds < MIN_SEEDS:
    return Verdict.UNDERPOWERED, few_seeds(found.num_seeds)
  if found.ci95_low > 0:
    return Verdict.SUPPORTED, ""
  if _interval(found, parts)[1] < at_least:
    return Verdict.CONTRADICTED, ""
  if not at_least:
    return Verdict.UNDERPOWERED, "the interval holds 0"
  return Verdict.UNDERPOWERED, (
    f"the interval holds both 0 and {at_least:g}, the smallest difference that"
    " would matter"
  )


def few_seeds(count: int) -> str:
  """Says that so many seeds decide nothing."""
  return (
    f"{_number_of(count)}; {MIN_SEEDS} are needed to tell luck from a"
    " difference"
  )


def _interval(found: Estimate | Measurement, parts: int) -> tuple[float, float]:
  if parts == 1 or isinstance(found, Measurement):
    return found.ci95_low, found.ci95_high
  return found.interval(1 - 0.05 / parts)


def harmless(
  found: Estimate, *, at_most: float = SMALLEST_EFFECT
) -> tuple[Verdict, str]:
  """Decides whether a loss is too small to matter.

  Args:
    found: the loss, positive where something is lost.
    at_most: the smallest that would matter.

  Returns:
    Supported where the interval lies below `at_most`, contradicted where it
    lies above; else, or with fewer than three seeds, underpowered, and why.
  """
  if found.num_seeds < MIN_SEEDS:
    return exceeds(found)
  if found.ci95_high < at_most:
    return Verdict.SUPPORTED, ""
  if found.ci95_low >= at_most:
    return Verdict.CONTRADICTED, ""
  return Verdict.UNDERPOWERED, (
    f"the interval holds {at_most:g}, the smallest loss that would matter"
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
  found: Measurement | Estimate, low: float, high: float, *, parts: int = 1
) -> tuple[Verdict, str]:
  """Decides whether a figure lies in a range.

  Args:
    found: the figure.
    low: the range's lower end.
    high: its upper end.
    parts: figures of which each must lie in its range, see `exceeds`.

  Returns:
    Supported where the interval lies inside; contradicted where it lies
    outside; else, or with fewer than three seeds, underpowered, and why.
  """
  if isinstance(found, Estimate) and found.num_seeds < MIN_SEEDS:
    return Verdict.UNDERPOWERED, few_seeds(found.num_seeds)
  if low <= found.ci95_low and found.ci95_high <= high:
    return Verdict.SUPPORTED, ""
  lower, upper = _interval(found, parts)
  if upper < low or high < lower:
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


def basis(*found: Estimate) -> str:
  """Returns what estimates rest on, the least of them: 512 prompts, 3 seeds."""
  prompts = min(one.num_prompts for one in found)
  seeds = min(one.num_seeds for one in found)
  return f"{prompts:,} prompts, {_number_of(seeds)}"


def pairs_basis(*found: Estimate) -> str:
  """Returns what estimates of pairs rest on, the least of them."""
  pairs = min(one.num_prompts for one in found)
  seeds = min(one.num_seeds for one in found)
  return f"{pairs:,} pairs a seed, {_number_of(seeds)}"


def _number_of(seeds: int) -> str:
  return f"{seeds} seed{'' if seeds == 1 else 's'}"
