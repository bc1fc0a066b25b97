"""Makes a study's report from its records: one HTML file, figures, verdicts.

  rlhf-gap report WORKDIR       writes WORKDIR/report/index.html

WORKDIR is the folder of `rlhf-gap study`, or the --output of `rlhf-gap
evaluate`. Nothing is measured again; the same records give the same report.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap report`."""
  add = parser.add_argument
  add("workdir", metavar="WORKDIR")
  add("--output", metavar="DIR", help="where to write (WORKDIR/report)")
  add("--log_base", type=float, default=10.0, help="of KL axes (default: 10)")
  add("--replicates", type=int, default=1000, help="bootstrap resamples (1000)")
  add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace) -> None:
  """Writes the report and prints holes, verdicts and its path."""
  from rlhf_gap.analysis import statistics
  from rlhf_gap.report import build

  settings = statistics.BootstrapSettings(arguments.replicates, arguments.seed)
  options = build.Options(settings, arguments.log_base)
  made = build.make(arguments.workdir, options, output=arguments.output)
  for line in made.lines():
    print(line)
