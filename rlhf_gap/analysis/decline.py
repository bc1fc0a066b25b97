"""The win rate that an arm loses when trained beyond its peak."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.analysis.statistics import BootstrapSettings


@dataclasses.dataclass(frozen=True)
class Decline:
  """An arm's decline after its peak.

  Attributes:
    win_rate: the win rate at the peak minus that at the end of training.
    optimized: the win rate by the judge that may have been over-optimized, at
      the end minus at the peak; None if that judge was not asked.
    configuration: the configuration that falls most; "" if there is only one.
    peak_kl_nats: its KL at the peak, the mean over seeds.
    end_kl_nats: its KL at the end of training.
  """

  win_rate: Estimate
  optimized: Estimate | None
  configuration: str
  peak_kl_nats: float
  end_kl_nats: float


def measure(
  arm: arms.Arm,
  settings: BootstrapSettings,
  *,
  optimized: str = f"proxy_{arms.WIN}",
) -> Decline:
  """Measures how far an arm falls from its peak to the end of training.

  The configuration and the step of the peak are those with the greatest fall.
  They are chosen and evaluated on different prompts and seeds (see `curves`),
  since a peak chosen from noise appears to fall.

  Args:
    arm: the arm. Its runs of one configuration have common steps.
    settings: settings of the bootstrap.
    optimized: win rates by the judge that may have been over-optimized.

  Returns:
    The fall; 0 if the last checkpoint is the highest.

  Raises:
    UndefinedError: no configuration has two steps that all its runs reach.
  """
  design = settings.design(arm)
  metrics = [arms.WIN]
  if arm.has(optimized):
    metrics.append(optimized)
  paths = _Paths(arm)

  def change(metric: str) -> resampling.Statistic:
    return lambda resamples: paths.cross_fitted(resamples, metric)

  decline, *rises = (
    resampling.estimate(change(metric), design) for metric in metrics
  )
  place = paths.place(resampling.resample(design))
  number, step = divmod(place, paths.most_steps)
  return Decline(
    win_rate=decline,
    optimized=negated(rises[0]) if rises else None,
    configuration=arm.configurations[number].label,
    peak_kl_nats=paths.kl(number, step),
    end_kl_nats=paths.kl(number, -1),
  )


def negated(estimate: Estimate) -> Estimate:
  """Returns a difference with its sign reversed."""
  return dataclasses.replace(
    estimate,
    value=-estimate.value,
    ci95_low=-estimate.ci95_high,
    ci95_high=-estimate.ci95_low,
  )


class _Paths:
  """Win rates by training step, the mean over seeds."""

  def __init__(self, arm: arms.Arm):
    self._arm = arm
    self._steps = [
      sorted(set.intersection(*(set(r.steps.tolist()) for r in c.runs)))
      for c in arm.configurations
    ]
    self.most_steps = max(map(len, self._steps))
    if self.most_steps < 2:
      raise UndefinedError(
        f"{arm.name} has no two steps that all runs of a configuration reach"
      )

  def kl(self, number: int, place: int) -> float:
    """Returns a configuration's KL at one of its steps."""
    step = self._steps[number][place]
    return float(
      np.mean(
        [
          run.kl_nats[run.steps.tolist().index(step)].mean()
          for run in self._arm.configurations[number].runs
        ]
      )
    )

  def place(self, resamples: resampling.Resamples) -> int:
    """Returns where the fall is greatest on all prompts and seeds."""
    lost = self._lost(resamples, arms.WIN, "all")
    weights = resamples.seed_counts(self._arm.seeds)
    mean = curves.mean_over_seeds(lost, weights)[0]
    return int(np.argmax(np.nan_to_num(mean, nan=-np.inf)))

  def cross_fitted(
    self, resamples: resampling.Resamples, metric: str
  ) -> np.ndarray:
    """Returns what `metric` loses after the peak of the golden win rate."""
    splits: tuple[tuple[resampling.PromptSubset, resampling.PromptSubset], ...]
    splits = (("even", "odd"), ("odd", "even"))
    weights = resamples.seed_counts(self._arm.seeds)
    return np.mean(
      [
        curves.cross_fitted(
          self._lost(resamples, arms.WIN, choose)[..., None],
          self._lost(resamples, metric, judge)[..., None],
          weights,
        )[:, 0]
        for choose, judge in splits
      ],
      axis=0,
    )

  def _lost(
    self,
    resamples: resampling.Resamples,
    metric: str,
    subset: resampling.PromptSubset,
  ) -> np.ndarray:
    """Returns values minus those at the end, [seeds, rows, places]."""
    seeds = self._arm.seeds
    places = (len(self._steps), self.most_steps)
    lost = np.full((len(seeds), resamples.num_rows, *places), np.nan)
    for number, steps in enumerate(self._steps):
      if len(steps) < 2:
        continue
      for run in self._arm.configurations[number].runs:
        path = _at_steps(run, steps, metric, resamples, subset)
        here = lost[seeds.index(run.seed), :, number]
        here[:, : len(steps)] = path - path[:, -1:]
    return lost.reshape(*lost.shape[:2], -1)


def _at_steps(
  run: arms.Trajectory,
  steps: Sequence[int],
  metric: str,
  resamples: resampling.Resamples,
  subset: resampling.PromptSubset,
) -> np.ndarray:
  rows = np.searchsorted(run.steps, steps)
  return curves.mean(run, metric, resamples, subset)[:, rows]
