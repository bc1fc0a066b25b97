"""Writes a study's report as one HTML file, from records alone.

report/index.html             everything, in one file
report/figures/<task>/*.svg   every figure, also as .png, its numbers as .csv
"""

import dataclasses
import math
import os
from collections.abc import Sequence

from rlhf_gap import errors, files
from rlhf_gap.analysis import (
  comparison,
  judges,
  looks,
  statistics,
  summary,
  verdicts,
)
from rlhf_gap.analysis.claims import Answer, AnsweredClaim
from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.paper import departures, registry
from rlhf_gap.paper.section import Section
from rlhf_gap.report import gallery, loading, own_pairs, page, tables
from rlhf_gap.report.gallery import Gallery, Shown
from rlhf_gap.report.loading import MeasuredTask

_SHORT_ANSWER = {
  Verdict.SUPPORTED: "Yes",
  Verdict.CONTRADICTED: "No",
  Verdict.UNDERPOWERED: "Not decided",
  Verdict.MOOT: "Not applicable",
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How a report is made.

  Attributes:
    settings: settings of the bootstraps.
    log_base: base of the KL axes' logarithm.
  """

  settings: statistics.BootstrapSettings = statistics.BootstrapSettings()
  log_base: float = 10.0

  def __post_init__(self) -> None:
    if self.settings.replicates < 100:
      raise errors.UserError(
        f"--replicates={self.settings.replicates}; expected at least 100, since"
        " intervals from fewer are noise"
      )
    if self.settings.seed < 0:
      raise errors.UserError(f"--seed={self.settings.seed}; expected 0 or more")
    if not 1 < self.log_base < math.inf:
      raise errors.UserError(
        f"--log_base={self.log_base:g}; expected a number above 1, such as 10"
      )


@dataclasses.dataclass(frozen=True)
class Report:
  """A report that was written.

  Attributes:
    path: where the page is.
    answered: every claim on every task.
    holes: what is missing, a line each.
    warnings: why answers by the golden model say little, a line per task.
    notes: what the golden labels of one's own pairs mean, a line per task.
  """

  path: str
  answered: tuple[AnsweredClaim, ...]
  holes: tuple[str, ...]
  warnings: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()

  def lines(self) -> list[str]:
    """Returns what a terminal shows; the main claim's answers come last."""
    main = _main_answers(self.answered)
    others = [each for each in self.answered if each not in main]
    return [
      *(f"hole: {hole}" for hole in self.holes),
      *(each.line for each in others),
      *(f"warning: {warning}" for warning in self.warnings),
      *(f"note: {note}" for note in self.notes),
      f"report: {self.path}",
      *(line for each in main for line in each.lines),
    ]


def make(
  workdir: str, options: Options, *, output: str | None = None
) -> Report:
  """Reads a study's folder and writes its report.

  Args:
    workdir: holds `study.json`, or only `records.jsonl`.
    options: how to make it.
    output: the folder to write to; None is WORKDIR/report.

  Returns:
    Where the page is, and what it says.

  Raises:
    UserError: there is nothing to report on, a file is damaged, records cannot
      be compared, or `output` is not a folder.
  """
  study = summary.read(workdir)
  settings = options.settings
  if study is not None:
    settings = dataclasses.replace(settings, confidence=study.confidence)
  tasks = list(loading.load(workdir, study, settings))
  output = output or os.path.join(workdir, "report")
  if os.path.exists(output) and not os.path.isdir(output):
    raise errors.UserError(
      f"{output}: is a file; expected a folder to write to"
    )
  os.makedirs(output, exist_ok=True)
  decided = study.decisions if study else ()
  answered = [
    looks.final(answer, decided) for task in tasks for answer in task.answers()
  ]
  report = Report(
    os.path.join(output, "index.html"),
    tuple(answered),
    tuple(_holes(study, tasks)),
    tuple(_warnings(answered)),
    tuple(n for task in tasks for n in own_pairs.notes(task.described)),
  )
  galleries = gallery.plot_all(tasks, options.log_base, output)
  views = [
    _task_view(task, pictures, answered)
    for task, pictures in zip(tasks, galleries, strict=True)
  ]
  # Without `study.json`, the folder's name is all that is known.
  known = study or summary.Summary(os.path.basename(os.path.abspath(workdir)))
  text = page.render(
    "page.html.j2",
    report=report,
    study=known,
    tasks=views,
    settings=settings,
    **_about(known, tasks, answered),
  )
  files.write_text(report.path, text)
  return report


def _about(
  study: summary.Summary,
  tasks: Sequence[MeasuredTask],
  answered: Sequence[AnsweredClaim],
) -> dict[str, object]:
  """Returns what the page shows besides its tasks and their answers."""
  miniature = any(t.described.name.startswith("mini_") for t in tasks)
  seconds = (stage.seconds or 0.0 for stage in study.stages)
  return {
    "answers": [
      view
      for each in _main_answers(answered)
      for view in _main_answers_by_judge(each)
    ],
    "arm_header": tables.ARM_HEADER,
    "total_seconds": math.fsum(seconds),
    "claims_now": registry.fingerprint(),
    "smallest_effect": verdicts.SMALLEST_EFFECT,
    "min_seeds": verdicts.MIN_SEEDS,
    "least_kl_factor": comparison.LEAST_KL_FACTOR,
    "provenance": tables.provenance(
      [record for task in tasks for record in task.evidence.records]
    ),
    "miniature": miniature,
    "departures": departures.select(miniature=miniature),
  }


def _holes(
  study: summary.Summary | None, tasks: Sequence[MeasuredTask]
) -> list[str]:
  """Returns a line for everything that is missing."""
  if study is None:
    return [
      f"no {summary.FILE_NAME}: stages, commands, preference models and"
      " training logs are unknown"
    ]
  holes = [
    f"stage {stage.name} failed: {stage.reason or 'no reason was given'}"
    for stage in study.stages
    if stage.status == "failed"
  ]
  waiting = [s.name for s in study.stages if s.status in ("missing", "running")]
  if waiting:
    shown = ", ".join(waiting[:4]) + (", ..." if len(waiting) > 4 else "")
    holes.append(f"stages not done ({len(waiting)}): {shown}")
  holes += [
    f"{task.described.name}: no records in {task.described.records}"
    for task in tasks
    if not task.evidence.records
  ]
  return holes


def _warnings(answered: Sequence[AnsweredClaim]) -> list[str]:
  """Returns the tasks on which golden win rates do not measure quality."""
  return [
    f"{each.task}{': ' if each.task else ''}golden win rates do not measure"
    f" quality here; {each.answer.numbers}"
    for each in answered
    if each.claim is registry.GATE
    and each.answer.verdict is Verdict.CONTRADICTED
  ]


def _main_answers(answered: Sequence[AnsweredClaim]) -> list[AnsweredClaim]:
  return [each for each in answered if each.claim is registry.MAIN_CLAIM]


@dataclasses.dataclass(frozen=True)
class _MainAnswer:
  short: str
  rest: str


def _main_answers_by_judge(answered: AnsweredClaim) -> list[_MainAnswer]:
  task = f"{answered.task}: " if answered.task else ""
  shown = [_main_answer(answered.answer, task)]
  for judge, answer in answered.by_judge.items():
    shown.append(_main_answer(answer, f"{task}By {judges.TITLES[judge]}: "))
  return shown


def _main_answer(answer: Answer, task: str) -> _MainAnswer:
  rest = "; ".join(filter(None, (answer.numbers, answer.reason)))
  if rest:
    rest = f"{rest[:1].upper()}{rest[1:]}."
  return _MainAnswer(f"{task}{_SHORT_ANSWER[answer.verdict]}.", rest)


@dataclasses.dataclass(frozen=True)
class _TaskView:
  """One task as the templates show it."""

  name: str
  first_pictures: list[Shown]
  more_pictures: list[Shown]
  answered: list[AnsweredClaim]
  arm_rows: list[tuple[str, ...]]
  sections: list[tuple[Section, list[Shown], list[AnsweredClaim]]]
  samples: list[tables.PromptSamples]
  judges: list[tables.JudgeRow]


def _task_view(
  task: MeasuredTask, pictures: Gallery, answered: Sequence[AnsweredClaim]
) -> _TaskView:
  own = [each for each in answered if each.task == task.described.name]
  return _TaskView(
    name=task.described.name,
    first_pictures=pictures.first,
    more_pictures=pictures.more,
    answered=own,
    arm_rows=tables.arm_rows(task.evidence),
    sections=[
      (section, shown, [each for each in own if each.claim in section.claims])
      for section, shown in pictures.by_section
    ],
    samples=tables.samples(task.main_evidence, task.described.samples),
    judges=tables.judge_rows(task.evidence),
  )
