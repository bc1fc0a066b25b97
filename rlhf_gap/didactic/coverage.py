"""The 8 x 8 coverage example of Xu et al. 2024 (arXiv 2404.10719)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
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
from rlhf_gap.plotting.picture import Picture

SIZE, HIDDEN = 8, 32
PAIRS_A_PROMPT = 2
BETA, STEPS, STEP_SIZE = 0.1, 1000, 0.01
METHODS = ("DPO", "RL")


def _init(key: Array) -> dict[str, Array]:
  first, second = jax.random.split(key)
  scale = 1 / np.sqrt(HIDDEN)
  return {
    "hidden": jax.random.normal(first, (SIZE, HIDDEN)),
    "output": jax.random.normal(second, (HIDDEN, SIZE)) * scale,
  }


def _cells(params: dict[str, Array]) -> Float[Array, "8 8"]:
  # One-hot prompts: the first layer's product is its weights.
  return jax.nn.tanh(params["hidden"]) @ params["output"]


def losers(key: Array) -> Int[Array, "8 pairs"]:
  """Returns distinct random responses off the diagonal, for every prompt."""
  keys = jax.random.split(key, SIZE)
  shift = jax.vmap(lambda k: jax.random.permutation(k, SIZE - 1))(keys) + 1
  return (jnp.arange(SIZE)[:, None] + shift[:, :PAIRS_A_PROMPT]) % SIZE


def _margins(cells: Array, lost: Array) -> Array:
  """Returns cell(diagonal) - cell(loser) of all pairs, [16]."""
  rows = jnp.arange(SIZE)[:, None]
  return (jnp.diag(cells)[:, None] - cells[rows, lost]).ravel()


def _minimize(loss: Callable[[Any], Array], params: Any) -> Any:
  optimizer = optax.adam(STEP_SIZE)

  def step(state: tuple, _: None) -> tuple:
    params, moments = state
    updates, moments = optimizer.update(jax.grad(loss)(params), moments)
    return (optax.apply_updates(params, updates), moments), None

  state = (params, optimizer.init(params))
  return jax.lax.scan(step, state, length=STEPS)[0][0]


def _train_one(seed: Array) -> dict[str, Array]:
  policy_key, reward_key, pairs_key = jax.random.split(jax.random.key(seed), 3)
  start, lost = _init(policy_key), losers(pairs_key)
  reference = jax.nn.log_softmax(_cells(start))

  def dpo(params: Any) -> Array:
    rho = _margins(jax.nn.log_softmax(_cells(params)) - reference, lost)
    return losses.dpo(rho, beta=BETA).mean()

  def bradley_terry(params: Any) -> Array:
    return losses.dpo(_margins(_cells(params), lost), beta=1.0).mean()

  reward = _cells(_minimize(bradley_terry, _init(reward_key)))

  def regularized_reward(params: Any) -> Array:
    log_prob = jax.nn.log_softmax(_cells(params))
    value = BETA * (log_prob - reference) - reward
    return (jnp.exp(log_prob) * value).sum(axis=1).mean()

  covered = jnp.eye(SIZE).at[jnp.arange(SIZE)[:, None], lost].set(1.0)
  trained = {
    "DPO": _cells(_minimize(dpo, start)),
    "RL": _cells(_minimize(regularized_reward, start)),
    "reference": reference,
  }
  tables = {name: jax.nn.softmax(cells) for name, cells in trained.items()}
  return tables | {"covered": covered}


def measure(num_seeds: int) -> Curves:
  """Trains both methods at every seed.

  Returns:
    Per seed, "METHOD: uncovered", "METHOD: rise" and "METHOD: diagonal", and
    the tables of probabilities of seed 0, [8, 8], for the picture.
  """
  tables = jax.jit(jax.vmap(_train_one))(jnp.arange(num_seeds))
  arrays = {name: np.asarray(x, np.float64) for name, x in tables.items()}
  return summarize(arrays)


def summarize(tables: dict[str, np.ndarray]) -> Curves:
  """Returns the estimands of tables, [seeds, 8, 8] each; see `measure`."""
  unseen = 1 - tables["covered"]
  start = tables["reference"]
  curves = {f"table: {name}": table[0] for name, table in tables.items()}
  for name in ("reference", *METHODS):
    table = tables[name]
    rise = np.where(unseen > 0, table - start, -1.0).max(axis=(1, 2))
    diagonal = np.diagonal(table, axis1=1, axis2=2).mean(axis=1)
    uncovered = (table * unseen).sum(axis=2).mean(axis=1)
    curves[f"{name}: rise"] = rise[:, None]
    curves[f"{name}: diagonal"] = diagonal[:, None]
    curves[f"{name}: uncovered"] = uncovered[:, None]
  return curves


def pictures(curves: Curves) -> list[Picture]:
  """Plots the tables of seed 0: reference, DPO and RL."""
  return [
    Picture(
      name=f"coverage_{name.lower()}",
      title=f"{name}: probability of each response (seed 0)",
      caption="Boxes are covered by preference pairs; the diagonal is best.",
      header=("prompt", "response", "probability", "covered"),
      rows=[
        (x, y, float(curves[f"table: {name}"][x, y]), int(covered))
        for (x, y), covered in np.ndenumerate(curves["table: covered"])
      ],
      plot=functools.partial(_plot, curves=curves, name=name),
    )
    for name in ("reference", *METHODS)
  ]


def _plot(ax: mpl_axes.Axes, *, curves: Curves, name: str) -> None:
  table = curves[f"table: {name}"]
  ax.imshow(table, cmap="Blues", vmin=0, vmax=1)
  ax.grid(visible=False)
  for (x, y), covered in np.ndenumerate(curves["table: covered"]):
    box = {"boxstyle": "square", "fill": False} if covered else None
    color = "white" if table[x, y] > 0.6 else "black"
    ax.text(
      *(y, x, f"{table[x, y]:.2f}"),
      ha="center",
      va="center",
      fontsize=7,
      color=color,
      bbox=box,
    )
  ax.set_title(f"{name} (boxes: covered by pairs)", fontsize=10)
  ax.set_xlabel("response")
  ax.set_ylabel("prompt")


def _dpo_rises(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      "largest rise of an uncovered cell, DPO:", last(curves, "DPO: rise")
    )
  ]


def _rl_less_uncovered(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      "mass on uncovered responses, DPO - RL:",
      last(curves, "DPO: uncovered") - last(curves, "RL: uncovered"),
    )
  ]


def _rl_recovers(curves: Curves) -> list[Part]:
  return [
    axes.ahead(
      "mass on the diagonal, RL - DPO:",
      last(curves, "RL: diagonal") - last(curves, "DPO: diagonal"),
    )
  ]


_SOURCE = "Xu et al. (2024), section 4"

COVERAGE = Problem(
  measure=measure,
  pictures=pictures,
  claims=(
    DidacticClaim(
      "DPO raises uncovered responses",
      "DPO makes some response that no pair covers more likely.",
      _SOURCE,
      _dpo_rises,
    ),
    DidacticClaim(
      "RL puts less on uncovered responses",
      "RL on a learned reward leaves less mass on them than DPO.",
      _SOURCE,
      _rl_less_uncovered,
    ),
    DidacticClaim(
      "RL recovers the optimum better",
      "RL puts more mass on the diagonal than DPO.",
      _SOURCE,
      _rl_recovers,
    ),
  ),
)
