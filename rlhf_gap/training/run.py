"""One run of any regime, from its description to its last checkpoint."""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Iterator

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
  validation,
)
from rlhf_gap.training.description import Run
from rlhf_gap.training.prepare import Prepared, bound, start_check
from rlhf_gap.training.validation import Validator

# A network file system shows a new file to other hosts within so long.
_SHARED_SECONDS = 60.0


def train(run: Run, config_text: str = "") -> loop.Outcome:
  """Trains, or goes on where the same run was interrupted.

  Args:
    run: the description.
    config_text: the operative gin configuration, kept beside the results.

  Returns:
    The last state and why the run ended.

  Raises:
    UserError: a mistake in the description (nothing is written), or a fault on
      the way (the last checkpoint is intact).
  """
  processes.mark("loading checkpoints")
  prepared = Prepared.of(run)
  with partitioning.active(prepared.context.mesh):
    return _prepared(run, prepared, config_text)


def _prepared(run: Run, prepared: Prepared, config_text: str) -> loop.Outcome:
  done = _steps_done(run)
  # Opened before anything is written: a wrong judge must not claim the folder.
  source = run.source.open(prepared.context, start_step=done[-1] if done else 0)
  if run.record:
    pairs.recordable(source)
  validator = _validator(run, prepared)
  with _folder(run, prepared) as same_devices:
    recorder = _recorder(run, source, same_devices)
    if processes.is_first():
      # Not before the recorded pairs are those of these devices.
      model_dir.note_environment(
        run.model_dir, config_text, run.seed, str(run.mesh)
      )
    outcome = _train(run, prepared, source, validator, recorder)
    if outcome.reason != "stopped" and processes.is_first():
      model_dir.mark_complete(run.model_dir, int(outcome.state.step))
    return outcome


@contextlib.contextmanager
def _folder(run: Run, prepared: Prepared) -> Iterator[bool]:
  """Holds the run's folder, through process 0.

  Yields:
    Whether devices and mesh are those that the run began with, as process 0
    needs it.
  """
  if not processes.is_first():
    processes.meet()
    _check_shared(run.model_dir)
    yield True
    return
  with model_dir.locked(run.model_dir):
    model_dir.claim(run.model_dir, prepared.identity)
    same_devices = model_dir.has_same_devices(run.model_dir, str(run.mesh))
    model_dir.mark_begun(run.model_dir)
    print(f"{run.model_dir}: {run.objective.describe()}", flush=True)
    processes.meet()
    yield same_devices


def _check_shared(folder: str) -> None:
  """Raises `UserError` where process 0's folder is not this process's too."""
  until = time.monotonic() + _SHARED_SECONDS
  while not model_dir.identity_of(folder):
    if time.monotonic() > until:
      raise errors.UserError(
        f"{folder}: process {processes.index()} does not see what process 0"
        " wrote there; put MODEL_DIR on storage that all hosts share"
      )
    time.sleep(0.1)


def _steps_done(run: Run) -> list[int]:
  return processes.from_first(lambda: saving.steps_in(run.model_dir))


def _train(
  run: Run,
  prepared: Prepared,
  source: pairs.Source,
  validator: Validator | None,
  recorder: pairs.Recorder | None,
) -> loop.Outcome:
  optimizer = run.optimizer.make()
  mesh, config = prepared.context.mesh, prepared.config
  places = None if mesh is None else step.shardings_of(config, optimizer, mesh)
  done = _steps_done(run)
  processes.mark("restoring")
  if done:
    latest = saving.path_of(run.model_dir, done[-1])
    state, memory = saving.restore(latest, config, optimizer, places)
  else:
    params, memory = prepared.initial_params(), {}
    state = step.init(params, optimizer, places)
  start = int(state.step)
  log = _log(run, start)
  if validator is not None:
    validator.recall(
      processes.from_first(
        lambda: validation.history_of(metric_log.read(run.model_dir))
      )
    )
  saver = saving.Saver(run.model_dir, keep=run.keep, keep_steps=run.keep_steps)
  parts = loop.Parts(
    step=_step(run, prepared),
    learning_rate=run.optimizer.learning_rate,
    source=source,
    saver=saver,
    log=log,
    recorder=recorder,
    validator=validator,
    check_start=start_check(run),
    reference=prepared.context.reference,
  )
  parts.restore(memory)
  schedule = loop.Schedule(
    run.train_steps,
    run.checkpoint_every_steps,
    run.keep_steps,
    run.log_every_steps,
  )
  if not done:
    saver.save(state, parts.memory())
  with contextlib.closing(saver), contextlib.closing(log):
    outcome = loop.run(state, parts, schedule, run.model_dir)
  if parts.recorder is not None and outcome.reason != "stopped":
    parts.recorder.finish()
  return outcome


def _log(run: Run, start: int) -> loop.Log:
  if not processes.is_first():
    return metric_log.Silent()
  return metric_log.MetricLog(run.model_dir, start, tensorboard=run.tensorboard)


@functools.cache
def _compiled(
  objective: objectives.Objective,
  optimizer: configured.Spec,
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


def _step(run: Run, prepared: Prepared) -> step.Step:
  # Cached: a study trains many runs of one kind in one process.
  seed = run.seed if run.dropout_rate else None
  # The rate is the step's argument, and no part of what is compiled.
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
  run: Run, source: pairs.Source, same_devices: bool
) -> pairs.Recorder | None:
  if not run.record:
    return None
  recorder = pairs.record(source, os.path.join(run.model_dir, "pairs"))
  if not same_devices:
    # Other devices round differently: what lies beyond the checkpoint is drawn
    # again rather than compared.
    done = saving.steps_in(run.model_dir)
    recorder.truncate(done[-1] if done else 0)
  return recorder


def _validator(run: Run, prepared: Prepared) -> Validator | None:
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
