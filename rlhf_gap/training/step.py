"""The one training step of every regime."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from rlhf_gap import partitioning
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.models import t5
from rlhf_gap.training import batch_metrics, gradients
from rlhf_gap.training.batch_metrics import Sums
from rlhf_gap.training.objectives import Objective

# Below it a batch has no weight at all.
_LEAST_WEIGHT = 1e-12


class TrainState(NamedTuple):
  """Everything that a step changes.

  Attributes:
    step: updates made so far.
    params: of the model being trained.
    opt_state: the optimizer's.
  """

  step: Int[Array, ""]
  params: t5.Params
  opt_state: Any


class StepMetrics(NamedTuple):
  """What a step reports.

  Attributes:
    means: see `batch_metrics.means`.
    weight: the batch's weight; 0 where all its pairs are ties.
    gradient_norm: of all gradients together, before any clipping.
    is_finite: whether loss and gradient were; if not, the step changed nothing.
  """

  means: dict[str, Float[Array, ""]]
  weight: Float[Array, ""]
  gradient_norm: Float[Array, ""]
  is_finite: Bool[Array, ""]


# (state, batch, learning rate) -> (state, metrics)
Step = Callable[..., tuple[TrainState, StepMetrics]]


def init(
  params: t5.Params,
  optimizer: optax.GradientTransformation,
  shardings: TrainState | None = None,
) -> TrainState:
  """Returns the state before the first step.

  Args:
    params: of the model; they become the state's.
    optimizer: its state is made new.
    shardings: where the optimizer's state is made; None for the default device.
  """
  if shardings is None:
    return TrainState(jnp.int32(0), params, optimizer.init(params))
  begin = jax.jit(optimizer.init, out_shardings=shardings.opt_state)
  step = jax.device_put(jnp.int32(0), shardings.step)
  return TrainState(step, params, begin(params))


def shardings_of(
  config: t5.T5Config,
  optimizer: optax.GradientTransformation,
  mesh: partitioning.AnyMesh,
) -> TrainState:
  """Returns where everything of a state goes on a mesh.

  Args:
    config: the model's architecture.
    optimizer: of the run.
    mesh: the mesh.

  Returns:
    A `NamedSharding` for each array.

  Raises:
    UserError: the mesh does not divide the model's layers.
  """
  partitioning.check_model(config, mesh)
  params = partitioning.parameters(config, mesh)
  shapes = jax.eval_shape(optimizer.init, t5.param_shapes(config))
  moments = partitioning.optimizer_state(shapes, params)
  return TrainState._make((partitioning.replicated(mesh), params, moments))


def train_step(
  state: TrainState,
  batch: PreferenceBatch | ResponseBatch,
  learning_rate: float | Float[Array, ""] = 1.0,
  *,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  dropout_key: Array | None = None,
  num_microbatches: int = 1,
) -> tuple[TrainState, StepMetrics]:
  """Makes one update: params <- params + optimizer(gradient of the mean loss).

  Args:
    state: parameters and optimizer.
    batch: rows, wherever they came from.
    learning_rate: multiplies the optimizer's update. An argument, as in T5X: a
      sweep over rates and schedules shares one compiled program.
    objective: sums the rows' losses.
    optimizer: turns the gradient into an update.
    dropout_key: turns dropout on; another key is made of it for every step.
    num_microbatches: parts of the batch to work through one after another.

  Returns:
    The new state, and what to report. Where loss or gradient are not finite,
    the parameters and the optimizer stay as they were.
  """
  key = (
    None if dropout_key is None else jax.random.fold_in(dropout_key, state.step)
  )
  sums: Sums
  (loss, sums), gradient = gradients.sum_and_gradient(
    objective,
    state.params,
    batch,
    dropout_key=key,
    num_microbatches=num_microbatches,
  )
  means, weight = batch_metrics.means(sums)
  # A batch without weight has the gradient 0, not 0 / 0.
  scale = 1 / jnp.maximum(weight, _LEAST_WEIGHT)
  gradient = jax.tree.map(lambda g: g * scale, gradient)
  norm = optax.global_norm(gradient)
  is_finite = jnp.isfinite(loss) & jnp.isfinite(norm)
  updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
  updates = jax.tree.map(lambda u: learning_rate * u, updates)
  params = optax.apply_updates(state.params, updates)
  new = TrainState(state.step + 1, params, opt_state)
  kept = jax.tree.map(functools.partial(jnp.where, is_finite), new, state)
  return kept, StepMetrics(means, weight, norm, is_finite)


def compiled(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  dropout_key: Array | None = None,
  num_microbatches: int = 1,
  shardings: tuple[TrainState, Any] | None = None,
) -> Step:
  """Returns `train_step` jitted, its state donated.

  Args:
    objective: sums the rows' losses.
    optimizer: turns the gradient into an update.
    dropout_key: turns dropout on.
    num_microbatches: parts of a batch to work through one after another.
    shardings: where the new state goes, which must be where the old one is for
      the next step to reuse its buffers, and where the metrics go; None leaves
      it to the compiler.

  Returns:
    (state, batch, learning rate = 1) -> (state, metrics); the given state's
    buffers are reused.
  """
  update = functools.partial(
    train_step,
    objective=objective,
    optimizer=optimizer,
    dropout_key=dropout_key,
    num_microbatches=num_microbatches,
  )
  if shardings is None:
    return jax.jit(update, donate_argnums=0)
  return jax.jit(update, donate_argnums=0, out_shardings=shardings)
