"""The training loop of every regime: fetch, step, record, log, save."""

import collections
import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from rlhf_gap import errors, pairs, processes, progress
from rlhf_gap.training.batch_metrics import OVER_RESPONSES
from rlhf_gap.training.configured import LearningRate
from rlhf_gap.training.saving import Saver
from rlhf_gap.training.step import Step, StepMetrics, TrainState
from rlhf_gap.training.validation import Validator

# Number of steps whose metrics may still be on the device. Waiting for the
# latest would leave the device idle between steps.
_MAX_IN_FLIGHT = 2
# A run stops after this many consecutive steps without weight. If half of the
# pairs are ties, that happens by chance once in a million batches of one pair.
_MAX_TIED_STEPS = 20


@runtime_checkable  # for checks of types while testing
class StartCheck(Protocol):
  """Checks the metrics of the first step."""

  def __call__(self, metrics: dict[str, float], weight: float) -> None:
    """Raises `UserError` if the metrics are not as expected."""


@runtime_checkable  # for checks of types while testing
class Log(Protocol):
  """Writes a run's metrics."""

  def write(self, step: int, values: Mapping[str, float | None]) -> None:
    """Logs the values of a step; None if undefined."""

  def flush(self) -> None:
    """Writes all logged values to disk."""

  def close(self) -> None:
    """Flushes and closes."""


@dataclasses.dataclass(frozen=True)
class Components:
  """The components of a run.

  Attributes:
    step: the compiled training step.
    learning_rate: factor of each step's update.
    source: source of batches.
    saver: writes checkpoints.
    log: writes metrics.
    recorder: writes sampled pairs, if they are recorded.
    validator: evaluates held-out rows at every checkpoint.
    check_start: checks step 0.
    reference: the reference policy.
  """

  step: Step
  learning_rate: LearningRate
  source: pairs.Source
  saver: Saver
  log: Log
  recorder: pairs.Recorder | None = None
  validator: Validator | None = None
  check_start: StartCheck | None = None
  reference: pairs.Reference | None = None

  def memory(self) -> dict[str, Any]:
    """Returns the state to save besides the train state."""
    reference = {} if self.reference is None else self.reference.state()
    return {**self.source.state(), **reference}

  def restore(self, memory: Mapping[str, Any]) -> None:
    """Restores what `memory` returned."""
    self.source.restore(memory)
    if self.reference is not None:
      self.reference.restore(memory)


@dataclasses.dataclass(frozen=True)
class Schedule:
  """When a run saves and logs.

  Attributes:
    train_steps: total number of updates.
    checkpoint_every_steps: number of updates between checkpoints.
    keep_steps: additional steps at which to save.
    log_every_steps: number of updates between log lines.
  """

  train_steps: int
  checkpoint_every_steps: int
  keep_steps: tuple[int, ...] = ()
  log_every_steps: int = 1

  def saves_at(self, step: int) -> bool:
    """Whether to save a checkpoint after `step` updates."""
    return (
      step % self.checkpoint_every_steps == 0
      or step in self.keep_steps
      or step == self.train_steps
    )


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a loop ended.

  Attributes:
    state: after the last update.
    reason: "done", "plateau" or "stopped" (by SIGTERM).
  """

  state: TrainState
  reason: str


def run(
  state: TrainState, components: Components, schedule: Schedule, folder: str
) -> Outcome:
  """Trains to the end of the schedule.

  Args:
    state: initial or restored state; its buffers are donated.
    components: the components of the run.
    schedule: when to save and log.
    folder: where to write the rows of a failed step.

  Returns:
    The last state, which is saved, and why the loop ended.

  Raises:
    UserError: the first step's metrics are wrong; loss, gradient or sampled
      logits are not finite; all pairs of many batches are ties; or the disk is
      full. The last checkpoint is intact.
  """
  first = int(state.step)
  watch = _Watch(components, schedule, folder)
  reason = "done"
  if (
    components.validator is not None
    and components.validator.best_step is not None
  ):
    components.saver.keep_best(components.validator.best_step)
    if components.validator.on_plateau:
      return Outcome(state, "plateau")
  with (
    _sigterm() as stops_at,
    progress.bar("training", schedule.train_steps, "steps") as bar,
  ):
    bar.update(first)
    for step in range(first, schedule.train_steps):
      state, fetched, metrics = _update(
        step, state, components, compiles=step == first
      )
      watch.take(step, fetched, metrics)
      bar.note(watch.note)
      bar.update(1)
      planned, stopping = schedule.saves_at(step + 1), stops_at(step)
      if planned or stopping:
        watch.drain()
        # Validate only at planned steps, so a resumed run logs the same lines.
        if planned and components.validator is not None:
          _validate(state, components, components.validator)
        _save(state, components)
      if components.validator is not None and components.validator.on_plateau:
        reason = "plateau"
        break
      if stopping and step + 1 < schedule.train_steps:
        reason = "stopped"
        break
  components.saver.wait()
  return Outcome(state, reason)


def _update(
  step: int, state: TrainState, components: Components, *, compiles: bool
) -> tuple[TrainState, pairs.FetchedBatch, StepMetrics]:
  """Fetches a batch, trains on it and records it.

  Args:
    step: number of updates made before.
    state: train state; its buffers are donated.
    components: the components of the run.
    compiles: whether this is the first step, which may compile.
  """
  if components.reference is not None:
    components.reference.refresh(step, state.params)
  processes.mark(f"fetching the batch of step {step}")
  fetched = components.source.fetch(step, state.params)
  processes.mark(f"step {step}")
  rate = components.learning_rate.at(step)
  if compiles:
    processes.compile_together(components.step, state, fetched.batch, rate)
  state, metrics = components.step(state, fetched.batch, rate)
  if components.recorder is not None:
    components.recorder.append(step, fetched)
  return state, fetched, metrics


def _validate(
  state: TrainState, components: Components, validator: Validator
) -> None:
  """Evaluates held-out rows and marks the best checkpoint to be kept."""
  step = int(state.step)
  processes.mark(f"validating at step {step}")
  metrics = validator.measure(step, state.params)
  components.log.write(step, metrics)
  components.saver.keep_best(validator.note(step, metrics))


def _save(state: TrainState, components: Components) -> None:
  processes.mark(f"saving at step {int(state.step)}")
  if components.recorder is not None:
    # Before the checkpoint, because a restart from it needs all earlier pairs.
    components.recorder.commit()
  components.log.flush()
  components.saver.save(state, components.memory())


@contextlib.contextmanager
def _sigterm() -> Iterator[Callable[[int], bool]]:
  """Turns SIGTERM, which clusters send before a kill, into a request to stop.

  Yields:
    A function that says whether to stop after a step; equal on all processes.
  """
  if processes.count() > 1:
    yield processes.stops_at  # JAX handles the signal
    return
  requested = threading.Event()
  try:
    before = signal.signal(signal.SIGTERM, lambda *_: requested.set())
  except ValueError:  # not the main thread: left to the host program
    yield lambda step: False
    return
  try:
    yield lambda step: requested.is_set()
  finally:
    signal.signal(signal.SIGTERM, before)


class _Watch:
  """Checks and logs metrics once they have arrived on the host."""

  def __init__(self, components: Components, schedule: Schedule, folder: str):
    self._components, self._schedule, self._folder = (
      components,
      schedule,
      folder,
    )
    self._pending: collections.deque[
      tuple[int, pairs.FetchedBatch, StepMetrics]
    ]
    self._pending = collections.deque()
    self._time = time.monotonic()
    self._tied_steps = 0
    self.note = ""

  def take(
    self, step: int, fetched: pairs.FetchedBatch, metrics: StepMetrics
  ) -> None:
    """Adds a step's metrics and processes those that have arrived."""
    self._pending.append((step, fetched, metrics))
    if len(self._pending) > _MAX_IN_FLIGHT:
      self._look_at_oldest()

  def drain(self) -> None:
    """Processes all metrics, so that no bad state is saved."""
    while self._pending:
      self._look_at_oldest()

  def _look_at_oldest(self) -> None:
    step, fetched, on_device = self._pending.popleft()
    metrics: StepMetrics = jax.device_get(on_device)
    self._check_finite(step, fetched, metrics)
    self._check_has_weight(step, metrics)
    means = {name: float(value) for name, value in metrics.means.items()}
    if step == 0 and self._components.check_start is not None:
      self._components.check_start(means, float(metrics.weight))
    values: dict[str, float | None] = {
      f"train/{name}": value
      if metrics.weight or name in OVER_RESPONSES
      else None
      for name, value in means.items()
    }
    values["train/gradient_norm"] = float(metrics.gradient_norm)
    values["train/weight"] = float(metrics.weight)
    now = time.monotonic()
    rows = len(fetched.batch.prompt)
    values.update(_speeds(values, rows, now - self._time))
    self._time = now
    if (step + 1) % self._schedule.log_every_steps == 0:
      self._components.log.write(step + 1, values)
    self.note = _note(values)

  def _check_has_weight(self, step: int, metrics: StepMetrics) -> None:
    """Warns about a batch without weight; raises after many of them."""
    if metrics.weight:
      self._tied_steps = 0
      return
    self._tied_steps += 1
    if self._tied_steps == min(_MAX_TIED_STEPS, self._schedule.train_steps):
      raise errors.UserError(
        f"step {step}: every pair of the last {self._tied_steps} batches is a"
        " tie (weight 0), so there is nothing to learn from; the last"
        " checkpoint is intact; check the judge, and that the policy's"
        " responses differ"
      )
    if self._tied_steps == 1 and processes.is_first():
      print(
        f"step {step}: every pair of the batch is a tie (weight 0); the"
        " parameters are unchanged",
        file=sys.stderr,
        flush=True,
      )

  def _check_finite(
    self, step: int, fetched: pairs.FetchedBatch, metrics: StepMetrics
  ) -> None:
    what = ""
    if fetched.provenance is not None:
      decoding_step = int(fetched.provenance.first_bad_step)
      if decoding_step >= 0:
        what = f"sampled logits (decoding step {decoding_step})"
    if not metrics.is_finite:
      what = what or "loss or gradient"
    if not what:
      return
    path = os.path.join(self._folder, f"not_finite_step_{step}.npz")
    # Every process waits until process 0 has written the rows, because the
    # first process to exit ends all of them.
    batch = jax.device_get(processes.gathered(fetched.batch))
    if processes.is_first():
      np.savez(path, **batch._asdict())
    processes.meet()
    raise errors.UserError(
      f"step {step}: {what} not finite; its rows are in {path} and the last"
      " checkpoint is intact; lower the learning rate, or look at these rows"
    )


def _speeds(
  values: Mapping[str, float | None], rows: int, seconds: float
) -> dict[str, float]:
  speeds = {"train/seconds": seconds, "train/rows_per_second": rows / seconds}
  length = values.get("train/response_length_tokens")
  if length is not None:
    tokens = 2 * rows * length
    speeds["train/tokens_per_second"] = tokens / seconds
  return speeds


# name in the log -> (name in the progress bar, format)
_SHOWN = {
  "loss": ("loss", ".3f"),
  "rho_nats": ("rho", ".2f"),
  "accuracy": ("acc", ".2f"),
  "log_ratio_nats": ("kl~", ".2f"),
  "response_length_tokens": ("len", ".0f"),
  "eos_rate": ("eos", ".2f"),
  "tokens_per_second": ("tok/s", ",.0f"),
  "rows_per_second": ("rows/s", ",.0f"),
}


def _note(values: Mapping[str, float | None]) -> str:
  shown = [
    f"{short} {value:{form}}"
    for name, (short, form) in _SHOWN.items()
    if (value := values.get(f"train/{name}")) is not None
  ]
  return " ".join(shown)
