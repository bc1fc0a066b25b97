"""The three-action counter-example of Xu et al. 2024 (arXiv 2404.10719).

The only pair prefers the first action to the second. DPO's loss depends on
pi(1) / pi(2) alone: it does not see the third action.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib import axes as mpl_axes

from rlhf_gap import losses
from rlhf_gap.didactic import axes
from rlhf_gap.didactic.problem import (
  Curves,
  DidacticClaim,
  Part,
  Problem,
  last,
)
from rlhf_gap.plotting import styles
from rlhf_gap.plotting.picture import Cell, Picture

REFERENCE = np.array([0.4995, 0.4995, 0.001])
REWARD = np.array([1.0, 0.0, 0.0])
BETA, IPO_BETA = 0.1, 0.5
STEPS, STEP_SIZE = 2000, 0.05

Loss = Callable[[Array], Array]
"""Maps log-probabilities of the three actions to a loss."""


def rho(log_prob: Float[Array, "3"]) -> Float[Array, "1"]:
  """Returns log pi(1)/pi(2) - log pi_ref(1)/pi_ref(2), in nats."""
  log_ratio = log_prob - jnp.log(REFERENCE)
  return (log_ratio[0] - log_ratio[1])[None]


def regularized_reward(log_prob: Float[Array, "3"]) -> Float[Array, ""]:
  """Returns -(E_pi[r] - beta KL(pi, pi_ref)), which RL minimizes."""
  kl = log_prob - jnp.log(REFERENCE)
  return jnp.exp(log_prob) @ (BETA * kl - REWARD)


LOSSES: dict[str, Loss] = {
  "DPO": lambda log_prob: losses.dpo(rho(log_prob), beta=BETA).sum(),
  "IPO": lambda log_prob: losses.ipo(rho(log_prob), beta=IPO_BETA).sum(),
  "RL": regularized_reward,
}
_COLORS_AND_MARKERS = {
  "DPO": (styles.VERMILLION, "s", 11),
  "IPO": (styles.ORANGE, "D", 5),
  "RL": (styles.BLUE, "o", 6),
}


def rl_optimum() -> np.ndarray:
  """Returns RL's optimum, pi_ref exp(r / beta) / Z."""
  tilted = REFERENCE * np.exp(REWARD / BETA)
  return tilted / tilted.sum()


def train(loss: Loss, num_seeds: int) -> np.ndarray:
  """Minimizes a loss from standard normal logits.

  Args:
    loss: the loss.
    num_seeds: number of seeds, from 0.

  Returns:
    The probabilities before training and after every step,
    [seeds, STEPS + 1, 3].
  """
  optimizer = optax.adam(STEP_SIZE)

  def step(state: tuple, _: None) -> tuple:
    logits, moments = state
    gradient = jax.grad(lambda z: loss(jax.nn.log_softmax(z)))(logits)
    updates, moments = optimizer.update(gradient, moments)
    return (logits + updates, moments), jax.nn.softmax(logits + updates)

  def one(key: Array) -> Array:
    logits = jax.random.normal(key, (3,))
    state = (logits, optimizer.init(logits))
    later: Array = jax.lax.scan(step, state, length=STEPS)[1]
    return jnp.concatenate([jax.nn.softmax(logits)[None], later])

  keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
  return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def measure(num_seeds: int) -> Curves:
  """Returns the probability of each action, by "loss: action"."""
  curves = {}
  for name, loss in LOSSES.items():
    paths = train(loss, num_seeds)
    for action in range(3):
      curves[f"{name}: {action + 1}"] = paths[:, :, action]
  return curves


def pictures(curves: Curves) -> list[Picture]:
  """Plots every seed's path over pi(1) and pi(3)."""
  rows: list[tuple[Cell, ...]] = []
  for name in LOSSES:
    paths = [curves[f"{name}: {action}"] for action in (1, 2, 3)]
    rows += [
      (name, seed, step, *(float(path[seed, step]) for path in paths))
      for seed in range(len(paths[0]))
      for step in range(0, STEPS + 1, 50)
    ]
  return [
    Picture(
      name="counterexample",
      title="Three actions, one pair",
      caption=(
        "Paths of every seed; the end is marked. On the dashed edge pi(2) = 0,"
        " where DPO's loss is smallest."
      ),
      header=("loss", "seed", "step", "action_1", "action_2", "action_3"),
      rows=rows,
      plot=functools.partial(_plot, curves=curves),
    )
  ]


def _plot(ax: mpl_axes.Axes, *, curves: Curves) -> None:
  ax.plot([0, 1], [1, 0], color="0.35", ls="--", lw=1, label="second: 0")
  for name, (color, marker, size) in _COLORS_AND_MARKERS.items():
    first, third = curves[f"{name}: 1"], curves[f"{name}: 3"]
    ax.plot(first.T, third.T, color=color, lw=0.8, alpha=0.6)
    ends = (first[:, -1], third[:, -1])
    ax.plot(
      *ends, ls="", marker=marker, ms=size, mfc="none", mec=color, label=name
    )
  ax.set_xlabel("probability of the preferred action")
  ax.set_ylabel("probability of the third action")


def _dpo_leaks(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      "mass on the third action, DPO - reference:",
      last(curves, "DPO: 3") - REFERENCE[2],
    ),
    axes.no_loss("mass on the second, DPO:", last(curves, "DPO: 2")),
  ]


def _rl_stays(curves: Curves) -> list[Part]:
  return [
    axes.no_loss(
      "mass on the third action, RL - reference:",
      last(curves, "RL: 3") - REFERENCE[2],
    )
  ]


def _ipo_leaks(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      "mass on the third action, IPO - reference:",
      last(curves, "IPO: 3") - REFERENCE[2],
    )
  ]


COUNTEREXAMPLE = Problem(
  measure=measure,
  pictures=pictures,
  claims=(
    DidacticClaim(
      "DPO leaves the reference's support",
      "DPO ends with pi(2) = 0 and mass on the action the reference lacks.",
      "Xu et al. (2024), section 4",
      _dpo_leaks,
    ),
    DidacticClaim(
      "RL stays in the reference's support",
      "RL with a KL penalty puts no mass there.",
      "Xu et al. (2024), section 4",
      _rl_stays,
    ),
    DidacticClaim(
      "IPO leaves it too",
      "A bounded margin does not help: IPO is as blind to the third action.",
      "ours, after Xu et al. (2024), section 4",
      _ipo_leaks,
    ),
  ),
)
