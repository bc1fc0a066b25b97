"""Validation on held-out rows, and early stopping."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from rlhf_gap import errors, pairs
from rlhf_gap.models import t5
from rlhf_gap.training.batch_metrics import OVER_RESPONSES
from rlhf_gap.training.objectives import Objective

LOSS = "validation/loss"


def history_of(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns the validation losses in the lines of a log."""
  return [
    {"step": line["step"], LOSS: line[LOSS]} for line in lines if LOSS in line
  ]


class Validator:
  """Evaluates models on fixed held-out batches, and keeps the history."""

  def __init__(
    self,
    objective: Objective,
    source: pairs.Source,
    num_batches: int,
    *,
    patience: int | None = None,
  ):
    """Prepares the evaluation.

    Args:
      objective: the run's objective, without dropout.
      source: source of held-out rows.
      num_batches: number of batches to evaluate.
      patience: number of evaluations without improvement that make a plateau;
        None for no plateau.
    """
    self._objective = jax.jit(
      lambda params, batch: objective(params, batch, None)[1]
    )
    self._source = source
    self._num_batches = num_batches
    self._patience = patience
    self._losses: dict[int, float] = {}

  def recall(self, history: Sequence[Mapping[str, Any]]) -> None:
    """Restores the history after a restart.

    Args:
      history: result of `history_of`.
    """
    self._losses = {int(line["step"]): float(line[LOSS]) for line in history}

  def measure(self, step: int, params: t5.Params) -> dict[str, float]:
    """Returns the objective's means over held-out rows, as "validation/NAME".

    Args:
      step: the model's step, for messages.
      params: the model's parameters.

    Raises:
      UserError: none of the rows has weight.
    """
    totals: dict[str, float] = {}
    for index in range(self._num_batches):
      batch = self._source.fetch(index, params).batch
      for name, value in jax.device_get(self._objective(params, batch)).items():
        totals[name] = totals.get(name, 0.0) + float(value)
    weight, rows = totals.pop("weight"), totals.pop("rows", 1.0)
    if not weight:
      raise errors.UserError(
        f"step {step}: all pairs of the {self._num_batches} batches to validate"
        " on are ties (weight 0); raise validation_batches or validate on other"
        " pairs"
      )
    return {
      f"validation/{n}": v / (rows if n in OVER_RESPONSES else weight)
      for n, v in totals.items()
    }

  def note(self, step: int, metrics: Mapping[str, float]) -> int:
    """Adds an evaluation to the history and returns the best step.

    Args:
      step: the model's step; a repeated evaluation counts once.
      metrics: result of `measure`.

    Returns:
      The step of the lowest loss so far.
    """
    self._losses[step] = metrics[LOSS]
    return self.best_step or step

  @property
  def best_step(self) -> int | None:
    """The step with the lowest loss; the earliest if tied."""
    if not self._losses:
      return None
    return min(self._losses, key=lambda step: (self._losses[step], step))

  @property
  def on_plateau(self) -> bool:
    """Whether the last `patience` evaluations brought no improvement."""
    best = self.best_step
    if self._patience is None or best is None:
      return False
    return sum(step > best for step in self._losses) >= self._patience
