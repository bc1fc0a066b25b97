"""The page of plans made by tools/plan_page.py."""

import importlib
import json

import pytest

from rlhf_gap.cli import gin_sources

ROOT = gin_sources.ROOT


@pytest.fixture
def page(monkeypatch):
  monkeypatch.syspath_prepend(gin_sources.ROOT / "tools")
  return importlib.import_module("plan_page")


@pytest.fixture
def rows():
  return json.loads((ROOT / "gin_configs/runs/plans.json").read_text())


def test_the_committed_page_matches_the_committed_rows(page, rows):
  assert page.text(rows) == (ROOT / "docs/plans.md").read_text()


def test_a_row_whose_first_program_does_not_fit(page, rows):
  """Nothing was compiled, so there is no memory and no time to show."""
  row = rows[0]
  row["plan"] |= {
    "fits": False,
    "too_large": "the compiler needs 20.5 GiB a chip",
    "program_memory": {},
    "bounds": [],
    "per_token": None,
    "compiler_seconds": {},
    "step_seconds": None,
    "chip_hours": None,
  }
  begin = f"| Large: {row['title']} | {row['plan']['topology']} |"
  lines = [x for x in page.text([row]).splitlines() if x.startswith(begin)]
  costs, times, memory, _ = lines
  assert "| DOES NOT FIT |" in costs
  assert times == begin + " - |" * 5
  assert memory.endswith(" | - | - |")
