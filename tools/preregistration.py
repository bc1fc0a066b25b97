"""Writes docs/preregistration.md: what every claim's answer depends on.

Usage: python tools/preregistration.py [--check]

The page is made from the claims themselves, so it cannot say anything else than
what the code decides. With --check, nothing is written; the exit code is 1 if
the page in the repository differs.
"""

import argparse
import pathlib
import sys
import textwrap
from collections.abc import Iterator

from rlhf_gap.analysis.claims import Claim
from rlhf_gap.paper import registry, setting
from rlhf_gap.paper.section import Section

_PAGE = pathlib.Path(__file__).parents[1] / "docs" / "preregistration.md"
_WIDTH = 80

_INTRODUCTION = """\
# Estimands and rules, fixed before the runs

Written by `tools/preregistration.py` from the claims in `rlhf_gap/paper`. Do
not edit it: CI compares the two.

A study notes the fingerprint of these claims in its folder before its first
stage runs. A report of a study that was begun under other claims says so.

- fingerprint: `{fingerprint}`
- A difference of win rates that would matter: 0.02. Intervals have 95%, over
  prompts and seeds; fewer than three seeds decide nothing.
  [Statistics](statistics.md) has the bootstrap, the frontiers, and what a claim
  of several parts needs.
- Each claim stands by itself. Among many claims, chance alone decides one in
  forty each way.
- The golden model's answer is the claim's. Claims marked "three judges" are
  also answered by the proxy and, on miniatures, by the hidden utility.
- With `--decide`, the looks are planned before the first and a claim keeps the
  answer of the look that decides it.

Changes after results had been seen, in the miniature studies: beta moved from
0.1 to 0.5 and the golden policy's training was cut to 40 steps, because with
more steps it over-optimizes the golden model. The claims on Figures 1, 4, 7, 9
and 12 and Appendix H were later corrected to the paper's own sentences, after a
review had found that they said something else.
"""


def page() -> str:
  """Returns the page's text."""
  lines = [_INTRODUCTION.format(fingerprint=registry.fingerprint())]
  for section in registry.SECTIONS:
    lines += _section(section)
  lines.append("## What a study must satisfy\n")
  for claim in setting.CLAIMS:
    lines += _claim(claim)
  return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
  yield f"## {section.title}\n"
  for claim in section.claims:
    yield from _claim(claim)


def _claim(claim: Claim) -> Iterator[str]:
  yield f"### {claim.name[:1].upper()}{claim.name[1:]}\n"
  yield _filled(claim.statement)
  if claim.quote:
    yield _filled(f"> {claim.source}: \u201c{claim.quote}\u201d", "> ")
  else:
    yield _filled(f"> {claim.source}", "> ")
  judges = "three judges" if claim.judged else "one answer"
  yield _filled(f"- Number and rule ({judges}): {claim.rule}", "  ")
  if claim.requires_any:
    arms = ", ".join(f"`{name}`" for name in claim.requires_any)
    yield _filled(f"- Asked if a study plans one of: {arms}", "  ")


def _filled(text: str, indent: str = "") -> str:
  filled = textwrap.fill(
    text,
    _WIDTH,
    subsequent_indent=indent,
    break_long_words=False,
    break_on_hyphens=False,
  )
  return f"{filled}\n"


def main() -> int:
  """Writes or checks the page; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--check", action="store_true")
  text = page()
  if not parser.parse_args().check:
    _PAGE.write_text(text, encoding="utf-8")
    print(f"{_PAGE.name}: {len(registry.CLAIMS)} claims")
    return 0
  written = _PAGE.read_text(encoding="utf-8") if _PAGE.exists() else ""
  if written == text:
    print(f"{_PAGE.name}: as the claims")
    return 0
  print(
    f"{_PAGE.name} differs from the claims: run tools/preregistration.py",
    file=sys.stderr,
  )
  return 1


if __name__ == "__main__":
  sys.exit(main())
