"""Trains a run of any regime, from its description to its last checkpoint."""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Iterator
from typing import Any

import jax

from rlhf_gap import errors, pairs, partitioning, processes, stores
from rlhf_gap.models import t5
from rlhf_gap.training import (
  configured,
  loop,
  metric_log,
  model_dir,
  objectives,
  saving,
  step,
  tracking,
  validation,
)
from rlhf_gap.training.description import Run
from rlhf_gap.training.prepare import PreparedRun, bound, start_check
from rlhf_gap.training.validation import Validator

# Time within which a network file system shows a new file to other hosts.
_SHARED_SECONDS = 60.0


def train(run: Run, config_text: str = "") -> loop.Outcome:
  """Trains a run, or resumes it after an interruption.

  Args:
    run: the description.
    config_text: operative gin configuration, stored with the results.

  Returns:
    The last state and why the run ended.

  Raises:
    UserError: the description is wrong (nothing is written), or training fails
      (the last checkpoint is intact).
  """
  if run.tracking is not None and processes.is_first():
    run.tracking.check_installed()
  processes.mark("loading checkpoints")
  prepared = PreparedRun.load(run)
  schedule = loop.Schedule(
    run.train_steps,
    run.checkpoint_every_steps,
    run.keep_steps,
    run.log_every_steps,
  )
  with (
    partitioning.active(prepared.context.mesh),
    saving.one_line_of_a_full_disk(),
    _build(run, prepared, config_text) as (state, components),
  ):
    outcome = loop.run(state, components, schedule, run.model_dir)
    components.saver.wait()
    if components.recorder is not None and outcome.reason != "stopped":
      components.recorder.finish()
    if outcome.reason != "stopped" and processes.is_first():
      model_dir.mark_complete(run.model_dir, int(outcome.state.step))
    return outcome


@contextlib.contextmanager
def _build(
  run: Run, prepared: PreparedRun, config_text: str
) -> Iterator[tuple[step.TrainState, loop.Components]]:
  """Locks the run's folder and builds the loop's components.

  All inputs are opened or read before anything is written.

  Args:
    run: the description.
    prepared: its loaded inputs.
    config_text: operative gin configuration, stored with the results.

  Yields:
    The initial state and the loop's components.
  """
  done = processes.from_first(lambda: saving.steps_in(run.model_dir))
  source = run.source.open(prepared.context, start_step=done[-1] if done else 0)
  if run.record:
    pairs.recordable(source)
  validator = _validator(run, prepared)
  with contextlib.ExitStack() as opened:
    if processes.is_first():
      model_dir.check(run.model_dir, prepared.identity)
      opened.enter_context(model_dir.locked(run.model_dir))
    # Listed again, because another process may have trained until it unlocked.
    done = processes.from_first(lambda: saving.steps_in(run.model_dir))
    if done and not processes.is_first():
      _check_shared(run.model_dir)
    state, memory = _start(run, prepared, done)
    recorder = _recorder(run, source, done)
    if processes.is_first():
      _begin(run, prepared, config_text)
    processes.meet()
    _check_shared(run.model_dir)
    start = int(state.step)
    if validator is not None:
      validator.recall(processes.from_first(lambda: _history(run, start)))
    components = loop.Components(
      step=_step(run, prepared),
      learning_rate=run.optimizer.learning_rate,
      source=source,
      saver=opened.enter_context(_saver(run, prepared.config)),
      log=opened.enter_context(_log(run, prepared, start)),
      recorder=recorder,
      validator=validator,
      check_start=start_check(run),
      reference=prepared.context.reference,
    )
    components.restore(memory)
    if not done:
      components.saver.save(state, components.memory())
    yield state, components


def _start(
  run: Run, prepared: PreparedRun, done: list[int]
) -> tuple[step.TrainState, dict[str, Any]]:
  """Returns the initial train state and the saved state of the source."""
  optimizer = run.optimizer.make()
  mesh, config = prepared.context.mesh, prepared.config
  places = None if mesh is None else step.shardings_of(config, optimizer, mesh)
  processes.mark("restoring")
  if done:
    return saving.restore_latest(run.model_dir, done, config, optimizer, places)
  return step.init(prepared.initial_params(), optimizer, places), {}


def _begin(run: Run, prepared: PreparedRun, config_text: str) -> None:
  """Records the run's identity and environment; called on process 0."""
  folder = run.model_dir
  model_dir.claim(folder, prepared.identity)
  # After the recorder has compared the devices with the recorded ones.
  model_dir.note_environment(folder, config_text, run.seed, str(run.mesh))
  model_dir.mark_begun(folder)
  print(f"{folder}: {run.objective.describe()}", flush=True)


def _history(run: Run, start: int) -> list[dict[str, Any]]:
  """Returns the validation history up to step `start`."""
  lines = metric_log.read(run.model_dir)
  return validation.history_of([x for x in lines if x["step"] <= start])


def _saver(run: Run, config: t5.T5Config) -> contextlib.closing[saving.Saver]:
  return contextlib.closing(
    saving.Saver(
      run.model_dir, config, keep=run.keep, keep_steps=run.keep_steps
    )
  )


def _check_shared(folder: str) -> None:
  """Raises `UserError` if this process does not see process 0's folder."""
  until = time.monotonic() + _SHARED_SECONDS
  while not model_dir.identity_of(folder):
    if time.monotonic() > until:
      raise errors.UserError(
        f"{folder}: process {processes.index()} does not see what process 0"
        " wrote there; put MODEL_DIR on storage that all hosts share"
      )
    time.sleep(0.1)


@contextlib.contextmanager
def _log(run: Run, prepared: PreparedRun, start: int) -> Iterator[loop.Log]:
  if not processes.is_first():
    yield metric_log.Silent()
    return
  folder = run.model_dir
  opened = metric_log.MetricLog(folder, start, tensorboard=run.tensorboard)
  with contextlib.closing(opened) as log:
    if run.tracking is None:
      yield log
      return
    settings = prepared.identity.now
    with tracking.tracked(log, run.tracking, folder, settings) as both:
      yield both


@functools.cache
def _compiled(
  objective: objectives.Objective,
  optimizer: configured.OptimizerSpec,
  dropout_seed: int | None,
  num_microbatches: int,
  config: t5.T5Config,
  mesh: jax.sharding.Mesh | None,
) -> step.Step:
  made = optimizer.make()
  places = None
  if mesh is not None:
    state = step.shardings_of(config, made, mesh)
    places = (state, partitioning.replicated(mesh))
  key = None if dropout_seed is None else jax.random.key(dropout_seed)
  return step.compiled(
    objective,
    made,
    dropout_key=key,
    num_microbatches=num_microbatches,
    shardings=places,
  )


def _step(run: Run, prepared: PreparedRun) -> step.Step:
  # Cached, because a study trains many similar runs in one process.
  seed = run.seed if run.dropout_rate else None
  # The learning rate is an argument of the step, not compiled into it.
  optimizer = run.optimizer.without_rate()
  return _compiled(
    prepared.objective,
    optimizer,
    seed,
    run.num_microbatches,
    prepared.config,
    prepared.context.mesh,
  )


def _recorder(
  run: Run, source: pairs.Source, done: list[int]
) -> pairs.Recorder | None:
  if not run.record:
    return None
  recorder = pairs.record(source, os.path.join(run.model_dir, "pairs"))
  if processes.is_first() and not model_dir.has_same_devices(
    run.model_dir, str(run.mesh)
  ):
    # Other devices round differently, so pairs beyond the checkpoint are
    # sampled again instead of being compared.
    recorder.truncate(done[-1] if done else 0)
  return recorder


def _validator(run: Run, prepared: PreparedRun) -> Validator | None:
  if run.validation is None:
    return None
  kind = (
    pairs.Responses
    if isinstance(run.objective, objectives.Sft)
    else pairs.Offline
  )
  source = kind(run.validation).open(prepared.context)
  rows = stores.open(run.validation).num_rows
  batches = min(run.validation_batches, rows // run.batch_size)
  if not batches:
    raise errors.UserError(
      f"{run.validation} holds {rows} rows to validate on, fewer than one batch"
      f" of {run.batch_size}"
    )
  plain = dataclasses.replace(prepared.config, dropout_rate=0.0)
  return Validator(
    bound(run.objective, plain, prepared.words),
    source,
    batches,
    patience=run.patience,
  )
