"""Whose opinion counts as a win: golden model, proxy, or hidden utility."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from rlhf_gap.analysis import arms
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.records import RunRecord

WIN_RATES: Mapping[str, str] = MappingProxyType(
  {
    "golden": arms.WIN,
    "proxy": f"proxy_{arms.WIN}",
    "utility": f"utility_{arms.WIN}",
  }
)
"""The metric of each judge's win rate against the golden policy."""

GOLDEN_WIN = f"golden_{arms.WIN}"
"""Where `judged_by` keeps the golden model's win rates."""

TITLES: Mapping[str, str] = MappingProxyType(
  {
    "golden": "the golden model",
    "proxy": "the proxy",
    "utility": "the hidden utility",
  }
)

_AGAINST_SFT = "_vs_reference"

_T = TypeVar("_T")


def judged_by(evidence: Evidence, judge: str) -> Evidence:
  """Returns the evidence with another judge's win rates in golden's place.

  Every claim about win rates can then be answered as that judge would have it.

  Args:
    evidence: one task's evidence.
    judge: a key of `WIN_RATES`.

  Returns:
    The evidence. Arms that the judge did not judge are left out, as are its
    win rates against SFT where there are none.

  Raises:
    UndefinedError: the judge judged no arm.
  """
  if judge == "golden":
    return evidence
  judged = {
    name: _arm(arm, judge)
    for name, arm in evidence.arms.items()
    if arm.has(WIN_RATES[judge])
  }
  if not judged:
    raise UndefinedError(f"{TITLES[judge]} judged no arm")
  records = tuple(
    _record(record, judge)
    for record in evidence.records
    if WIN_RATES[judge] in record.by_prompt
  )
  return dataclasses.replace(evidence, arms=judged, records=records)


def _arm(arm: arms.Arm, judge: str) -> arms.Arm:
  configurations = tuple(
    dataclasses.replace(
      configuration,
      runs=tuple(
        dataclasses.replace(run, outcomes=_substituted(run.outcomes, judge))
        for run in configuration.runs
      ),
    )
    for configuration in arm.configurations
  )
  return dataclasses.replace(arm, configurations=configurations)


def _record(record: RunRecord, judge: str) -> RunRecord:
  return dataclasses.replace(
    record,
    by_prompt=_substituted(record.by_prompt, judge),
    metrics=_substituted(record.metrics, judge),
  )


def _substituted(values: Mapping[str, _T], judge: str) -> dict[str, _T]:
  own = WIN_RATES[judge]
  changed = dict(values)
  for suffix in ("", _AGAINST_SFT):
    if arms.WIN + suffix in values:
      changed[GOLDEN_WIN + suffix] = changed.pop(arms.WIN + suffix)
    if own + suffix in values:
      changed[arms.WIN + suffix] = values[own + suffix]
  return changed
