"""The bandit of Tajwar et al. 2024 (arXiv 2404.14367)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from rlhf_gap.didactic import axes
from rlhf_gap.didactic.problem import Curves, DidacticClaim, Part, Problem
from rlhf_gap.didactic.training import LOSSES, Task
from rlhf_gap.plotting.picture import Picture

NUM_ACTIONS = 100
PEAKS = {"R1": 70.0, "R2": 20.0}
_WIDTH = 10.0
_IPO_TARGET_NATS = 10.0


def reference() -> np.ndarray:
  """Returns pi_ref, tanh of Cauchy(-0.7, 0.4) in 100 bins of [-1, 1]."""
  with np.errstate(divide="ignore"):
    edges = np.arctanh(np.linspace(-1, 1, NUM_ACTIONS + 1))
  return np.diff(stats.cauchy.cdf(edges, -0.7, 0.4))


def reward(peak: float) -> np.ndarray:
  """Returns exp(-((a - peak) / 10)^2) of every action a."""
  return np.exp(-(((np.arange(NUM_ACTIONS) - peak) / _WIDTH) ** 2))


def measure(num_seeds: int) -> Curves:
  """Trains every arm on R1 and R2."""
  start = jnp.log(jnp.asarray(reference(), jnp.float32))
  tasks = {
    name: Task(
      jax.nn.log_softmax,
      start,
      start,
      jnp.asarray(reward(peak), jnp.float32),
      1 / (2 * _IPO_TARGET_NATS),
    )
    for name, peak in PEAKS.items()
  }
  return axes.measure(tasks, num_seeds)


def pictures(curves: Curves) -> list[Picture]:
  """Plots expected reward over training, for R1 and R2."""
  return [
    axes.picture(
      curves,
      task,
      name=f"bandit_{task.lower()}",
      title=f"{task}: the peak is {where} the reference's",
      y_label="expected reward",
    )
    for task, where in (("R1", "off"), ("R2", "on"))
  ]


def _sampling(curves: Curves) -> list[Part]:
  return [
    axes.ahead(*part)
    for part in axes.each_loss(curves, "R1", "on-policy", "from the reference")
  ]


def _milder(first: str, second: str, curves: Curves) -> list[Part]:
  return [
    axes.ahead(f"{loss}:", r1 - r2)
    for loss, (_, r1), (_, r2) in zip(
      LOSSES,
      axes.each_loss(curves, "R1", first, second),
      axes.each_loss(curves, "R2", first, second),
      strict=True,
    )
  ]


def _negative(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      f"{source}:",
      axes.gap(curves, "R1", f"IPO, {source}", f"best of 10, {source}"),
    )
    for source in ("on-policy", "stored")
  ]


def _compound(curves: Curves) -> list[Part]:
  others = ("IPO, stored", "best of 10, on-policy")
  return [
    axes.ahead(f"over {o}:", axes.gap(curves, "R1", "IPO, on-policy", o))
    for o in others
  ]


def _reuse(curves: Curves) -> list[Part]:
  return [
    axes.no_loss(*part)
    for part in axes.each_loss(curves, "R1", "on-policy, no reuse", "on-policy")
  ]


_SOURCE = "Tajwar et al. (2024), didactic bandit"

BANDIT = Problem(
  measure=measure,
  pictures=pictures,
  claims=(
    DidacticClaim(
      "on-policy samples reach a peak off the reference",
      "On R1, samples of the policy beat as many of the reference.",
      _SOURCE,
      _sampling,
    ),
    DidacticClaim(
      "on-policy samples matter less on the reference's peak",
      "Their advantage is larger on R1 than on R2.",
      _SOURCE,
      functools.partial(_milder, "on-policy", "from the reference"),
    ),
    DidacticClaim(
      "reuse degrades R2 less",
      "From 10 to 100 steps a batch, R1 loses more than R2.",
      _SOURCE,
      functools.partial(_milder, "on-policy", "on-policy, heavy reuse"),
    ),
    DidacticClaim(
      "a negative gradient helps",
      "On R1, IPO beats imitating the best of 10 on the same samples.",
      _SOURCE,
      _negative,
    ),
    DidacticClaim(
      "both together are best",
      "On R1, on-policy IPO beats stored IPO and on-policy imitation.",
      _SOURCE,
      _compound,
    ),
    DidacticClaim(
      "moderate reuse is harmless",
      "On R1, 10 steps a batch lose too little to 1 to matter.",
      _SOURCE,
      _reuse,
    ),
  ),
)
