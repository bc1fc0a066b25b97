"""Every figure is registered with its claims, and asked of its own studies."""

import dataclasses
import pathlib
import re

import pytest

from rlhf_gap.analysis import summary
from rlhf_gap.paper import registry, setting
from rlhf_gap.report import loading
from tests.analysis import exact
from tests.paper import answers

_SOURCES = pathlib.Path(__file__).parent


def test_every_claim_is_shown_in_one_section_and_tested_by_name():
  names = [claim.name for claim in registry.CLAIMS]
  assert len(set(names)) == len(names)
  shown = [claim for section in registry.SECTIONS for claim in section.claims]
  assert (*shown, *setting.CLAIMS) == registry.CLAIMS
  own = pathlib.Path(__file__)
  tests = [
    path.read_text() for path in _SOURCES.glob("test_*.py") if path != own
  ]
  for name in names:
    assert any(f'"{name}"' in text for text in tests), name


def test_every_section_owns_only_arms_that_ask_for_it():
  for section in registry.SECTIONS:
    assert not {"online", "offline", "tandem"} & set(section.own_arms)
  assert registry.is_ablation("online@xl")
  assert registry.is_ablation("reuse_4x16")
  assert not registry.is_ablation("golden_policy")


def test_a_study_is_not_asked_what_it_was_not_to_run():
  few = registry.asked_claims({"online", "offline", "tandem", "sft"})
  names = {claim.name for claim in few}
  assert "the gap stays at every size" not in names
  assert "better data do not close the gap" not in names
  assert {
    "accuracy says little of offline policies' win rates",
    registry.MAIN_CLAIM.name,
  } <= names
  every = registry.asked_claims(
    {
      *("online", "offline", "tandem", "final_final", "online_bo2"),
      *("offline_grid", "shuffle_1", "stale_never", "online@xl", "online_data"),
      *("tandem_bo2", "sft_early", "early_final"),
    }
  )
  assert every == registry.CLAIMS


@pytest.mark.parametrize(
  ("arm", "claim", "section"),
  [
    ("shuffle_40", "slight shuffling is harmless", "Figure 13"),
    ("stale_16", "slight off-policyness is harmless", "Between online"),
    ("reuse_4x16", "slight off-policyness is harmless", "Between online"),
    ("online@xl", "the gap stays at every size", "Figures 10, 11"),
  ],
)
def test_one_arm_of_a_kind_is_enough_to_be_asked(arm, claim, section):
  told = summary.TaskSummary("task", arms=("online", "offline", arm))
  asked = loading.MeasuredTask(
    told, exact.evidence(answers.flat_arms(online=0.5))
  ).planned
  assert claim in {one.name for one in registry.asked_claims(asked)}
  (shown,) = [s for s in registry.SECTIONS if s.title.startswith(section)]
  assert shown.is_wanted(asked)
  told = dataclasses.replace(told, arms=("online", "offline"))
  asked = loading.MeasuredTask(
    told, exact.evidence(answers.flat_arms(online=0.5))
  ).planned
  assert not shown.is_wanted(asked)


def test_every_claim_says_what_decides_it():
  for claim in registry.CLAIMS:
    assert "Supported if" in claim.rule, claim.name
    assert "contradicted" in claim.rule, claim.name
    # What stands for the paper has the paper's sentence and its place.
    if claim.source.startswith("Tang"):
      assert re.search(r"\((section|Appendix) ", claim.quote), claim.name


def test_the_fingerprint_covers_rules(monkeypatch):
  before = registry.fingerprint()
  first, *rest = registry.CLAIMS
  changed = dataclasses.replace(first, rule=f"{first.rule} Or not.")
  monkeypatch.setattr(registry, "CLAIMS", (changed, *rest))
  assert registry.fingerprint() != before
