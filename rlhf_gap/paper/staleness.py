"""What it costs that pairs are old: from online to sampled once for ever.

The sampling parameters are refreshed every s steps: s = 1 is online, s = the
whole run is offline on the SFT policy's own samples (Lanchantin et al. 2025,
"Bridging offline and online reinforcement learning for LLMs"). A batch that is
trained on several times is reused (Tajwar et al. 2024, T passes over B fresh
samples).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from matplotlib import axes

from rlhf_gap.analysis import arm_names, statistics
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.plotting.drawing import Cell, Figure
from rlhf_gap.plotting.styles import BLUE, GREEN, PURPLE, VERMILLION


@dataclasses.dataclass(frozen=True)
class Point:
  """One arm's place in the figure.

  Attributes:
    arm: its name.
    age_steps: how many steps before a batch is trained on, on average, the
      parameters were current that drew it.
    passes: how often a batch is trained on.
    gap: its win rate less online's, at matched KL.
  """

  arm: str
  age_steps: float
  passes: int
  gap: statistics.MatchedGap


def is_stale(name: str) -> bool:
  """Returns whether an arm is one of old pairs."""
  return name.startswith(("stale_", "reuse_"))


def age_steps(name: str, steps: int) -> tuple[float, int]:
  """Returns the mean age of an arm's pairs in steps, and their passes.

  With refreshes every s steps, the parameters behind a batch are 0 to s - 1
  steps old, all alike often: (s - 1) / 2.

  Args:
    name: "stale_16", "stale_never" or "reuse_4x16".
    steps: of the whole run.
  """
  kind, _, rest = name.partition("_")
  passes = 1
  if kind == "reuse":
    first, _, rest = rest.partition("x")
    passes = int(first)
  every = steps if rest == "never" else int(rest)
  return (min(every, steps) - 1) / 2, passes


def less_than_online(evidence: Evidence, name: str) -> statistics.MatchedGap:
  """Returns an arm's win rate less online's, at the KLs that both reach.

  Args:
    evidence: of one task.
    name: of the arm.

  Raises:
    UndefinedError: an arm is missing, or they reach no common KL.
  """
  return statistics.matched_gap(
    evidence.arm(name), evidence.arm("online"), evidence.settings
  )


def points(evidence: Evidence) -> tuple[list[Point], list[str]]:
  """Returns every arm's place, and what is missing.

  Args:
    evidence: of one task.
  """
  found, missing = [], []
  for name in filter(is_stale, evidence.names):
    try:
      gap = less_than_online(evidence, name)
    except UndefinedError as error:
      missing.append(f"{arm_names.title(name)}: {error}")
    else:
      steps = max(int(run.steps[-1]) for run in evidence.arm(name).runs)
      age, passes = age_steps(name, steps)
      found.append(Point(name, age, passes, gap))
  return sorted(found, key=lambda p: (p.age_steps, p.passes)), missing


def cost_of_staleness(evidence: Evidence) -> Figure:
  """Win rate at matched KL against the mean age of the pairs."""
  found, missing = points(evidence)
  if not found:
    reason = "; ".join(missing) or "there are no records of old pairs"
    raise UndefinedError(reason)
  levels: dict[str, statistics.MatchedGap] = {}
  for name in ("tandem", "offline"):
    try:
      levels[name] = less_than_online(evidence, name)
    except UndefinedError as error:
      missing.append(f"{arm_names.title(name)}: {error}")
  return Figure(
    name="staleness",
    title="What it costs that pairs are old",
    caption=(
      "Semi-online runs refresh the sampler every s steps; the age is of the"
      " parameters that drew a batch. Each arm over the KLs that it shares with"
      " online (among the numbers); 95% intervals."
    ),
    header=(
      *("arm", "age_steps", "passes", "win_rate_less_online"),
      *("ci95_low", "ci95_high", "prompts", "seeds"),
      *("low_kl_nats", "high_kl_nats"),
    ),
    rows=[
      *(_row(p.arm, p.age_steps, p.passes, p.gap) for p in found),
      *(_row(name, "", "", gap) for name, gap in levels.items()),
    ],
    draw=lambda ax: _draw(ax, found, levels),
    missing=tuple(missing),
  )


def _row(
  name: str, age: Cell, passes: Cell, gap: statistics.MatchedGap
) -> tuple[Cell, ...]:
  mean = gap.mean
  return (
    *(name, age, passes, mean.value, mean.ci95_low, mean.ci95_high),
    *(mean.num_prompts, mean.num_seeds, gap.low_kl_nats, gap.high_kl_nats),
  )


def _draw(
  ax: axes.Axes,
  found: Sequence[Point],
  levels: Mapping[str, statistics.MatchedGap],
) -> None:
  ax.axhline(0, color=BLUE, lw=1.6, label="online")
  for passes in sorted({point.passes for point in found}):
    own = [point for point in found if point.passes == passes]
    label = "one pass" if passes == 1 else f"{passes} passes"
    color, marker = (BLUE, "o") if passes == 1 else (PURPLE, "D")
    gaps = [point.gap.mean for point in own]
    ax.errorbar(
      [1 + point.age_steps for point in own],
      [gap.value for gap in gaps],
      (
        [gap.value - gap.ci95_low for gap in gaps],
        [gap.ci95_high - gap.value for gap in gaps],
      ),
      color=color,
      marker=marker,
      linestyle="-" if passes == 1 else "",
      capsize=3,
      label=label,
    )
  for name, level in levels.items():
    color, line = (GREEN, "-.") if name == "tandem" else (VERMILLION, "--")
    label = arm_names.title(name)
    mean = level.mean
    ax.axhline(mean.value, color=color, lw=1.4, ls=line, label=label)
    ax.axhspan(mean.ci95_low, mean.ci95_high, color=color, alpha=0.1, lw=0)
  ax.set_xscale("log", base=2)
  ax.set_xlabel("1 + mean age of the pairs, in steps")
  ax.set_ylabel("win rate less online's, same KL")


def least_stale(found: Iterable[str]) -> str:
  """Returns the arm of the least old pairs that are trained on once.

  Args:
    found: names of arms.

  Raises:
    UndefinedError: there is none.
  """
  names = [n for n in found if n.startswith("stale_") and n != "stale_never"]
  if not names:
    raise UndefinedError("there are no records of slightly old pairs")
  return min(names, key=lambda name: int(name.removeprefix("stale_")))
