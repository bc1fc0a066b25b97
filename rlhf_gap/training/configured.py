"""Optimizers with their settings, as a run file names them."""

import dataclasses
from collections.abc import Hashable
from typing import Protocol, runtime_checkable

import optax

from rlhf_gap import checks, errors
from rlhf_gap.training import optimizers


@runtime_checkable  # for checks of types while testing
class OptimizerSpec(Hashable, Protocol):
  """Describes an optimizer."""

  @property
  def learning_rate(self) -> "LearningRate":
    """What multiplies its update, step by step."""

  def without_rate(self) -> "OptimizerSpec":
    """Returns the same optimizer at a learning rate of 1."""

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer at a learning rate of 1."""


@dataclasses.dataclass(frozen=True)
class LearningRate:
  """A learning rate over the steps of a run.

  Attributes:
    peak: the rate after warming up, > 0.
    warm_up_steps: steps of a linear rise from 0; 0 for none.
    decay_steps: step at which a linear fall from the peak has ended; 0 for
      none.
    final_fraction: of the peak, where the fall ends.
  """

  peak: float
  warm_up_steps: int = 0
  decay_steps: int = 0
  final_fraction: float = 0.1

  def __post_init__(self) -> None:
    checks.positive(peak=self.peak)
    steps = {"warm_up_steps": self.warm_up_steps}
    steps["decay_steps"] = self.decay_steps
    checks.required(**steps)
    checks.counts(at_least=0, **steps)
    checks.between(0, 1, final_fraction=self.final_fraction)
    if self.decay_steps and self.decay_steps <= self.warm_up_steps:
      raise errors.UserError(
        f"decay_steps={self.decay_steps} ends within the warm-up of"
        f" {self.warm_up_steps} steps"
      )

  def at(self, step: int) -> float:
    """Returns the rate of update `step`, from 0.

    T5X's warm-up: peak * min(1, step / warm_up_steps), so that the first update
    changes nothing; then the fall, if any.

    Args:
      step: updates made before.
    """
    if step < self.warm_up_steps:
      return self.peak * step / self.warm_up_steps
    if not self.decay_steps:
      return self.peak
    span = self.decay_steps - self.warm_up_steps
    fallen = min((step - self.warm_up_steps) / span, 1.0)
    return self.peak * (1 - fallen * (1 - self.final_fraction))


@dataclasses.dataclass(frozen=True)
class Adafactor:
  """T5X's Adafactor; see `optimizers.adafactor`.

  Attributes:
    learning_rate: relative to each parameter's root mean square.
    clip_global_norm: largest norm of all gradients together; None for none.
  """

  learning_rate: LearningRate
  clip_global_norm: float | None = None

  def __post_init__(self) -> None:
    _check_clip(self.clip_global_norm)

  def without_rate(self) -> OptimizerSpec:
    """Returns the same optimizer at a learning rate of 1."""
    return dataclasses.replace(self, learning_rate=LearningRate(1.0))

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer at a learning rate of 1."""
    return optimizers.adafactor(1.0, clip_global_norm=self.clip_global_norm)


@dataclasses.dataclass(frozen=True)
class AdamW:
  """AdamW; see `optimizers.adamw`.

  Attributes:
    learning_rate: absolute.
    weight_decay: fraction of the parameter taken off, times the rate.
    clip_global_norm: largest norm of all gradients together; None for none.
  """

  learning_rate: LearningRate
  weight_decay: float = 0.0
  clip_global_norm: float | None = None

  def __post_init__(self) -> None:
    checks.between(0, weight_decay=self.weight_decay)
    _check_clip(self.clip_global_norm)

  def without_rate(self) -> OptimizerSpec:
    """Returns the same optimizer at a learning rate of 1."""
    return dataclasses.replace(self, learning_rate=LearningRate(1.0))

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer at a learning rate of 1."""
    return optimizers.adamw(
      1.0,
      weight_decay=self.weight_decay,
      clip_global_norm=self.clip_global_norm,
    )


def _check_clip(norm: float | None) -> None:
  if norm is not None:
    checks.positive(clip_global_norm=norm)
