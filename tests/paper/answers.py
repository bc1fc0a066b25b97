"""Shared by the tests of claims: answers, and how they are checked."""

from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.paper import registry
from tests.analysis import exact

YES, NO, OPEN = (
  Verdict.SUPPORTED,
  Verdict.CONTRADICTED,
  Verdict.UNDERPOWERED,
)
_BY_NAME = {claim.name: claim for claim in registry.CLAIMS}
# Seeds this far apart leave no difference of 0.2 or less certain.
WIDE = 0.2


def answer(name, evidence):
  return _BY_NAME[name].answer(evidence)


def check(name, evidence, verdict):
  """Checks a claim's verdict, and that its text is complete."""
  found = answer(name, evidence)
  assert found.verdict is verdict, found
  if verdict is not OPEN or found.numbers:
    assert "[" in found.numbers
    assert "seed" in found.numbers
    assert any(w in found.numbers for w in ("prompts", "pairs", "checkpoints"))
  if verdict is OPEN:
    assert found.reason


def flat_arms(**wins):
  """Arms whose win rate is the same at every KL."""
  return {name: exact.flat(win) for name, win in wins.items()}
