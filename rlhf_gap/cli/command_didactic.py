"""Runs a didactic problem of the field: trains, decides claims, plots.

  rlhf-gap didactic bandit --output=runs/didactic

bandit: on-policy samples, reuse and negative gradients (Tajwar et al. 2024).
lengths: the same for short, typical and skewed lengths. coverage: 8 x 8
responses, few of which pairs cover (Xu et al. 2024). counterexample: their
three actions. docs/didactic.md states settings and estimands.
"""

import argparse
import os

from rlhf_gap.cli import flag_types

_PROBLEMS = ("bandit", "coverage", "counterexample", "lengths")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap didactic`."""
  parser.add_argument("problem", choices=_PROBLEMS, help="which problem")
  parser.add_argument(
    "--output",
    type=flag_types.local,
    required=True,
    metavar="DIR",
    help="folder for the figures",
  )
  parser.add_argument(
    "--seeds",
    type=flag_types.whole(1, 1000),
    default=10,
    metavar="N",
    help="number of seeds (default: 10)",
  )


def run(arguments: argparse.Namespace) -> None:
  """Trains every arm, writes the figures and prints the answers."""
  from rlhf_gap import errors
  from rlhf_gap.didactic import registry
  from rlhf_gap.plotting import picture

  if os.path.exists(arguments.output) and not os.path.isdir(arguments.output):
    raise errors.UserError(
      f"--output={arguments.output}; expected a folder, found a file"
    )
  problem = registry.PROBLEMS[arguments.problem]
  curves = problem.measure(arguments.seeds)
  os.makedirs(arguments.output, exist_ok=True)
  for claim in problem.claims:
    print(f"{claim.name}: {claim.answer(curves)}")
  for each in problem.pictures(curves):
    print(f"{picture.write(each, arguments.output)}.png")
