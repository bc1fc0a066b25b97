"""The picture that most figures share: win rate over KL, one colour per arm.

If records are missing, the picture lists them and plots the rest.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from rlhf_gap.analysis import arm_names, arms, baselines
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.plotting import over_kl, styles
from rlhf_gap.plotting.over_kl import Series
from rlhf_gap.plotting.picture import Cell, Picture
from rlhf_gap.plotting.styles import Style


@dataclasses.dataclass(frozen=True)
class PlottedArm:
  """One arm in a picture.

  Attributes:
    name: the arm's name.
    label: its entry in the legend.
    style: the style of its points and curve.
    trained_like: plot only the runs that are trained as this arm is; None plots
      all configurations.
  """

  name: str
  label: str
  style: Style
  trained_like: str | None = None

  def select(self, evidence: Evidence) -> arms.Arm:
    """Returns the arm's runs.

    Raises:
      UndefinedError: there are none.
    """
    if self.trained_like is None:
      return evidence.arm(self.name)
    return baselines.arm(evidence, self.name, self.trained_like)


def in_method_color(name: str, number: int = 0) -> PlottedArm:
  """Returns an arm plotted in the colour of its method.

  Args:
    name: the arm's name.
    number: distinguishes arms of one method; see `styles.method_style`.
  """
  style = styles.method_style(name, number)
  return PlottedArm(name, arm_names.title(name), style)


def in_extra_color(name: str, number: int) -> PlottedArm:
  """Returns an arm plotted in a colour that no method has."""
  return PlottedArm(name, arm_names.title(name), styles.extra_style(number))


def plot(
  evidence: Evidence,
  plotted: Sequence[PlottedArm],
  *,
  name: str,
  title: str,
  caption: str,
  log_base: float = 10.0,
  level_arm: str = "sft",
) -> Picture:
  """Plots the win rate of some arms over KL.

  Args:
    evidence: one task's evidence.
    plotted: the arms.
    name: the stem of the picture's files.
    title: what it shows.
    caption: how to read it.
    log_base: base of the KL axis's logarithm.
    level_arm: the arm whose win rate is a horizontal line; "" for none.

  Raises:
    UndefinedError: no arm has two checkpoints.
  """
  series: list[Series] = []
  missing: list[str] = []
  rows: list[tuple[Cell, ...]] = []
  for entry in plotted:
    try:
      arm = entry.select(evidence)
      kl, band = over_kl.frontier(arm, evidence.settings)
    except UndefinedError as error:
      missing.append(f"{entry.label}: {error}")
      continue
    points = over_kl.points(arm)
    series.append(Series(entry.label, entry.style, points, kl, band))
    rows += over_kl.point_rows(entry.name, arm)
    rows += over_kl.curve_rows("frontier", entry.name, kl, band)
    missing += [*missing_records(arm, evidence), *over_kl.without_curve(arm)]
  if not series:
    raise UndefinedError("; ".join(missing))
  level = over_kl.level_of(evidence.arms.get(level_arm))
  return Picture(
    name=name,
    title=title,
    caption=caption,
    header=over_kl.HEADER,
    rows=rows,
    plot=lambda ax: over_kl.plot(
      ax, series, log_base, "win rate against the golden policy", level
    ),
    missing=tuple(missing),
  )


def missing_records(arm: arms.Arm, evidence: Evidence) -> Iterator[str]:
  """Yields one line for every checkpoint and seed that an arm lacks.

  A run lacks the steps that another run of its configuration has. If all of
  its steps are among those of the online runs, it lacks the others of theirs.

  Args:
    arm: the arm.
    evidence: one task's evidence.
  """
  online = evidence.arms.get("online")
  online_steps = {
    int(step) for run in (online.runs if online else ()) for step in run.steps
  }
  for configuration in arm.configurations:
    expected = {int(s) for run in configuration.runs for s in run.steps}
    if expected <= online_steps:
      expected = online_steps
    for run in configuration.runs:
      absent = sorted(expected - set(run.steps.tolist()))
      if absent:
        steps = ", ".join(map(str, absent))
        yield f"{run.name}: no record of step {steps}"
    seeds = {run.seed for run in configuration.runs}
    absent_seeds = sorted(set(arm.seeds) - seeds)
    if absent_seeds:
      label = f" ({configuration.label})" if configuration.label else ""
      yield f"{arm.name}{label}: no seed {', '.join(map(str, absent_seeds))}"
