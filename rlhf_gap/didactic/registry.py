"""Every didactic problem, by its name on the command line."""

from rlhf_gap.didactic.bandit import BANDIT
from rlhf_gap.didactic.counterexample import COUNTEREXAMPLE
from rlhf_gap.didactic.coverage import COVERAGE
from rlhf_gap.didactic.lengths import LENGTHS
from rlhf_gap.didactic.problem import Problem

PROBLEMS: dict[str, Problem] = {
  "bandit": BANDIT,
  "coverage": COVERAGE,
  "counterexample": COUNTEREXAMPLE,
  "lengths": LENGTHS,
}
