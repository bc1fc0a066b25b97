"""Measure how fast a part of this program runs here.

Figures depend on what else the machine is doing: look at its load first.
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
# measure(arguments) -> figures by name, units in the names.
_TARGETS = {
  "data": bench_data,
  "judge": bench_judge,
  "sample": bench_sample,
  "score": bench_score,
  "train": bench_train,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds a subcommand for each thing that can be measured."""
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
  """Measures one target and prints its figures."""
  figures = _TARGETS[arguments.what].measure(arguments)
  if arguments.json:
    print(json.dumps(figures))
    return 0
  width = max(map(len, figures))
  for name, figure in figures.items():
    shown = f"{figure:,.4g}" if isinstance(figure, float) else str(figure)
    print(f"{name:<{width}}  {shown}")
  return 0
