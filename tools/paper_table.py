"""Writes the paper's figures: one line each in README.md, all numbers in docs.

Usage: python tools/paper_table.py WORKDIR
       python tools/paper_table.py --check

The first answers every claim from the records of paper_mini.gin's folder and
writes gin_configs/studies/paper_mini.json. From that file it writes the table
of README.md and the page docs/paper_results.md.
The check needs no study: it fails if either is not what the JSON says.
Minutes are those of a study file's stages from nothing, shared by two cores.
"""

import argparse
import json
import pathlib
import sys
from typing import Any, NamedTuple

import paper_page

from rlhf_gap import errors
from rlhf_gap.analysis import claims, statistics, summary
from rlhf_gap.cli import gin_files
from rlhf_gap.paper import registry
from rlhf_gap.paper.section import Section
from rlhf_gap.report import loading
from rlhf_gap.study import experiment, pipeline

_ROOT = pathlib.Path(__file__).parents[1]
_README = _ROOT / "README.md"
_STUDIES = "gin_configs/studies"
_JSON = _ROOT / _STUDIES / "paper_mini.json"
_PAGE = _ROOT / "docs" / "paper_results.md"
_BEGIN, _END = (
  "<!-- made by tools/paper_table.py -->\n",
  "<!-- until here -->\n",
)
_CORES = 2
_WHOLE = f"{_STUDIES}/paper_mini.gin"


class _Row(NamedTuple):
  """A line of the table, before its numbers.

  Attributes:
    figures: of the paper.
    section: the beginning of its title in `registry.SECTIONS`.
    file: the study file that makes it by itself.
  """

  figures: str
  section: str
  file: str


_ROWS = (
  _Row("1, 4", "Figures 1 and 4:", "four_minis.gin"),
  _Row("1, full grid", "Figure 1:", "figures/fig_1_grid.gin"),
  _Row("5", "Figure 5:", "figures/fig_5_12.gin"),
  _Row("6", "Figure 6:", "figures/fig_6.gin"),
  _Row("7", "Figure 7:", "laptop.gin"),
  _Row("8", "Figure 8:", "laptop.gin"),
  _Row("9", "Figure 9:", "figures/fig_9.gin"),
  _Row("10, 11, 14", "Figures 10, 11", "figures/fig_10_11_14.gin"),
  _Row("12", "Figure 12:", "figures/fig_5_12.gin"),
  _Row("13", "Figure 13:", "figures/fig_13.gin"),
  _Row("App. E.1", "Appendix E.1:", "laptop.gin"),
  _Row("App. H", "Appendix H:", "laptop.gin"),
  _Row("none: staleness", "Between online", "figures/staleness.gin"),
)


def _section(row: _Row) -> Section:
  (found,) = [s for s in registry.SECTIONS if s.title.startswith(row.section)]
  return found


def _minutes(seconds: dict[str, float], file: str) -> float:
  """What the stages of a study file took, shared by the cores."""
  path = [f"{_STUDIES}/{file}"]
  gin_files.parse(path)
  study = gin_files.construct(experiment.Study, path, [])
  names = [stage.name for stage in pipeline.stages(study)]
  absent = [name for name in names if name not in seconds]
  if absent:
    raise errors.UserError(
      f"the study has no stage {absent[0]}, which {file} needs; expected the"
      f" folder of {_WHOLE}, run last by that file"
    )
  return sum(seconds[name] for name in names) / 60 / _CORES


def measured(workdir: str) -> dict[str, Any]:
  """Returns what the table and the page are made of, as JSON takes it.

  Args:
    workdir: of the study.

  Raises:
    UserError: there is none, or stages are missing.
  """
  study = summary.read(workdir)
  if study is None:
    raise errors.UserError(f"{workdir}: no study; expected one of {_WHOLE}")
  missing = [s.name for s in study.stages if s.status != "done"]
  if missing:
    raise errors.UserError(
      f"{workdir}: {len(missing)} stages are not done, such as {missing[0]};"
      " run the study again"
    )
  seconds = {stage.name: stage.seconds or 0.0 for stage in study.stages}
  tasks = list(loading.load(workdir, study, statistics.BootstrapSettings()))
  answers = [answered for task in tasks for answered in task.answers()]
  first = next(r for task in tasks for r in task.evidence.records)
  rows = []
  for row in _ROWS:
    section = _section(row)
    rows.append(
      {
        "figures": row.figures,
        "file": row.file,
        "minutes": round(_minutes(seconds, row.file)),
        "answers": [
          {
            "claim": one.claim.name,
            "task": one.task,
            **_as_json(one.answer),
            "by_judge": {
              judge: _as_json(answer) for judge, answer in one.by_judge.items()
            },
          }
          for claim in section.claims
          for one in answers
          if one.claim is claim
          and (
            row.file == "four_minis.gin" or one.task == tasks[0].described.name
          )
        ],
      }
    )
  return {
    "claims": registry.fingerprint(),
    "python": first.code.python,
    "packages": dict(first.code.packages),
    "minutes": round(sum(seconds.values()) / 60 / _CORES),
    "rows": rows,
  }


def _as_json(answer: claims.Answer) -> dict[str, str]:
  return {
    "verdict": str(answer.verdict),
    "numbers": answer.numbers,
    "reason": answer.reason,
  }


def _parts(text: str) -> tuple[str, str, str]:
  before, _, rest = text.partition(_BEGIN)
  inside, _, after = rest.partition(_END)
  return before, inside, after


def _outputs(measurements: dict[str, Any]) -> dict[pathlib.Path, str]:
  """Returns what README.md and the page should hold."""
  before, _, after = _parts(_README.read_text())
  table = paper_page.table(measurements)
  return {
    _README: f"{before}{_BEGIN}{table}{_END}{after}",
    _PAGE: paper_page.text(measurements),
  }


def _check() -> int:
  outputs = _outputs(json.loads(_JSON.read_text()))
  stale = [path for path, text in outputs.items() if path.read_text() != text]
  for path in stale:
    print(
      f"OUT OF DATE: {path.name} is not what {_JSON.name} says; run"
      " tools/paper_table.py WORKDIR",
      file=sys.stderr,
    )
  if not stale:
    print("the table and the page are what was measured")
  return int(bool(stale))


def main() -> int:
  """Parses the flags; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("workdir", nargs="?")
  parser.add_argument("--check", action="store_true", help="read no study")
  arguments = parser.parse_args()
  if arguments.check:
    return _check()
  if arguments.workdir is None:
    parser.error("expected a study's folder, or --check")
  try:
    found = measured(arguments.workdir)
  except errors.UserError as error:
    print(f"paper_table: {error}", file=sys.stderr)
    return 2
  _JSON.write_text(json.dumps(found, indent=1) + "\n")
  for path, text in _outputs(found).items():
    path.write_text(text)
  return 0


if __name__ == "__main__":
  sys.exit(main())
