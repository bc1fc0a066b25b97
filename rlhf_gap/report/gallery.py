"""Which pictures a report shows, and their files as the page embeds them."""

import base64
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence

from rlhf_gap import progress
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.paper import registry
from rlhf_gap.paper.section import Section
from rlhf_gap.plotting import styles
from rlhf_gap.plotting.picture import Picture, write
from rlhf_gap.report import pictures, training_pictures
from rlhf_gap.report.loading import MeasuredTask

Plan = tuple[str, Callable[[], Picture]]
"""A title, in case there is no picture, and the function that plots it."""


@dataclasses.dataclass(frozen=True)
class Shown:
  """A picture on the page, or the reason why there is none.

  Attributes:
    title: what it shows.
    reason: why there is no picture; "" if there is one.
    name: the stem of its files.
    caption: how to read it.
    svg: the picture, in base64.
    csv: its numbers, in base64.
    missing: a line for everything that it should show but cannot.
  """

  title: str
  reason: str = ""
  name: str = ""
  caption: str = ""
  svg: str = ""
  csv: str = ""
  missing: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Gallery:
  """The pictures of one task.

  Attributes:
    first: those at the top of the page.
    by_section: those of the paper's figures.
    more: all others.
  """

  first: list[Shown]
  by_section: list[tuple[Section, list[Shown]]]
  more: list[Shown]


def plot_all(
  tasks: Sequence[MeasuredTask], log_base: float, output: str
) -> list[Gallery]:
  """Plots every picture of a report and writes its files.

  Args:
    tasks: the tasks.
    log_base: base of the KL axes' logarithm.
    output: the report's folder; pictures go to figures/TASK below it.

  Returns:
    The pictures, by task.
  """
  plans = [
    (
      _first_plans(task, log_base),
      _section_plans(task, log_base),
      _more_plans(task, log_base),
    )
    for task in tasks
  ]
  total = sum(
    len(first) + len(more) + sum(len(own) for _, own in by_section)
    for first, by_section, more in plans
  )
  galleries = []
  with progress.bar("plotting", total, "figures") as bar:
    for task, (first, by_section, more) in zip(tasks, plans, strict=True):
      folder = os.path.join(output, "figures", task.described.name)
      plot = functools.partial(_plot, folder=folder, done=bar.update)
      sections = [(section, plot(own)) for section, own in by_section]
      galleries.append(Gallery(plot(first), sections, plot(more)))
  return galleries


def _first_plans(task: MeasuredTask, log_base: float) -> list[Plan]:
  evidence = task.main_evidence
  return [
    (
      "Win rate against KL",
      functools.partial(pictures.plot_gap, evidence, log_base),
    ),
    _judges_plan(task, "online", log_base),
  ]


def _judges_plan(task: MeasuredTask, arm: str, log_base: float) -> Plan:
  plot = functools.partial(
    pictures.plot_judges, task.main_evidence, arm, log_base
  )
  return f"{arm} according to each judge", plot


def _section_plans(
  task: MeasuredTask, log_base: float
) -> list[tuple[Section, list[Plan]]]:
  return [
    (
      section,
      [
        (section.title, functools.partial(plot, task.evidence, log_base))
        for plot in section.pictures
      ],
    )
    for section in registry.SECTIONS
    if section.is_wanted(task.planned)
  ]


def _more_plans(task: MeasuredTask, log_base: float) -> list[Plan]:
  evidence = task.main_evidence
  others = [
    name
    for name in styles.styles_of(evidence.arms)
    if name != "online" and evidence.arms[name].num_checkpoints > 1
  ]
  curves = [c for c in task.described.curves if not registry.is_ablation(c.arm)]
  logged = dict.fromkeys(curve.metric for curve in curves)
  measured = {name for record in evidence.records for name in record.metrics}
  return [
    ("Calibration", functools.partial(pictures.plot_calibration, evidence)),
    (
      "Gao's form",
      functools.partial(pictures.plot_gao_fits, evidence, log_base),
    ),
    *(_judges_plan(task, name, log_base) for name in others),
    *(
      (title, functools.partial(training_pictures.plot_metric, evidence, name))
      for name, title in training_pictures.METRICS.items()
      if name in measured
    ),
    *(
      (name, functools.partial(training_pictures.plot_logged, curves, name))
      for name in logged
    ),
  ]


def _plot(
  plans: Sequence[Plan], folder: str, done: Callable[[int], object]
) -> list[Shown]:
  os.makedirs(folder, exist_ok=True)
  shown = []
  for title, plot in plans:
    try:
      picture = plot()
    except UndefinedError as error:
      shown.append(Shown(title, reason=str(error)))
    else:
      shown.append(_embed(picture, write(picture, folder)))
    done(1)
  return shown


def _embed(picture: Picture, stem: str) -> Shown:
  svg, numbers = (
    base64.b64encode(pathlib.Path(f"{stem}.{ending}").read_bytes()).decode()
    for ending in ("svg", "csv")
  )
  return Shown(
    picture.title,
    name=picture.name,
    caption=picture.caption,
    svg=svg,
    csv=numbers,
    missing=picture.missing,
  )
