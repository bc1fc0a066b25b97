"""Claims that an arm wins more often than others, or loses little to one."""

from rlhf_gap.analysis import comparison
from rlhf_gap.analysis.claims import Answer
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.verdicts import all_of


def is_ahead_of_all(
  evidence: Evidence, first: str, others: tuple[str, ...]
) -> Answer:
  """Decides whether an arm is ahead of every other arm at matched KL.

  Args:
    evidence: one task's evidence.
    first: the arm that should be ahead.
    others: the arms that should be behind.
  """
  ahead = evidence.arm(first)
  compared = [
    comparison.compare(evidence, ahead, evidence.arm(name)) for name in others
  ]
  verdict, reason = all_of(
    [each.exceeds(num_parts=len(compared)) for each in compared]
  )
  numbers = "; ".join(each.numbers for each in compared)
  return Answer(verdict, numbers, reason)


def gains_little(evidence: Evidence, first: str, second: str) -> Answer:
  """Decides whether an arm gains too little over another to matter."""
  compared = comparison.compare(
    evidence, evidence.arm(first), evidence.arm(second)
  )
  verdict, reason = compared.is_harmless()
  return Answer(verdict, compared.numbers, reason)


def loses_little_to_online(evidence: Evidence, name: str) -> Answer:
  """Decides whether an arm loses too little to online to matter."""
  compared = comparison.compare(
    evidence, evidence.arm("online"), evidence.arm(name)
  )
  verdict, reason = compared.is_harmless()
  return Answer(verdict, compared.numbers, reason)
