"""Writes a study's report from its records: an HTML page with figures.

  rlhf-gap report WORKDIR       writes WORKDIR/report/index.html

WORKDIR is the folder of `rlhf-gap study`, or the --output of `rlhf-gap
evaluate`. Nothing is measured again: equal records give equal reports.
"""

import argparse

from rlhf_gap.cli import flag_types


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap report`."""
  add = parser.add_argument
  add(
    "workdir",
    type=flag_types.local,
    metavar="WORKDIR",
    help="folder of the records",
  )
  add(
    "--output",
    type=flag_types.local,
    metavar="DIR",
    help="folder for the report (default: WORKDIR/report)",
  )
  add(
    "--log_base",
    type=flag_types.real(1, above=True),
    default=10.0,
    help="base of logarithmic KL axes (default: 10)",
  )
  add(
    "--replicates",
    type=flag_types.count,
    default=1000,
    help="bootstrap replicates (default: 1000)",
  )
  add(
    "--seed",
    type=flag_types.seed,
    default=0,
    help="seed of the bootstrap (default: 0)",
  )


def run(arguments: argparse.Namespace) -> None:
  """Writes the report and prints missing results, verdicts and its path."""
  from rlhf_gap.analysis import statistics
  from rlhf_gap.report import build

  settings = statistics.BootstrapSettings(arguments.replicates, arguments.seed)
  options = build.Options(settings, arguments.log_base)
  report = build.make(arguments.workdir, options, output=arguments.output)
  for line in report.lines():
    print(line)
