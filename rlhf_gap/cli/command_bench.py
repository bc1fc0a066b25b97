"""Measures the speed of a part of this program on this machine.

Other load on the machine changes the results: check it first.
"""

import argparse
import json

from rlhf_gap.cli import (
  bench_data,
  bench_judge,
  bench_sample,
  bench_score,
  bench_train,
)

TAKES_GIN = True

# A target is a module with a docstring, add_arguments(parser), and
# measure(arguments) -> results by name, with the unit in the name.
_TARGETS = {
  "data": bench_data,
  "judge": bench_judge,
  "sample": bench_sample,
  "score": bench_score,
  "train": bench_train,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares one subcommand per target."""
  targets = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
  for name, module in _TARGETS.items():
    summary = (module.__doc__ or "").split("\n")[0]
    target = targets.add_parser(
      name, help=summary, description=summary, allow_abbrev=False
    )
    target.add_argument(
      "--json", action="store_true", help="print one JSON object"
    )
    module.add_arguments(target)


def run(arguments: argparse.Namespace) -> int:
  """Measures one target and prints the results."""
  results = _TARGETS[arguments.what].measure(arguments)
  if arguments.json:
    print(json.dumps(results))
    return 0
  width = max(map(len, results))
  for name, value in results.items():
    shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
    print(f"{name:<{width}}  {shown}")
  return 0
