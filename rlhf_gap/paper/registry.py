"""Every figure of the paper that a report shows: its import and its line."""

import hashlib
import json
from collections.abc import Collection

from rlhf_gap.analysis.claims import Claim, any_matches
from rlhf_gap.paper import (
  app_e1,
  app_h,
  fig_01_04,
  fig_05_12,
  fig_06,
  fig_07_08,
  fig_09,
  fig_10_11_14,
  fig_13,
  setting,
  staleness,
)
from rlhf_gap.paper.section import Section

SECTIONS: tuple[Section, ...] = (
  fig_01_04.FIGURES_1_AND_4,
  fig_01_04.FULL_GRID,
  fig_05_12.FIGURE_5,
  fig_06.FIGURE_6,
  fig_07_08.FIGURE_7,
  fig_07_08.FIGURE_8,
  fig_09.FIGURE_9,
  fig_10_11_14.FIGURES_10_11_AND_14,
  fig_05_12.FIGURE_12,
  fig_13.FIGURE_13,
  app_e1.APPENDIX_E1,
  app_h.APPENDIX_H,
  staleness.STALENESS,
)
"""In the order of the report."""

MAIN_CLAIM = fig_01_04.ONLINE_BEATS_OFFLINE
"""The claim whose answer is the study's answer."""

GATE = setting.GOLDEN_JUDGES_WELL
"""The claim without which answers by the golden model say little."""

CLAIMS: tuple[Claim, ...] = (
  *(claim for section in SECTIONS for claim in section.claims),
  *setting.CLAIMS,
)
"""In the order of the report."""


def fingerprint() -> str:
  """Returns SHA-256 of all claims' wordings and rules.

  A study's records carry it, to tell whether claims were changed after it ran.
  """
  wordings = [[c.name, c.statement, c.source, c.quote, c.rule] for c in CLAIMS]
  return hashlib.sha256(json.dumps(wordings).encode()).hexdigest()


def asked_claims(planned: Collection[str]) -> tuple[Claim, ...]:
  """Returns the claims that a study is to answer.

  Args:
    planned: names of its arms, finished or not; "online_data" if it classifies
      pairs of the online runs.
  """
  return tuple(claim for claim in CLAIMS if claim.is_asked(planned))


def is_ablation(arm: str) -> bool:
  """Returns whether an arm belongs to one figure alone."""
  return any(any_matches((arm,), section.own_arms) for section in SECTIONS)
