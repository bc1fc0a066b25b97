"""Makes a study's report from its records: one HTML file, figures, verdicts.

  rlhf-gap report WORKDIR       writes WORKDIR/report/index.html

WORKDIR is the folder of `rlhf-gap study`, or the --output of `rlhf-gap
evaluate`. Nothing is measured again; the same records give the same report.
"""

import argparse

from rlhf_gap.cli import flag_types


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap report`."""
  add = parser.add_argument
  add("workdir", type=flag_types.local, metavar="WORKDIR")
  add(
    "--output",
    type=flag_types.local,
    metavar="DIR",
    help="where to write (WORKDIR/report)",
  )
  add(
    "--log_base",
    type=flag_types.real(1, above=True),
    default=10.0,
    help="of KL axes (default: 10)",
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
    help="of the bootstrap (default: 0)",
  )


def run(arguments: argparse.Namespace) -> None:
  """Writes the report and prints holes, verdicts and its path."""
  from rlhf_gap.analysis import statistics
  from rlhf_gap.report import build

  settings = statistics.BootstrapSettings(arguments.replicates, arguments.seed)
  options = build.Options(settings, arguments.log_base)
  made = build.make(arguments.workdir, options, output=arguments.output)
  for line in made.lines():
    print(line)
