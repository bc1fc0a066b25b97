"""How often `rlhf-gap study --decide` is right, by simulated studies.

Usage: python tools/simulate_decisions.py [--studies=2000]

Every simulated study has an online arm with one configuration and an offline
arm with one or seven. Outcomes on prompts are 0 or 1, runs differ by luck, and
the true difference of win rates is known: none, the smallest that matters
(0.02), or 0.06. The real analysis code (cross-fitted frontiers, bootstrap,
verdicts, looks) decides whether online beats offline, at doubling numbers of
seeds or at every added seed. The columns:

  coverage   studies in which the intervals of all looks hold the truth, >= 95%
  false      studies with a wrong answer: supported without a difference, or
             contradicted at 0.02 or more; <= 5% (2.5% a side)
  decided    studies decided at all
  seeds      mean number of seeds at the end
  one look   coverage of the last look's 95% interval alone
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

import numpy as np

from rlhf_gap import progress
from rlhf_gap.analysis import arms, looks, statistics
from rlhf_gap.analysis.verdicts import SMALLEST_EFFECT, Verdict, exceeds

_KLS = np.array([1.0, 2.0, 4.0])
_LEVEL = 0.5
# With fewer, a replicate may have none of them.
_KL_PROMPTS = 32


@dataclasses.dataclass(frozen=True)
class Scenario:
  """What is true of a simulated study, and when it is looked at.

  Attributes:
    difference: online's win rate minus offline's, at every KL.
    configurations: of the offline arm, all equally good.
    seeds: number of seeds at each look.
    seed_std: standard deviation over runs of the win rate.
    num_prompts: prompts of every evaluation.
    replicates: bootstrap replicates.
  """

  difference: float
  configurations: int
  seeds: tuple[int, ...]
  seed_std: float
  num_prompts: int
  replicates: int


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What one simulated study concluded."""

  covered: bool
  verdict: Verdict
  seeds: int
  last_covered: bool


def simulate(scenario: Scenario, random: np.random.Generator) -> Outcome:
  """Runs one study until it is decided, and looks at the rest for coverage."""
  # How hard a prompt is, for every policy alike.
  hardness = random.normal(0, 0.25, scenario.num_prompts)
  most = scenario.seeds[-1]
  online = _configurations(scenario, random, hardness, scenario.difference, 1)
  offline = _configurations(
    scenario, random, hardness, 0.0, scenario.configurations
  )
  covered, verdict, stopped = True, Verdict.UNDERPOWERED, most
  confidences = looks.confidences(scenario.seeds)
  for count, confidence in zip(scenario.seeds, confidences, strict=True):
    settings = statistics.BootstrapSettings(
      scenario.replicates, int(random.integers(1 << 31)), confidence
    )
    gap = statistics.matched_gap(
      _first_seeds("online", online, count),
      _first_seeds("offline", offline, count),
      settings,
    ).mean
    covered &= gap.ci95_low <= scenario.difference <= gap.ci95_high
    if verdict is Verdict.UNDERPOWERED:
      verdict, _ = exceeds(gap)
      if verdict is not Verdict.UNDERPOWERED:
        stopped = count
  low, high = gap.interval(0.95)
  return Outcome(covered, verdict, stopped, low <= scenario.difference <= high)


def _configurations(
  scenario: Scenario,
  random: np.random.Generator,
  hardness: np.ndarray,
  difference: float,
  count: int,
) -> list[list[arms.Trajectory]]:
  """Returns the runs of each configuration, by seed."""
  return [
    [
      _run(scenario, random, hardness, difference, number, seed)
      for seed in range(scenario.seeds[-1])
    ]
    for number in range(count)
  ]


def _run(
  scenario: Scenario,
  random: np.random.Generator,
  hardness: np.ndarray,
  difference: float,
  number: int,
  seed: int,
) -> arms.Trajectory:
  luck = random.normal(0, scenario.seed_std)
  expected = np.clip(_LEVEL + difference + luck + hardness, 0, 1)
  shape = (len(_KLS), scenario.num_prompts)
  wins = (random.random(shape) < expected).astype(np.float64)
  return arms.Trajectory(
    name=f"run_{number}_{seed}",
    seed=seed,
    steps=np.arange(1, len(_KLS) + 1),
    kl_nats=np.repeat(_KLS[:, None], _KL_PROMPTS, axis=1),
    outcomes={arms.WIN: wins},
  )


def _first_seeds(
  name: str, runs: Sequence[Sequence[arms.Trajectory]], count: int
) -> arms.Arm:
  return arms.Arm(
    name,
    tuple(
      arms.Configuration(str(number), tuple(own[:count]))
      for number, own in enumerate(runs)
    ),
  )


def is_false(scenario: Scenario, verdict: Verdict) -> bool:
  """Returns whether a verdict is wrong about a scenario."""
  if verdict is Verdict.SUPPORTED:
    return scenario.difference <= 0
  return (
    verdict is Verdict.CONTRADICTED and scenario.difference >= SMALLEST_EFFECT
  )


def summarize(scenario: Scenario, outcomes: Sequence[Outcome]) -> str:
  """Returns a row of the table."""

  def share(values: Sequence[bool]) -> str:
    return f"{np.mean(values):.1%}"

  cells = (
    f"{scenario.difference:g}",
    str(scenario.configurations),
    f"{len(scenario.seeds)} ({scenario.seeds[0]} to {scenario.seeds[-1]})",
    share([o.covered for o in outcomes]),
    share([is_false(scenario, o.verdict) for o in outcomes]),
    share([o.verdict is not Verdict.UNDERPOWERED for o in outcomes]),
    f"{np.mean([o.seeds for o in outcomes]):.1f}",
    share([o.last_covered for o in outcomes]),
  )
  return f"| {' | '.join(cells)} |"


def main() -> int:
  """Parses the flags and prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--studies", type=int, default=2000)
  parser.add_argument("--configurations", type=int, nargs="+", default=[1, 7])
  parser.add_argument("--prompts", type=int, default=128)
  parser.add_argument("--replicates", type=int, default=200)
  parser.add_argument("--seed_std", type=float, default=0.03)
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  random = np.random.default_rng(flags.seed)
  print(
    "| difference | configurations | looks (seeds) | coverage | false | decided"
    " | seeds | one look |\n|---|---|---|---|---|---|---|---|"
  )
  for configurations in flags.configurations:
    for difference in (0.0, SMALLEST_EFFECT, 0.06):
      for seeds in (looks.planned(3, 12), tuple(range(3, 13))):
        scenario = Scenario(
          difference,
          configurations,
          seeds,
          flags.seed_std,
          flags.prompts,
          flags.replicates,
        )
        with progress.bar("simulating", flags.studies, "studies") as bar:
          outcomes = []
          for _ in range(flags.studies):
            outcomes.append(simulate(scenario, random))
            bar.update(1)
        print(summarize(scenario, outcomes), flush=True)
  return 0


if __name__ == "__main__":
  sys.exit(main())
