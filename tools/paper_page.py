"""The paper's figures as Markdown, from paper_mini.json: table and page."""

import collections
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rlhf_gap.analysis.judges import TITLES
from rlhf_gap.paper import registry

_FOUR = "four_minis.gin"
_STUDIES = "gin_configs/studies"
# An estimate with its interval: +0.088 [+0.030, +0.146].
_SIGNED = re.compile(r"[+-]\d[\d.]* \[[^\]]*\]")
_ESTIMATE = re.compile(r"\d[\d.]* \[[^\]]*\]")


class _Line(NamedTuple):
  """A line of README.md's table: the claim that represents a figure.

  Attributes:
    figure: of the paper.
    row: `figures` of the row in the JSON file.
    claim: the figure's main claim.
    quantity: what the line's number measures.
    former: the claim's former name, in measurements made before it was renamed.
  """

  figure: str
  row: str
  claim: str
  quantity: str
  former: str = ""

  @property
  def names(self) -> frozenset[str]:
    """The claim's names, now and formerly."""
    return frozenset({self.claim, self.former} - {""})


_LINES = (
  _Line("1", "1, 4", "online beats offline", "win rate, online - offline"),
  _Line(
    "4",
    "1, 4",
    "shuffled online data do not close the gap",
    "win rate, online - shuffled online data",
  ),
  _Line(
    "1, full grid",
    "1, full grid",
    "online beats the full grid",
    "win rate, online - offline",
  ),
  _Line(
    "5",
    "5",
    "better data do not close the gap",
    "win rate, online - offline on the final policy's pairs",
  ),
  _Line(
    "6",
    "6",
    "the proxy knows online data best",
    "accuracy on online pairs, proxy - online policy",
  ),
  _Line(
    "7",
    "7",
    "accuracy says little of offline policies' win rates",
    "Pearson's r of accuracy and win rate",
    former="better classifiers do not win more often",
  ),
  _Line(
    "8",
    "8",
    "offline makes the better classifier",
    "accuracy on golden pairs, offline - online",
  ),
  _Line(
    "9",
    "9",
    "the gap needs no contrast",
    "win rate, online - offline, both with Best-of-2",
  ),
  _Line(
    "10, 11, 14",
    "10, 11, 14",
    "the gap stays at every size",
    "win rate, online - offline, smallest policy",
  ),
  _Line(
    "12",
    "12",
    "no mixture of data closes the gap",
    "win rate, online - offline on the final policy's pairs",
  ),
  _Line(
    "13",
    "13",
    "an exact replay is the online run",
    "share of replays equal to their run",
  ),
  _Line(
    "App. E.1",
    "App. E.1",
    "self-classification is chance",
    "accuracy on own samples, online",
  ),
  _Line(
    "App. H",
    "App. H",
    "the optimum's theory does not explain the gap",
    "win rate against SFT, online - offline",
  ),
  _Line(
    "none: staleness",
    "none: staleness",
    "slight off-policyness is harmless",
    "win rate, online - refreshed every 4 steps",
  ),
)

_OUTDATED = """\
This table predates the current wording of the claims, which follows the paper
more closely and adds the hidden utility as a judge; a study run now answers the
current claims.
"""

_HEAD = """\
# The paper, figure by figure

Written by `tools/paper_table.py` from `gin_configs/studies/paper_mini.json`. Do
not edit this page by hand.

Every result below was measured on miniatures. Results that contradict the paper
stand next to those that agree. Numbers in brackets are 95% intervals over
prompts and seeds. [How verdicts are decided](statistics.md) defines the
verdicts; a difference of 0.02 is the smallest that would matter. In the
numbers, "x less y" is the difference x - y.

Each study file makes its own figures. Its minutes are those of its stages in
the run of all figures, on two cores. All figures together, `paper_mini.gin`,
took {minutes} minutes (Python {python}, JAX {jax}):

```bash
rlhf-gap study --gin_file=gin_configs/studies/paper_mini.gin \\
  --workdir=runs/paper_mini
```

The study's report, `report/index.html` in its folder, has the pictures and
lists every departure from the paper.
"""


def table(measurements: Mapping[str, Any]) -> str:
  """Returns README.md's table: a line a figure.

  Args:
    measurements: of paper_mini.json.
  """
  rows = {row["figures"]: row for row in measurements["rows"]}
  # A figure's other claims are counted once, on the first line of its row.
  heads = {name for line in _LINES for name in line.names}
  counted: set[str] = set()
  lines = [
    "| figure | claim | verdict | number | the figure's other claims |",
    "|---|---|---|---|---|",
  ]
  for line in _LINES:
    answers = rows[line.row]["answers"]
    main = [a for a in answers if a["claim"] in line.names]
    others = [a for a in answers if a["claim"] not in heads]
    tally = "" if line.row in counted else _tally(others)
    counted.add(line.row)
    lines.append(
      f"| {line.figure} | {_asked(main)} | {_verdicts(main)} |"
      f" {_number(main, line.quantity)} | {tally} |"
    )
  return "\n".join(lines) + "\n" + _outdated(measurements, "\n")


def _outdated(measurements: Mapping[str, Any], before: str = "") -> str:
  """Returns a paragraph if the claims have been revised since; else ""."""
  if measurements.get("claims") == registry.fingerprint():
    return ""
  return f"{before}{_OUTDATED}"


def _asked(answers: Sequence[Mapping[str, Any]]) -> str:
  """Returns the claim as it was when it was answered."""
  return answers[0]["claim"] if answers else ""


def _verdicts(answers: Sequence[Mapping[str, Any]]) -> str:
  """Returns a claim's verdict; of several tasks, how many have each."""
  if not answers:
    raise ValueError("paper_mini.json has no answer to this claim")
  if len(answers) == 1:
    return f"**{answers[0]['verdict']}**"
  return f"**{_tally(answers)}** (4 miniatures)"


def _tally(answers: Sequence[Mapping[str, Any]]) -> str:
  counts = collections.Counter(answer["verdict"] for answer in answers)
  return ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def _number(answers: Sequence[Mapping[str, Any]], quantity: str) -> str:
  """Returns the first answer's first number, and what it measures."""
  numbers = answers[0]["numbers"]
  match = _SIGNED.search(numbers) or _ESTIMATE.search(numbers)
  if match is None:
    return numbers.partition(";")[0]
  task = f", {_task(answers[0])}" if len(answers) > 1 else ""
  return f"{match.group()} ({quantity}{task})"


def text(measurements: Mapping[str, Any]) -> str:
  """Returns the page docs/paper_results.md.

  Args:
    measurements: of paper_mini.json.
  """
  head = _HEAD.format(
    minutes=measurements["minutes"],
    python=measurements["python"],
    jax=measurements["packages"]["jax"],
  )
  sections = ("\n".join(_section(row)).rstrip() for row in measurements["rows"])
  note = _outdated(measurements, "\n")
  return head + note + "\n" + "\n\n".join(sections) + "\n"


def _section(row: Mapping[str, Any]) -> Iterator[str]:
  file = row["file"]
  name = file.rpartition("/")[2].removesuffix(".gin")
  yield f"## {_title(row['figures'])}"
  yield ""
  yield "```bash"
  yield f"rlhf-gap study --gin_file={_STUDIES}/{file} \\"
  yield f"  --workdir=runs/{name}"
  yield "```"
  yield ""
  yield f"{row['minutes']} minutes."
  claims: dict[str, list[Mapping[str, Any]]] = {}
  for answer in row["answers"]:
    claims.setdefault(answer["claim"], []).append(answer)
  for claim, answers in claims.items():
    yield ""
    yield f"**{claim[0].upper()}{claim[1:]}**"
    yield ""
    for answer in answers:
      where = f"{_task(answer)}: " if file == _FOUR else ""
      numbers = "; ".join(filter(None, (answer["numbers"], answer["reason"])))
      yield f"- {where}**{answer['verdict']}**. {numbers}"
      for judge, other in answer.get("by_judge", {}).items():
        numbers = "; ".join(filter(None, (other["numbers"], other["reason"])))
        yield f"  - by {TITLES[judge]}: **{other['verdict']}**. {numbers}"
  yield ""


def _task(answer: Mapping[str, Any]) -> str:
  return answer["task"].removeprefix("mini_")


def _title(figures: str) -> str:
  if figures.startswith("none: "):
    return f"Not in the paper: {figures.removeprefix('none: ')}"
  if figures.startswith("App."):
    return figures.replace("App.", "Appendix")
  several = "," in figures and all(
    x.strip().isdigit() for x in figures.split(",")
  )
  return f"Figure{'s' if several else ''} {figures}"
