"""Writes the results of docs/didactic.md, by running every problem.

Usage: python tools/didactic_table.py [--seeds=10]

It takes about two minutes of CPU time. The verdicts' discussion below the table
is prose: read it again if a verdict changes.
"""

import argparse
import pathlib
import sys

from rlhf_gap.didactic import registry

_PAGE = pathlib.Path(__file__).parents[1] / "docs" / "didactic.md"
_HEADER = "| problem | claim | verdict | number |\n|---|---|---|---|\n"


def table(seeds: int) -> str:
  """Returns every claim's answer as a Markdown table."""
  rows = []
  for name, problem in registry.PROBLEMS.items():
    curves = problem.measure(seeds)
    for claim in problem.claims:
      answer = claim.answer(curves)
      cells = (name, claim.name, str(answer.verdict), answer.numbers)
      rows.append(f"| {' | '.join(cells)} |\n")
  return _HEADER + "".join(rows)


def main() -> int:
  """Parses the flags and rewrites the table; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--seeds", type=int, default=10)
  text = _PAGE.read_text(encoding="utf-8")
  start = text.index(_HEADER)
  end = text.index("\n\n", start) + 1
  made = table(parser.parse_args().seeds)
  _PAGE.write_text(text[:start] + made + text[end:], encoding="utf-8")
  print(made)
  return 0


if __name__ == "__main__":
  sys.exit(main())
