"""Trains a policy over a few actions, whose probabilities are known exactly."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from rlhf_gap import losses

SAMPLES_A_STATE = 10
STEPS = 600
STATES_A_BATCH = 10
STORED_STATES = 100
STEP_SIZE = 0.05

LogPolicy = Callable[[Array], Array]
"""Maps parameters to the log-probability of every action."""


@dataclasses.dataclass(frozen=True)
class Arm:
  """One combination of the axes of Tajwar et al. 2024.

  Attributes:
    negative_gradient: IPO on all pairs; otherwise, imitate the best sample.
    on_policy: sample from the policy; otherwise, from the data's distribution.
    steps_a_batch: gradient steps on each batch of samples; a divisor of
      `STEPS`. `STEPS` means one stored data set.
  """

  negative_gradient: bool
  on_policy: bool
  steps_a_batch: int

  @property
  def states(self) -> int:
    """States of a batch."""
    stored = self.steps_a_batch == STEPS
    return STORED_STATES if stored else STATES_A_BATCH


SOURCES = {
  "on-policy": (True, 10),
  "on-policy, no reuse": (True, 1),
  "on-policy, heavy reuse": (True, 100),
  "from the reference": (False, 10),
  "stored": (False, STEPS),
}
LOSSES = {"IPO": True, "best of 10": False}


def arms() -> dict[str, Arm]:
  """Returns every loss with every source of samples, by name."""
  return {
    f"{loss}, {source}": Arm(negative, *settings)
    for loss, negative in LOSSES.items()
    for source, settings in SOURCES.items()
  }


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """What is to be learned.

  Attributes:
    log_policy: log-probabilities of actions from parameters.
    start: parameters of the reference.
    log_data: log-probabilities of the offline data's actions.
    reward: reward of every action.
    ipo_beta: IPO's beta in Azar et al.'s form, whose target is 1/(2 beta).
  """

  log_policy: LogPolicy
  start: Float[Array, "parameters"]
  log_data: Float[Array, "actions"]
  reward: Float[Array, "actions"]
  ipo_beta: float


def ipo_of_all_pairs(
  log_ratio: Float[Array, "states samples"],
  reward: Float[Array, "states samples"],
  beta: float,
) -> Float[Array, ""]:
  """Returns IPO's mean over all pairs of a state with different rewards.

  Args:
    log_ratio: log pi / pi_ref of every sample, in nats.
    reward: its reward.
    beta: IPO's beta (see `losses.ipo`, form azar).
  """
  rho = log_ratio[:, :, None] - log_ratio[:, None, :]
  wins = (reward[:, :, None] > reward[:, None, :]).astype(rho.dtype).ravel()
  values = losses.ipo(rho.ravel(), beta=beta, form="azar")
  return (wins * values).sum() / jnp.maximum(wins.sum(), 1)


def best_of_all(
  log_prob: Float[Array, "states samples"],
  reward: Float[Array, "states samples"],
) -> Float[Array, ""]:
  """Returns the mean of -log pi(best sample of a state)."""
  best = jnp.argmax(reward, axis=1)[:, None]
  return -jnp.take_along_axis(log_prob, best, axis=1).mean()


@dataclasses.dataclass(frozen=True)
class _Loop:
  """What a compiled loop depends on besides its arrays."""

  log_policy: LogPolicy
  ipo_beta: float
  negative_gradient: bool
  states: int
  steps_a_batch: int


def train(
  tasks: Mapping[str, Task], arm: Arm, num_seeds: int
) -> dict[str, np.ndarray]:
  """Trains an arm on every task at every seed.

  Args:
    tasks: what is to be learned; they share `log_policy` and `ipo_beta`.
    arm: how.
    num_seeds: number of seeds, from 0.

  Returns:
    By task, the policy's expected reward before training and after every step,
    [seeds, STEPS + 1].
  """
  shared = next(iter(tasks.values()))
  loop = _Loop(
    shared.log_policy,
    shared.ipo_beta,
    arm.negative_gradient,
    arm.states,
    arm.steps_a_batch,
  )
  arrays = [
    jnp.stack([getattr(task, name) for task in tasks.values()])
    for name in ("start", "log_data", "reward")
  ]
  keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
  rewards = _train_all(loop, *arrays, keys, jnp.asarray(arm.on_policy))
  return dict(zip(tasks, np.asarray(rewards, np.float64), strict=True))


@functools.partial(jax.jit, static_argnums=0)
def _train_all(
  loop: _Loop,
  start: Array,
  log_data: Array,
  reward: Array,
  keys: Array,
  on_policy: Array,
) -> Array:
  one = functools.partial(_train_one, loop)
  seeds = jax.vmap(one, in_axes=(None, None, None, 0, None))
  return jax.vmap(seeds, in_axes=(0, 0, 0, None, None))(
    start, log_data, reward, keys, on_policy
  )


def _train_one(
  loop: _Loop,
  start: Array,
  log_data: Array,
  reward: Array,
  key: Array,
  on_policy: Array,
) -> Array:
  optimizer = optax.adam(STEP_SIZE)
  log_reference = loop.log_policy(start)

  def loss(params: Array, chosen: Array) -> Array:
    log_prob, rewards = loop.log_policy(params), chosen @ reward
    if not loop.negative_gradient:
      return best_of_all(chosen @ log_prob, rewards)
    log_ratio = chosen @ (log_prob - log_reference)
    return ipo_of_all_pairs(log_ratio, rewards, loop.ipo_beta)

  def expected_reward(params: Array) -> Array:
    return jnp.exp(loop.log_policy(params)) @ reward

  def step(state: tuple, chosen: Array) -> tuple:
    params, moments = state
    updates, moments = optimizer.update(jax.grad(loss)(params, chosen), moments)
    params = params + updates
    return (params, moments), expected_reward(params)

  def batch(state: tuple, key: Array) -> tuple:
    source = jnp.where(on_policy, loop.log_policy(state[0]), log_data)
    shape = (loop.states, SAMPLES_A_STATE)
    actions = jax.random.categorical(key, source, shape=shape)
    # A product with one-hot rows: the gradient of indexing is slow on CPUs.
    chosen = jax.nn.one_hot(actions, len(reward))
    return jax.lax.scan(
      lambda state, _: step(state, chosen), state, length=loop.steps_a_batch
    )

  state = (start, optimizer.init(start))
  batches = jax.random.split(key, STEPS // loop.steps_a_batch)
  rewards: Array = jax.lax.scan(batch, state, batches)[1]
  return jnp.concatenate([expected_reward(start)[None], rewards.ravel()])
