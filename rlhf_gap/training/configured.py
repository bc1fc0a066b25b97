"""Optimizer settings, bound by gin in run files."""

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
    """The factor of each step's update."""

  def without_rate(self) -> "OptimizerSpec":
    """Returns the same optimizer at a learning rate of 1."""

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer at a learning rate of 1."""


@dataclasses.dataclass(frozen=True)
class LearningRate:
  """A learning-rate schedule: linear warm-up, then an optional linear decay.

  Attributes:
    peak: learning rate after the warm-up, > 0.
    warm_up_steps: length of the linear warm-up from 0; 0 for no warm-up.
    decay_steps: step at which the linear decay ends; 0 for no decay.
    final_fraction: final rate as a fraction of the peak.
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
    """Returns the learning rate of update `step`, counted from 0.

    The warm-up is T5X's, peak * min(1, step / warm_up_steps), so the first
    update has rate 0.

    Args:
      step: number of updates made before.
    """
    # Not `optax.schedules`: they compute in float32, and their rates differ in
    # the last bit, which would change runs that are resumed or reproduced.
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
    clip_global_norm: maximum global gradient norm; None for no limit.
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
    learning_rate: absolute step size.
    weight_decay: decay coefficient, multiplied by the learning rate.
    clip_global_norm: maximum global gradient norm; None for no limit.
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
