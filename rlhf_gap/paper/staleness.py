"""Staleness: how old may an online run's pairs be? Not in the paper.

The sampling parameters are refreshed every s steps: s = 1 is online, and s =
the whole run is training on the SFT policy's own samples (Lanchantin et al.
2025, "Bridging offline and online reinforcement learning for LLMs"). Reuse
trains on every batch several times (Tajwar et al. 2024: T passes over B fresh
samples).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from matplotlib import axes

from rlhf_gap.analysis import arm_names, statistics
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.paper import ahead, rules
from rlhf_gap.paper.section import Section, without_kl_axis
from rlhf_gap.plotting.picture import Cell, Picture
from rlhf_gap.plotting.styles import BLUE, GREEN, PURPLE, VERMILLION

_PREFIXES = ("stale_", "reuse_")
_PATTERNS = tuple(f"{prefix}*" for prefix in _PREFIXES)


@dataclasses.dataclass(frozen=True)
class Point:
  """One arm in the picture.

  Attributes:
    arm: the arm's name.
    age_steps: how many steps old the parameters that sampled a batch are, on
      average, when the policy trains on it.
    passes: how often a batch is trained on.
    gap: its win rate minus online's, at matched KL.
  """

  arm: str
  age_steps: float
  passes: int
  gap: statistics.MatchedGap


def age_steps(name: str, steps: int) -> tuple[float, int]:
  """Returns the mean age of an arm's pairs in steps, and their passes.

  With a refresh every s steps, the parameters that sampled a batch are 0 to
  s - 1 steps old, equally often: (s - 1) / 2 on average.

  Args:
    name: "stale_16", "stale_never" or "reuse_4x16".
    steps: steps of the whole run.
  """
  kind, _, rest = name.partition("_")
  passes = 1
  if kind == "reuse":
    first, _, rest = rest.partition("x")
    passes = int(first)
  every = steps if rest == "never" else int(rest)
  return (min(every, steps) - 1) / 2, passes


def gap_to_online(evidence: Evidence, name: str) -> statistics.MatchedGap:
  """Returns an arm's win rate minus online's at the KLs that both reach.

  Args:
    evidence: one task's evidence.
    name: the arm's name.

  Raises:
    UndefinedError: an arm is missing, or they reach no common KL.
  """
  return statistics.matched_gap(
    evidence.arm(name), evidence.arm("online"), evidence.settings
  )


def points(evidence: Evidence) -> tuple[list[Point], list[str]]:
  """Returns every arm's point, and a line for each missing arm.

  Args:
    evidence: one task's evidence.
  """
  stale, missing = [], []
  names = (n for n in evidence.names if n.startswith(_PREFIXES))
  for name in names:
    try:
      gap = gap_to_online(evidence, name)
    except UndefinedError as error:
      missing.append(f"{arm_names.title(name)}: {error}")
    else:
      steps = max(int(run.steps[-1]) for run in evidence.arm(name).runs)
      age, passes = age_steps(name, steps)
      stale.append(Point(name, age, passes, gap))
  return sorted(stale, key=lambda p: (p.age_steps, p.passes)), missing


def plot_staleness(evidence: Evidence) -> Picture:
  """Plots win rate at matched KL over the mean age of the pairs."""
  stale, missing = points(evidence)
  if not stale:
    reason = "; ".join(missing) or "there are no records of old pairs"
    raise UndefinedError(reason)
  levels: dict[str, statistics.MatchedGap] = {}
  for name in ("tandem", "offline"):
    try:
      levels[name] = gap_to_online(evidence, name)
    except UndefinedError as error:
      missing.append(f"{arm_names.title(name)}: {error}")
  return Picture(
    name="staleness",
    title="The cost of old pairs",
    caption=(
      "Semi-online runs refresh the sampler every s steps; the age is that of"
      " the parameters that sampled a batch. Each arm is compared over the KLs"
      " that it shares with online (see the numbers); 95% intervals."
    ),
    header=(
      *("arm", "age_steps", "passes", "win_rate_less_online"),
      *("ci95_low", "ci95_high", "prompts", "seeds"),
      *("low_kl_nats", "high_kl_nats"),
    ),
    rows=[
      *(_row(p.arm, p.age_steps, p.passes, p.gap) for p in stale),
      *(_row(name, "", "", gap) for name, gap in levels.items()),
    ],
    plot=lambda ax: _plot(ax, stale, levels),
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


def _plot(
  ax: axes.Axes,
  stale: Sequence[Point],
  levels: Mapping[str, statistics.MatchedGap],
) -> None:
  ax.axhline(0, color=BLUE, lw=1.6, label="online")
  for passes in sorted({point.passes for point in stale}):
    own = [point for point in stale if point.passes == passes]
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
  ax.set_ylabel("win rate minus online's, same KL")


def _least_stale(names: Iterable[str]) -> str:
  """Returns the arm with the youngest pairs that are trained on once."""
  stale = [n for n in names if n.startswith("stale_") and n != "stale_never"]
  if not stale:
    raise UndefinedError("there are no records of slightly old pairs")
  return min(stale, key=lambda name: int(name.removeprefix("stale_")))


def _slight_staleness_is_harmless(evidence: Evidence) -> Answer:
  return ahead.loses_little_to_online(evidence, _least_stale(evidence.names))


def _refreshing_is_needed(evidence: Evidence) -> Answer:
  return ahead.is_ahead_of_all(evidence, "online", ("stale_never",))


STALENESS = Section(
  title="Between online and offline: how old may pairs be?",
  paper_shows=(
    "Not in the paper: semi-online runs refresh the sampler every s steps, and"
    " reuse trains on each batch several times. Later work finds slight"
    " staleness harmless."
  ),
  pictures=(without_kl_axis(plot_staleness),),
  claims=(
    Claim(
      "slight off-policyness is harmless",
      "Refreshing the sampler every few steps instead of every step loses less"
      " than 0.02 of win rate at the same KL.",
      "Lanchantin et al. (2025); Tang et al. (2024), Appendix G",
      _slight_staleness_is_harmless,
      requires_any=_PATTERNS,
      judged=True,
      quote=(
        "the learning process is robust to slight off-policyness (section 5.1)"
      ),
      rule=rules.HARMLESS,
    ),
    Claim(
      "the sampler must be refreshed",
      "Pairs sampled from the SFT policy, fresh at every step and judged by the"
      " proxy, leave alignment below online at the same KL.",
      "this study's own question",
      _refreshing_is_needed,
      requires_any=("stale_never",),
      judged=True,
      rule=rules.AHEAD,
    ),
  ),
  requires_any=_PATTERNS,
  own_arms=_PATTERNS,
)
