"""From a study's folder to one HTML file, drawn from records alone.

report/index.html             everything, in one file
report/figures/<task>/*.svg   every figure, also as .png, its numbers as .csv
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

from rlhf_gap import errors, progress
from rlhf_gap.analysis import arm_names, statistics, summary
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.paper import claims, registry
from rlhf_gap.paper.claims import Answered
from rlhf_gap.plotting import drawing, styles
from rlhf_gap.report import loading, page, pictures, sections, training_pictures
from rlhf_gap.report.page import Markup, tag


@dataclasses.dataclass(frozen=True)
class Options:
  """How a report is made.

  Attributes:
    settings: of the bootstraps.
    log_base: of the axes of KL.
  """

  settings: statistics.Settings = statistics.Settings()
  log_base: float = 10.0

  def __post_init__(self) -> None:
    if self.settings.replicates < 100:
      raise errors.UserError(
        f"--replicates={self.settings.replicates}; expected at least 100, or"
        " the ends of intervals are chance"
      )
    if self.settings.seed < 0:
      raise errors.UserError(f"--seed={self.settings.seed}; expected 0 or more")
    if not 1 < self.log_base < float("inf"):
      raise errors.UserError(
        f"--log_base={self.log_base:g}; expected a number above 1, such as 10"
      )


@dataclasses.dataclass(frozen=True)
class Report:
  """What was made.

  Attributes:
    path: of the page.
    answered: every claim on every task.
    holes: what is missing, a line each.
  """

  path: str
  answered: tuple[Answered, ...]
  holes: tuple[str, ...]

  def lines(self) -> list[str]:
    """Returns what a terminal shows; it ends with the main claim's answers."""
    main = [one for one in self.answered if one.claim is claims.MAIN]
    others = [one for one in self.answered if one.claim is not claims.MAIN]
    return [
      *(f"hole: {hole}" for hole in self.holes),
      *(one.line for one in others),
      f"report: {self.path}",
      *(one.line for one in main),
    ]


def make(
  workdir: str, options: Options, *, output: str | None = None
) -> Report:
  """Reads a study's folder and writes its report.

  Args:
    workdir: holds `study.json`, or `records.jsonl` alone.
    options: how.
    output: the folder to write to; None is WORKDIR/report.

  Returns:
    Where the page is, and what it says.

  Raises:
    UserError: there is nothing to report on, a file is damaged, records cannot
      be compared, or `output` is no folder.
  """
  told = summary.read(workdir)
  tasks = list(loading.load(workdir, told, options.settings))
  output = output or os.path.join(workdir, "report")
  if os.path.exists(output) and not os.path.isdir(output):
    raise errors.UserError(
      f"{output}: is a file; expected a folder to write to"
    )
  os.makedirs(output, exist_ok=True)
  answered = [answer for task in tasks for answer in task.answers()]
  missing = _holes(told, tasks)
  body = _body(told, tasks, answered, missing, options, output)
  path = os.path.join(output, "index.html")
  name = told.name if told else os.path.basename(os.path.abspath(workdir))
  _replace(path, page.document(f"{name}: online against offline", body))
  return Report(path, tuple(answered), tuple(missing))


def _holes(
  told: summary.Summary | None, tasks: Sequence[loading.Task]
) -> list[str]:
  """Returns a line for everything that should be there and is not."""
  if told is None:
    return [
      f"no {summary.FILE_NAME}: stages, commands, preference models and"
      " training logs are unknown"
    ]
  found = [
    f"stage {stage.name} failed: {stage.reason or 'no reason was given'}"
    for stage in told.stages
    if stage.status == "failed"
  ]
  waiting = [s.name for s in told.stages if s.status in ("missing", "running")]
  if waiting:
    shown = ", ".join(waiting[:4]) + (", ..." if len(waiting) > 4 else "")
    found.append(f"stages not done ({len(waiting)}): {shown}")
  found += [
    f"{task.told.name}: no records in {task.told.records}"
    for task in tasks
    if not task.evidence.records
  ]
  return found


Make = Callable[[], drawing.Figure]
"""Makes one figure."""


def _first_figures(
  task: loading.Task, options: Options
) -> list[tuple[str, Make]]:
  of = task.main
  base = options.log_base
  return [
    ("Win rate against KL", functools.partial(pictures.gap, of, base)),
    (
      "What the judges think of online",
      functools.partial(pictures.goodhart, of, "online", base),
    ),
  ]


def _more_figures(
  task: loading.Task, options: Options
) -> list[tuple[str, Make]]:
  of = task.main
  base = options.log_base
  others = [
    name
    for name in styles.styles_of(of.arms)
    if name != "online" and of.arms[name].num_checkpoints > 1
  ]
  shown = [c for c in task.told.curves if not arm_names.is_ablation(c.arm)]
  logged = dict.fromkeys(curve.metric for curve in shown)
  measured = {name for record in of.records for name in record.metrics}
  return [
    ("Calibration", functools.partial(pictures.calibration, of)),
    ("Gao's form", functools.partial(pictures.gao_fits, of, base)),
    *(
      (
        f"What the judges think of {name}",
        functools.partial(pictures.goodhart, of, name, base),
      )
      for name in others
    ),
    *(
      (title, functools.partial(training_pictures.over_steps, of, metric))
      for metric, title in training_pictures.METRICS.items()
      if metric in measured
    ),
    *(
      (
        metric,
        functools.partial(training_pictures.logged, shown, metric),
      )
      for metric in logged
    ),
  ]


def _paper_figures(
  task: loading.Task, options: Options
) -> list[tuple[registry.Section, list[tuple[str, Make]]]]:
  return [
    (
      section,
      [
        (
          section.title,
          functools.partial(draw, task.evidence, options.log_base),
        )
        for draw in section.draw
      ],
    )
    for section in registry.SECTIONS
    if section.is_wanted(task.asked)
  ]


def _drawn(
  wanted: Sequence[tuple[str, Make]],
  folder: str,
  done: Callable[[int], object],
) -> list[Markup]:
  """Draws figures, or says why there is none."""
  os.makedirs(folder, exist_ok=True)
  shown = []
  for title, make_figure in wanted:
    try:
      figure = make_figure()
    except UndefinedError as error:
      shown.append(sections.missing_figure(title, str(error)))
    else:
      stem = drawing.write(figure, folder)
      shown.append(sections.figure_of(figure, stem))
    done(1)
  return shown


@dataclasses.dataclass(frozen=True)
class _Drawn:
  """The figures of one task: the first, the paper's by section, the rest."""

  first: list[Markup]
  paper: list[tuple[registry.Section, list[Markup]]]
  more: list[Markup]


def _draw_all(
  tasks: Sequence[loading.Task], options: Options, output: str
) -> list[_Drawn]:
  wanted = [
    (
      _first_figures(task, options),
      _paper_figures(task, options),
      _more_figures(task, options),
    )
    for task in tasks
  ]
  total = sum(
    len(first) + len(more) + sum(len(own) for _, own in of_paper)
    for first, of_paper, more in wanted
  )
  drawn = []
  with progress.bar("drawing", total, "figures") as bar:
    for task, (first, of_paper, more) in zip(tasks, wanted, strict=True):
      folder = os.path.join(output, "figures", task.told.name)
      draw = functools.partial(_drawn, folder=folder, done=bar.update)
      by_section = [(section, draw(own)) for section, own in of_paper]
      drawn.append(_Drawn(draw(first), by_section, draw(more)))
  return drawn


def _body(
  told: summary.Summary | None,
  tasks: Sequence[loading.Task],
  answered: Sequence[Answered],
  missing: Sequence[str],
  options: Options,
  output: str,
) -> Markup:
  main = [one for one in answered if one.claim is claims.MAIN]
  drawn = _draw_all(tasks, options, output)
  first = [
    page.join([_heading(task, tasks), tag("div", *one.first, class_="figures")])
    for task, one in zip(tasks, drawn, strict=True)
  ]
  rest = [
    _of_task(task, tasks, one, answered)
    for task, one in zip(tasks, drawn, strict=True)
  ]
  all_records = [r for task in tasks for r in task.evidence.records]
  stages = told.stages if told else ()
  return page.join(
    [
      sections.answers(main),
      sections.holes(missing),
      *first,
      *rest,
      tag("h2", "Stages, times and commands"),
      sections.stage_list(stages),
      tag("h2", "How this was measured"),
      sections.method(options.settings, all_records),
      tag("h2", "Departures from the paper"),
      sections.departure_table(
        miniature=any(t.told.name.startswith("mini_") for t in tasks)
      ),
    ]
  )


def _heading(task: loading.Task, tasks: Sequence[loading.Task]) -> Markup:
  return tag("h3", task.told.name) if len(tasks) > 1 else Markup("")


def _of_task(
  task: loading.Task,
  tasks: Sequence[loading.Task],
  drawn: _Drawn,
  answered: Sequence[Answered],
) -> Markup:
  """The sections of one task, below the first screen."""
  of = task.evidence
  suffix = f": {task.told.name}" if len(tasks) > 1 else ""
  own = [one for one in answered if one.task == task.told.name]
  parts = [tag("h2", f"Claims{suffix}"), sections.claim_list(own)]
  if of.arms:
    parts += [tag("h2", f"Arms{suffix}"), sections.arm_table(of)]
  if drawn.paper:
    parts.append(tag("h2", f"The paper, figure by figure{suffix}"))
  parts += [
    sections.paper_section(section, shown, own)
    for section, shown in drawn.paper
  ]
  parts += [
    tag("h2", f"Samples side by side{suffix}"),
    sections.samples(task.main, task.told.samples),
    tag("h2", f"Preference models{suffix}"),
    sections.judge_table(of) if of.judges else tag("p", "None was examined."),
    tag("h2", f"More figures{suffix}"),
    tag("div", *drawn.more, class_="figures small"),
  ]
  return page.join(parts)


def _replace(path: str, text: str) -> None:
  with open(f"{path}.partial", "w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(f"{path}.partial", path)
