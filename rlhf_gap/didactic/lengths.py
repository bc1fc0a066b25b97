"""Length tasks after Tajwar et al. 2024: min, mode and skew.

A policy stops at each position with some probability:
log pi(l) = log s_l + sum_{k<l} log(1 - s_k), with s = 1 at the last position.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from rlhf_gap.didactic import axes
from rlhf_gap.didactic.problem import Curves, DidacticClaim, Part, Problem
from rlhf_gap.didactic.training import LOSSES, Task
from rlhf_gap.plotting.picture import Picture

LONGEST = 64
_MEDIAN, _SIGMA = 20.0, 0.5
_SKEW = 0.95
_IPO_BETA = 0.5
_LENGTHS = np.arange(1, LONGEST + 1)


def reference() -> np.ndarray:
  """Returns probabilities of lengths 1 to 64, a discretized lognormal."""
  density = stats.lognorm.pdf(_LENGTHS, _SIGMA, scale=_MEDIAN)
  return density / density.sum()


def log_policy(stop_logits: jax.Array) -> jax.Array:
  """Returns log-probabilities of all lengths.

  Args:
    stop_logits: logits of stopping at positions 1 to 63.
  """
  stop = jnp.append(jax.nn.log_sigmoid(stop_logits), 0.0)
  survive = jnp.cumsum(jax.nn.log_sigmoid(-stop_logits))
  return stop + jnp.insert(survive, 0, 0.0)


def stop_logits(probabilities: np.ndarray) -> np.ndarray:
  """Inverts `log_policy`."""
  later = np.cumsum(probabilities[::-1])[::-1][1:]
  return np.log(probabilities[:-1]) - np.log(later)


def skewed(probabilities: np.ndarray) -> np.ndarray:
  """Returns data of which 95% are at least as long as the median."""
  is_long = np.cumsum(probabilities) >= 0.5
  share = np.where(
    is_long,
    _SKEW / probabilities[is_long].sum(),
    (1 - _SKEW) / probabilities[~is_long].sum(),
  )
  return probabilities * share


def share_of_gain(reward: np.ndarray) -> np.ndarray:
  """Scales rewards so that the reference has 0 and the best response 1."""
  mean = float(reference() @ reward)
  return (reward - mean) / (reward.max() - mean)


def tasks() -> dict[str, Task]:
  """Returns min, mode and skew."""
  base = reference()
  shorter = share_of_gain(-_LENGTHS.astype(np.float64))
  typical = share_of_gain(-np.abs(_LENGTHS - float(base @ _LENGTHS)))
  chosen = {
    "min": (shorter, base),
    "mode": (typical, base),
    "skew": (shorter, skewed(base)),
  }
  return {
    name: Task(
      log_policy,
      jnp.asarray(stop_logits(base), jnp.float32),
      jnp.log(jnp.asarray(data, jnp.float32)),
      jnp.asarray(reward, jnp.float32),
      _IPO_BETA,
    )
    for name, (reward, data) in chosen.items()
  }


def measure(num_seeds: int) -> Curves:
  """Trains every arm on every task."""
  return axes.measure(tasks(), num_seeds)


def pictures(curves: Curves) -> list[Picture]:
  """Plots the share of the possible gain over training, for each task."""
  titles = {
    "min": "min: shorter is better",
    "mode": "mode: the reference's mean length is best",
    "skew": "skew: shorter is better, stored data are long",
  }
  return [
    axes.picture(
      curves,
      task,
      name=f"lengths_{task}",
      title=title,
      y_label="share of the possible gain",
    )
    for task, title in titles.items()
  ]


def _sampling(curves: Curves) -> list[Part]:
  return [
    axes.ahead(*part)
    for task in ("min", "skew")
    for part in axes.each_loss(curves, task, "on-policy", "from the reference")
  ]


def _more_in(first: str, second: str, curves: Curves) -> list[Part]:
  sources = ("on-policy", "from the reference")
  return [
    axes.ahead(f"{loss}:", high - low)
    for loss, (_, high), (_, low) in zip(
      LOSSES,
      axes.each_loss(curves, first, *sources),
      axes.each_loss(curves, second, *sources),
      strict=True,
    )
  ]


def _negative(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      f"{task}:",
      axes.gap(curves, task, "IPO, on-policy", "best of 10, on-policy"),
    )
    for task in ("min", "skew")
  ]


_SOURCE = "Tajwar et al. (2024), synthetic length problems"

LENGTHS = Problem(
  measure=measure,
  pictures=pictures,
  claims=(
    DidacticClaim(
      "on-policy samples reach short responses",
      "In min and skew, samples of the policy beat as many of the data.",
      _SOURCE,
      _sampling,
    ),
    DidacticClaim(
      "on-policy samples matter less in mode",
      "Their advantage is larger in min than in mode.",
      _SOURCE,
      lambda curves: _more_in("min", "mode", curves),
    ),
    DidacticClaim(
      "skewed data need on-policy samples more",
      "Their advantage is larger in skew than in min.",
      _SOURCE,
      lambda curves: _more_in("skew", "min", curves),
    ),
    DidacticClaim(
      "a negative gradient helps",
      "On-policy, IPO beats imitating the best of 10 in min and skew.",
      _SOURCE,
      _negative,
    ),
  ),
)
