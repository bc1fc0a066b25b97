"""The training step, shared by all regimes."""

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

# A batch with less weight than this counts as having none.
_LEAST_WEIGHT = 1e-12


class TrainState(NamedTuple):
  """The state that a step updates.

  Attributes:
    step: number of updates made.
    params: parameters of the trained model.
    opt_state: state of the optimizer.
  """

  step: Int[Array, ""]
  params: t5.Params
  opt_state: Any


class StepMetrics(NamedTuple):
  """The metrics of a step.

  Attributes:
    means: means of the objective's metrics, see `batch_metrics.means`.
    weight: total weight of the batch; 0 if all pairs are ties.
    gradient_norm: global gradient norm before clipping.
    is_finite: whether loss and gradient are finite; if not, nothing changed.
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
  """Returns the initial train state.

  Args:
    params: the model's parameters; they become part of the state.
    optimizer: the optimizer, whose state is initialized.
    shardings: shardings of the state; None for the default device.
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
  """Returns the shardings of a train state.

  Args:
    config: the model's architecture.
    optimizer: the run's optimizer.
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
  """Updates the state: params += optimizer(gradient of the mean loss).

  Args:
    state: parameters and optimizer.
    batch: the training rows.
    learning_rate: factor of the optimizer's update. It is an argument, as in
      T5X, so all rates and schedules share one compiled program.
    objective: sums the rows' losses.
    optimizer: turns the gradient into an update.
    dropout_key: random key, folded with the step; None disables dropout.
    num_microbatches: number of sequential parts of the batch.

  Returns:
    The new state and its metrics. If loss or gradient is not finite, the state
    is unchanged.
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
  # Without weight, the gradient is 0 instead of 0 / 0.
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
  """Returns the jitted `train_step`, which donates its state.

  Args:
    objective: sums the rows' losses.
    optimizer: turns the gradient into an update.
    dropout_key: random key for dropout; None disables dropout.
    num_microbatches: number of sequential parts of the batch.
    shardings: output shardings of state and metrics. The state's must equal its
      input shardings for its buffers to be reused. None leaves them to XLA.

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
