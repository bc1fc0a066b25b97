"""T5X's optimizers in optax, and their state in T5X's layout."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array

from rlhf_gap import errors

# step count -> learning rate
Schedule = Callable[[Any], Any]

# The shape of a T5X leaf that its parameter does not use.
_UNUSED_SHAPE = (1,)
_MOMENTS = {"adafactor": ("v_row", "v_col", "v"), "adamw": ("mu", "nu")}


def adafactor(
  learning_rate: float | Schedule,
  *,
  multiply_by_parameter_scale: bool = True,
  decay_rate: float = 0.8,
  clip_global_norm: float | None = None,
) -> optax.GradientTransformation:
  """Adafactor as T5X configures it (Shazeer and Stern 2018, no momentum).

  With g the gradient, V the running mean of g^2 (decay 1 - t^-decay_rate; kept
  as row and column means where both axes reach 128) and u = g / sqrt(V):

      u <- u / max(1, rms(u))
      parameter <- parameter - learning_rate * max(rms(parameter), 1e-3) * u

  `optax.adafactor` computes this and shapes its state like T5X. There are three
  differences. Its defaults are others. It counts steps itself, so a schedule
  starts at 0 even if the run starts from a T5X checkpoint at step 1,000,000. It
  has no `logical_factor_rules`, which T5X ignores for parameters with two axes;
  a T5 has no parameters with more.

  Args:
    learning_rate: step size, or a schedule of the step count. Relative to the
      parameter's root mean square if `multiply_by_parameter_scale`.
    multiply_by_parameter_scale: whether a step is relative to the parameter.
    decay_rate: exponent in the second moment's decay.
    clip_global_norm: largest norm of all gradients together; None for no limit.

  Returns:
    The gradient transformation; its updates are added to the parameters.
  """
  update = optax.adafactor(
    learning_rate,
    multiply_by_parameter_scale=multiply_by_parameter_scale,
    decay_rate=decay_rate,
    min_dim_size_to_factor=128,
    clipping_threshold=1.0,
    momentum=None,
    eps=1e-30,
  )
  return _clipped(update, clip_global_norm)


def adamw(
  learning_rate: float | Schedule,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_global_norm: float | None = None,
) -> optax.GradientTransformation:
  """AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay.

  Its learning rate is absolute and not comparable with Adafactor's, which is
  relative to each parameter.

  Args:
    learning_rate: step size, or a schedule of the step count.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.
    weight_decay: decay coefficient, multiplied by `learning_rate`.
    clip_global_norm: largest norm of all gradients together; None for no limit.

  Returns:
    The gradient transformation; its updates are added to the parameters.
  """
  update = optax.adamw(
    learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay
  )
  return _clipped(update, clip_global_norm)


def _clipped(
  update: optax.GradientTransformation, clip_global_norm: float | None
) -> optax.GradientTransformation:
  if clip_global_norm is None:
    return update
  return optax.chain(optax.clip_by_global_norm(clip_global_norm), update)


def to_t5x(opt_state: Any, params: Any) -> dict[str, Any]:
  """Returns an optimizer's state in T5X's layout of `state/param_states`.

  Args:
    opt_state: the state of `adafactor` or `adamw`.
    params: the parameters that it belongs to.

  Returns:
    For each parameter {"v_row", "v_col", "v", "m"} (Adafactor, exactly T5X's
    leaves) or {"mu", "nu"} (AdamW, for which T5X has no leaves of its own).
  """
  kind = _kind(opt_state)
  moments = [optax.tree.get(opt_state, name) for name in _MOMENTS[kind]]

  def leaves(param: Array, *values: Array) -> dict[str, Array]:
    named = dict(zip(_MOMENTS[kind], values, strict=True))
    if kind == "adafactor":
      named["m"] = jnp.zeros(_UNUSED_SHAPE, param.dtype)
    return named

  return jax.tree.map(leaves, params, *moments)


def from_t5x(
  opt_state: Any, params: Any, param_states: Mapping[str, Any], step: int
) -> Any:
  """Converts T5X's optimizer state to the state of an optax optimizer.

  Args:
    opt_state: the optimizer's initial state, used for its structure.
    params: the parameters that it belongs to.
    param_states: T5X's leaves, as `checkpoints.load` returns them.
    step: number of updates made so far.

  Returns:
    The optimizer's state after `step` updates.

  Raises:
    UserError: the leaves belong to another optimizer.
  """
  names = _MOMENTS[_kind(opt_state)]
  is_leaf = _is_moments
  found = jax.tree.leaves(param_states, is_leaf=is_leaf)
  for leaf in found:
    if not set(names) <= set(leaf):
      raise errors.UserError(
        f"the checkpoint holds optimizer state {sorted(leaf)}, expected"
        f" {list(names)}; it was trained with another optimizer: start from"
        " its parameters alone, or choose that optimizer"
      )
  values = {
    name: jax.tree.map(
      lambda _, leaf, name=name: leaf[name], params, param_states
    )
    for name in names
  }
  return optax.tree.set(opt_state, count=jnp.asarray(step, jnp.int32), **values)


def _kind(opt_state: Any) -> str:
  for kind, names in _MOMENTS.items():
    if optax.tree.get(opt_state, names[0], default=None) is not None:
      return kind
  raise ValueError(f"unknown optimizer state {type(opt_state)}")


def _is_moments(node: Any) -> bool:
  return isinstance(node, Mapping) and not any(
    isinstance(value, Mapping) for value in node.values()
  )
