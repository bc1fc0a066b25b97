"""tools/paper_page.py: the README's line a figure, and the page."""

import importlib
import json

import pytest

from rlhf_gap.cli import gin_sources

ROOT = gin_sources.ROOT


@pytest.fixture
def paper_page(monkeypatch):
  monkeypatch.syspath_prepend(ROOT / "tools")
  return importlib.import_module("paper_page")


@pytest.fixture
def measurements():
  return json.loads((ROOT / "gin_configs/studies/paper_mini.json").read_text())


def test_readme_and_page_are_those_of_the_committed_answers(
  paper_page, measurements
):
  assert paper_page.table(measurements) in (ROOT / "README.md").read_text()
  page = (ROOT / "docs/paper_results.md").read_text()
  assert paper_page.text(measurements) == page


def test_every_answer_is_counted_once_in_the_table(paper_page, measurements):
  """No verdict is left out, whichever claim speaks for a figure."""
  table, *_ = paper_page.table(measurements).split("\n\n")
  lines = table.splitlines()[2:]
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  answers = [a for row in measurements["rows"] for a in row["answers"]]
  for verdict in ("supported", "contradicted", "underpowered"):
    counted = sum(
      _count(row[2], verdict) + _count(row[4], verdict) for row in cells
    )
    assert counted == sum(a["verdict"] == verdict for a in answers)


def _count(cell: str, verdict: str) -> int:
  words = cell.replace("*", "").replace(",", " ").split()
  if words == [verdict]:
    return 1
  return sum(
    int(number)
    for number, word in zip(words, words[1:], strict=False)
    if word == verdict
  )


def test_the_page_has_every_number(paper_page, measurements):
  page = paper_page.text(measurements)
  for row in measurements["rows"]:
    for answer in row["answers"]:
      assert answer["numbers"] in page
      assert answer["reason"] in page
