"""Statements that records decide, and their answers."""

import dataclasses
import fnmatch
from collections.abc import Callable, Collection, Mapping

from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.judges import TITLES, judged_by
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import Verdict


@dataclasses.dataclass(frozen=True)
class Answer:
  """A verdict and the numbers behind it.

  Attributes:
    verdict: the verdict.
    numbers: estimates with intervals, prompts and seeds, as text.
    reason: why it is underpowered, or a caveat; "" otherwise.
  """

  verdict: Verdict
  numbers: str
  reason: str = ""

  def __str__(self) -> str:
    fields = (str(self.verdict), self.numbers, self.reason)
    return "; ".join(field for field in fields if field)


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim that can be tested against the records.

  Attributes:
    name: a few words, for tables and scripts.
    statement: the statement in full.
    source: who makes it, such as "Tang et al. (2024), Fig. 1".
    decide: answers it; raises `UndefinedError` if records are missing.
    requires_any: patterns of arm names, such as "stale_*". A study
      answers the claim only if it plans an arm that matches one of them. If
      empty, every study answers it.
    quote: the source's sentence that the claim stands for, and its place; ""
      for a study's own conditions.
    rule: the number that decides, and how.
    judged: whether the answer depends on who judges wins, so that it is worth
      asking again with the proxy and the hidden utility as judges.
  """

  name: str
  statement: str
  source: str
  decide: Callable[[Evidence], Answer]
  requires_any: tuple[str, ...] = ()
  quote: str = ""
  rule: str = ""
  judged: bool = False

  def is_asked(self, planned: Collection[str]) -> bool:
    """Returns whether a study with these arms is to answer it."""
    return not self.requires_any or any_matches(planned, self.requires_any)

  def answer(self, evidence: Evidence) -> Answer:
    """Returns the answer; missing records make it underpowered."""
    try:
      return self.decide(evidence)
    except UndefinedError as error:
      return Answer(Verdict.UNDERPOWERED, "", str(error))

  def answer_by(self, evidence: Evidence, judge: str) -> Answer | None:
    """Returns the answer by another judge's win rates; None without them."""
    try:
      judged = judged_by(evidence, judge)
    except UndefinedError:
      return None
    return self.answer(judged)


@dataclasses.dataclass(frozen=True)
class AnsweredClaim:
  """A claim with its answer on one task.

  Attributes:
    claim: the claim.
    task: the task's name; "" if there is only one.
    answer: the answer, with the golden model as judge of wins.
    by_judge: the answers by "proxy" and "utility", if the claim depends on the
      judge and they judged.
  """

  claim: Claim
  task: str
  answer: Answer
  by_judge: Mapping[str, Answer] = dataclasses.field(default_factory=dict)

  @property
  def line(self) -> str:
    """One line for a terminal: the answer by the golden model."""
    task = f"{self.task}: " if self.task else ""
    return f"{task}{self.claim.name}: {self.answer}"

  @property
  def lines(self) -> list[str]:
    """A line for each judge."""
    task = f"{self.task}: " if self.task else ""
    return [self.line] + [
      f"{task}{self.claim.name}, by {TITLES[judge]}: {answer}"
      for judge, answer in self.by_judge.items()
    ]


def answer_all(
  evidence: Evidence, claims: Collection[Claim]
) -> list[AnsweredClaim]:
  """Answers claims from one task's evidence, in order."""
  return [
    AnsweredClaim(
      claim, evidence.task, claim.answer(evidence), _by_judge(claim, evidence)
    )
    for claim in claims
  ]


def _by_judge(claim: Claim, evidence: Evidence) -> dict[str, Answer]:
  if not claim.judged:
    return {}
  answers = {
    judge: claim.answer_by(evidence, judge) for judge in ("proxy", "utility")
  }
  return {judge: answer for judge, answer in answers.items() if answer}


def any_matches(names: Collection[str], patterns: Collection[str]) -> bool:
  """Returns whether any name matches any pattern.

  Args:
    names: names of arms.
    patterns: names, or shell patterns such as "*@*".
  """
  return any(
    fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns
  )
