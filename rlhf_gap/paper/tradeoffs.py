"""The paper's pictures of win rate over KL: Figures 1, 4, 5, 9, 10, 12 and 13.

A figure with less behind it than it should have says what is missing and draws
the rest.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from rlhf_gap.analysis import arm_names, arms, baselines
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.plotting import over_kl, styles
from rlhf_gap.plotting.drawing import Cell, Figure
from rlhf_gap.plotting.over_kl import Series
from rlhf_gap.plotting.styles import Style


@dataclasses.dataclass(frozen=True)
class Shown:
  """One arm in a figure.

  Attributes:
    arm: its name.
    label: of the legend.
    style: of its points and curve.
    like: the arm whose hyper-parameters it is shown at; None shows all its
      configurations.
  """

  arm: str
  label: str
  style: Style
  like: str | None = None

  def find(self, evidence: Evidence) -> arms.Arm:
    """Returns the arm; raises `UndefinedError` where there is none."""
    if self.like is None:
      return evidence.arm(self.arm)
    return baselines.arm(evidence, self.arm, self.like)


def method(name: str, number: int = 0) -> Shown:
  """Returns an arm in the colour of its method; see `styles.method_style`."""
  style = styles.method_style(name, number)
  return Shown(name, arm_names.title(name), style)


def draw(
  evidence: Evidence,
  shown: Sequence[Shown],
  *,
  name: str,
  title: str,
  caption: str,
  log_base: float = 10.0,
  level: str = "sft",
) -> Figure:
  """KL against win rate of some arms.

  Args:
    evidence: of one task.
    shown: which arms.
    name: the stem of its files.
    title: what it shows.
    caption: how to read it.
    log_base: of the axis.
    level: the arm whose win rate is a horizontal line; "" for none.

  Raises:
    UndefinedError: no arm has two checkpoints.
  """
  series, missing = [], []
  rows: list[tuple[Cell, ...]] = []
  for one in shown:
    try:
      arm = one.find(evidence)
      kl, band = over_kl.frontier(arm, evidence.settings)
    except UndefinedError as error:
      missing.append(f"{one.label}: {error}")
      continue
    points = over_kl.points(arm)
    series.append(Series(one.label, one.style, points, kl, band))
    rows += over_kl.point_rows(one.arm, arm)
    rows += over_kl.curve_rows("frontier", one.arm, kl, band)
    missing += [*lacking(arm, evidence), *over_kl.without_curve(arm)]
  if not series:
    raise UndefinedError("; ".join(missing))
  start = over_kl.level_of(evidence.arms.get(level))
  return Figure(
    name=name,
    title=title,
    caption=caption,
    header=over_kl.HEADER,
    rows=rows,
    draw=lambda ax: over_kl.draw(
      ax, series, log_base, "win rate against the golden policy", start
    ),
    missing=tuple(missing),
  )


def lacking(arm: arms.Arm, evidence: Evidence) -> Iterator[str]:
  """Yields which checkpoints and seeds an arm lacks, a line each.

  A run lacks the steps that another of its configuration has, and those of the
  online runs where all of its own are among them.

  Args:
    arm: the arm.
    evidence: of one task.
  """
  online = evidence.arms.get("online")
  common = {
    int(step) for run in (online.runs if online else ()) for step in run.steps
  }
  for configuration in arm.configurations:
    expected = {int(s) for run in configuration.runs for s in run.steps}
    if expected <= common:
      expected = common
    for run in configuration.runs:
      absent = sorted(expected - set(run.steps.tolist()))
      if absent:
        steps = ", ".join(map(str, absent))
        yield f"{run.name}: no record of step {steps}"
    seeds = {run.seed for run in configuration.runs}
    others = sorted(set(arm.seeds) - seeds)
    if others:
      label = f" ({configuration.label})" if configuration.label else ""
      yield f"{arm.name}{label}: no seed {', '.join(map(str, others))}"


def online_and_offline(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 1: online against offline, all hyper-parameters pooled."""
  return draw(
    evidence,
    [method("online"), method("offline")],
    name="fig_1",
    title="Figure 1: online and offline",
    caption="Each point is a checkpoint, each curve an arm's best at that KL.",
    log_base=log_base,
  )


def full_grid(evidence: Evidence) -> arms.Arm:
  """Returns the offline arm with every combination of hyper-parameters.

  Args:
    evidence: of one task.

  Raises:
    UndefinedError: the sweep alone was run.
  """
  rest = evidence.arm(arm_names.FULL_GRID)
  sweep = evidence.arm("offline").configurations
  return arms.Arm(arm_names.FULL_GRID, (*sweep, *rest.configurations))


def online_and_full_grid(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 1 with every combination of the offline hyper-parameters."""
  combined = {**evidence.arms, arm_names.FULL_GRID: full_grid(evidence)}
  style = styles.extra_style(1)
  return draw(
    dataclasses.replace(evidence, arms=combined),
    [
      method("online"),
      method("offline"),
      Shown(arm_names.FULL_GRID, arm_names.title("offline_grid"), style),
    ],
    name="fig_1_grid",
    title="Figure 1 with the full grid",
    caption=(
      "The offline sweep one change at a time, and all combinations of them."
    ),
    log_base=log_base,
  )


def shuffled_online_data(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 4: with offline runs on shuffled online data."""
  return draw(
    evidence,
    [method("online"), method("tandem"), method("offline")],
    name="fig_4",
    title="Figure 4: the same pairs, shuffled",
    caption="Offline runs on what the online runs had sampled, shuffled.",
    log_base=log_base,
  )


def final_policy_data(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 5: offline runs on pairs of the final online policy."""
  return draw(
    evidence,
    [
      method("online"),
      _of_pairs("final_final", 0),
      method("offline"),
    ],
    name="fig_5",
    title="Figure 5: pairs of the final online policy",
    caption=(
      "Offline runs on golden pairs, and on pairs of which both responses are"
      " the final online policy's; online for comparison."
    ),
    log_base=log_base,
  )


def _of_pairs(name: str, number: int) -> Shown:
  return Shown(name, arm_names.title(name), styles.extra_style(number))


def data_sets(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 12: whose responses the offline pairs are."""
  return draw(
    evidence,
    [
      *(_of_pairs(name, n) for n, name in enumerate(arm_names.GENERATED)),
      method("offline"),
    ],
    name="fig_12",
    title="Figure 12: whose responses",
    caption=(
      "Offline runs on golden pairs, and on pairs of the SFT policy, the early"
      " and the final online checkpoint."
    ),
    log_base=log_base,
  )


def best_of_two(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 9: Best-of-2 instead of IPO, and IPO for comparison."""
  return draw(
    evidence,
    [
      method("online_bo2"),
      method("tandem_bo2"),
      method("offline_bo2"),
      Shown("online", "online, IPO", styles.method_style("online", 2)),
      Shown("offline", "offline, IPO", styles.method_style("offline", 2)),
    ],
    name="fig_9",
    title="Figure 9: imitating winners",
    caption="Best-of-2 does without contrast; dotted, IPO.",
    log_base=log_base,
  )


def sizes_of(evidence: Evidence) -> list[str]:
  """Returns the policy's sizes by parameters, "" being the study's own.

  Those without records too: what there should be.
  """
  found = {arms.size_of(name) for name in evidence.names}
  return sorted(found, key=lambda size: (evidence.sizes.get(size, 0), size))


def at_size(name: str, size: str) -> str:
  """Returns the name of an arm at a size: "online@xl"."""
  return f"{name}@{size}" if size else name


def policy_sizes(
  evidence: Evidence, method_name: str, log_base: float
) -> Figure:
  """Fig. 10: online, offline or tandem at every size.

  Args:
    evidence: of one task.
    method_name: "online", "offline" or "tandem"; the paper draws all of two
      sizes in one picture.
    log_base: of the axis.
  """
  sizes = sizes_of(evidence)
  shown = [
    dataclasses.replace(
      method(at_size(method_name, size), number + 1),
      label=size_title(evidence, size),
    )
    for number, size in enumerate(sizes)
  ]
  return draw(
    evidence,
    shown,
    name=f"fig_10_{method_name}",
    title=f"Figure 10: {arm_names.title(method_name)} by policy size",
    caption="The judges and the golden policy are the same for all sizes.",
    log_base=log_base,
    level="",  # each size starts from an SFT policy of its own
  )


def size_title(evidence: Evidence, size: str) -> str:
  """Returns what a legend calls a size: "xl, 2.85e+09 parameters"."""
  name = size or "this study's"
  count = evidence.sizes.get(size)
  return f"{name}, {count:,} parameters" if count else name


def shuffle_levels(evidence: Evidence, log_base: float) -> Figure:
  """Fig. 13: replays permuted within blocks of different lengths."""
  blocks = sorted(
    (name for name in evidence.names if name.startswith("shuffle_")),
    key=lambda name: int(name.removeprefix("shuffle_")),
  )
  return draw(
    evidence,
    [
      *(
        Shown(name, arm_names.title(name), styles.extra_style(number))
        for number, name in enumerate(blocks)
      ),
      Shown("tandem", "uniformly", styles.method_style("tandem"), "online"),
    ],
    name="fig_13",
    title="Figure 13: shuffled how far",
    caption="Offline runs on the online run's batches, permuted within blocks.",
    log_base=log_base,
  )
