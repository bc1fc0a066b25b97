"""How often a judge agrees with the hidden utility on a policy's samples."""

import dataclasses

import numpy as np

from rlhf_gap.analysis import arms, curves, judges, resampling
from rlhf_gap.analysis.resampling import Estimate, UndefinedError
from rlhf_gap.analysis.statistics import BootstrapSettings

_AGREES, _DECIDES = "win_rate_agreement", "win_rate_decided"


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Agreement at the checkpoints of one step.

  Attributes:
    step: the training step.
    kl_nats: the mean KL there.
    rate: share of the prompts that the utility decides on which the judge
      decides alike; ties of the judge count 1/2.
  """

  step: int
  kl_nats: float
  rate: Estimate


def with_utility(
  arm: arms.Arm, settings: BootstrapSettings, *, judge: str = "golden"
) -> list[Agreement]:
  """Returns the agreement at every step that all runs of an arm reach.

  Args:
    arm: the arm.
    settings: settings of the bootstrap.
    judge: a key of `judges.WIN_RATES`.

  Raises:
    UndefinedError: there is no hidden utility, or the judge was not asked.
  """
  for name in (judge, "utility"):
    if not arm.has(judges.WIN_RATES[name]):
      raise UndefinedError(f"{judges.TITLES[name]} did not judge {arm.name}")
  runs = [_with_agreement(run, judge) for run in arm.runs]
  steps = set.intersection(*(set(run.steps.tolist()) for run in runs))
  design = settings.design(arm)

  def at(step: int) -> resampling.Statistic:
    def statistic(resamples: resampling.Resamples) -> np.ndarray:
      weights = resamples.seed_counts(tuple(run.seed for run in runs))
      agrees, decided = (
        curves.mean_over_seeds(
          np.stack([_at(run, step, name, resamples) for run in runs]), weights
        )
        for name in (_AGREES, _DECIDES)
      )
      return np.divide(
        agrees, decided, out=np.full_like(agrees, np.nan), where=decided > 0
      )

    return statistic

  return [
    Agreement(
      step,
      float(np.mean([run.kl_nats[_row(run, step)].mean() for run in runs])),
      resampling.estimate(at(step), design),
    )
    for step in sorted(steps)
  ]


def _with_agreement(run: arms.Trajectory, judge: str) -> arms.Trajectory:
  truth = run.outcomes[judges.WIN_RATES["utility"]]
  judged = run.outcomes[judges.WIN_RATES[judge]]
  decided = truth != 0.5
  agrees = np.where(decided, 1 - np.abs(judged - truth), 0.0)
  outcomes = {_AGREES: agrees, _DECIDES: decided.astype(np.float64)}
  return dataclasses.replace(run, outcomes=outcomes)


def _row(run: arms.Trajectory, step: int) -> int:
  return run.steps.tolist().index(step)


def _at(
  run: arms.Trajectory,
  step: int,
  name: str,
  resamples: resampling.Resamples,
) -> np.ndarray:
  return curves.mean(run, name, resamples)[:, _row(run, step)]
