"""Training checkpoints, written by Orbax in background threads.

    MODEL_DIR/checkpoint_<step>/state         parameters and optimizer state, in
                                              T5X's layout
    MODEL_DIR/checkpoint_<step>/source        state of the pair source
    MODEL_DIR/checkpoint_<step>/architecture  the fields of its `T5Config`

A complete checkpoint is renamed into place, so after a kill at any moment the
latest folder of this name is complete.
"""

import contextlib
import errno
import logging
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from rlhf_gap import checkpoints, errors, processes
from rlhf_gap.checkpoints import architecture_file
from rlhf_gap.models import t5
from rlhf_gap.training import optimizers
from rlhf_gap.training.step import TrainState

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
# Names of leftovers after a kill; readers do not match them as checkpoints.
_LEFT_BEHIND = re.compile(r"\.orbax-checkpoint-tmp|^deleting-")
_STATE, _SOURCE = "state", "source"
_ARCHITECTURE, _CONFIG = os.path.split(architecture_file.FILE)
_SAVE_SECONDS = 24 * 3600
# Errors raised for damaged checkpoints by our checks, TensorStore and Orbax.
_DAMAGE = (errors.UserError, ValueError, KeyError, TypeError, OSError)


def steps_in(model_dir: str) -> list[int]:
  """Returns the steps of a run's complete checkpoints, ascending."""
  if not os.path.isdir(model_dir):
    return []
  matches = map(_CHECKPOINT.fullmatch, os.listdir(model_dir))
  return sorted(int(match[1]) for match in matches if match)


def path_of(model_dir: str, step: int) -> str:
  """Returns the folder of a run's checkpoint."""
  return os.path.join(model_dir, f"checkpoint_{step}")


def restore_latest(
  model_dir: str,
  steps: list[int],
  config: t5.T5Config,
  optimizer: optax.GradientTransformation,
  shardings: TrainState | None = None,
) -> tuple[TrainState, dict[str, Any]]:
  """Restores a run's latest checkpoint.

  Args:
    model_dir: the run's folder.
    steps: steps of its checkpoints, ascending; at least one.
    config: see `restore`.
    optimizer: see `restore`.
    shardings: see `restore`.

  Returns:
    As `restore`.

  Raises:
    UserError: it is damaged. It is not skipped silently: the message names the
      latest complete checkpoint and how to resume from it.
  """
  *earlier, last = steps
  path = path_of(model_dir, last)
  try:
    return restore(path, config, optimizer, shardings)
  except _DAMAGE as error:
    reason = " ".join(str(error).split())[:300]
    for step in reversed(earlier):
      try:
        restore(path_of(model_dir, step), config, optimizer, shardings)
      except _DAMAGE:
        continue
      aside = " && ".join(
        _moving_aside(model_dir, later) for later in steps if later > step
      )
      raise errors.UserError(
        f"{path} cannot be resumed from ({reason}); the latest complete"
        f" checkpoint is checkpoint_{step}: to resume from it, run `{aside}`,"
        " then the same command again"
      ) from error
    raise errors.UserError(
      f"{path} cannot be resumed from ({reason}), and no earlier checkpoint is"
      " complete; choose another MODEL_DIR to start over"
    ) from error


def _moving_aside(model_dir: str, step: int) -> str:
  name = f"checkpoint_{step}"
  return shlex.join(
    [
      "mv",
      os.path.join(model_dir, name),
      os.path.join(model_dir, f"damaged_{name}"),
    ]
  )


def restore(
  path: str,
  config: t5.T5Config,
  optimizer: optax.GradientTransformation,
  shardings: TrainState | None = None,
) -> tuple[TrainState, dict[str, Any]]:
  """Restores a checkpoint written by `Saver.save`.

  Args:
    path: the checkpoint's folder.
    config: the run's architecture.
    optimizer: the run's optimizer; its state is restored exactly.
    shardings: shardings of the state, see `step.shardings_of`; None for the
      default device. They may differ from those of the saved run.

  Returns:
    The train state and the pair source's state.

  Raises:
    UserError: the architecture or optimizer differs from the run's.
  """
  places = None if shardings is None else shardings.params
  loaded = checkpoints.load(path, shardings=places)
  shapes = jax.tree.map(lambda p: p.shape, loaded.params)
  if shapes != jax.tree.map(lambda p: p.shape, t5.param_shapes(config)):
    raise errors.UserError(
      f"{path}: its architecture differs from that of this run's model"
    )
  fresh = optimizer.init(loaded.params)
  opt_state = optimizers.from_t5x(
    fresh, loaded.params, loaded.optimizer_state or {}, loaded.step
  )
  # Copied because transformations may share one count array, and a buffer can
  # be donated only once.
  opt_state = jax.tree.map(
    lambda leaf: jnp.copy(leaf) if jnp.ndim(leaf) == 0 else leaf, opt_state
  )
  step = jnp.asarray(loaded.step, jnp.int32)
  state = TrainState(step, loaded.params, opt_state)
  if shardings is not None:
    state = jax.device_put(state, shardings)
  return state, _restore_source(path, places)


def _restore_source(path: str, places: Any) -> dict[str, Any]:
  folder = os.path.abspath(os.path.join(path, _SOURCE))
  if not os.path.isdir(folder):
    return {}
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    # To the host first, because the devices may differ from the saved run's.
    found = checkpointer.metadata(folder).item_metadata.tree
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(np.ndarray), found)
    restored = checkpointer.restore(folder, restore_args=arguments)
  if places is None:
    return jax.tree.map(jnp.asarray, restored)
  return _placed(restored, places)


def _placed(tree: Any, places: Any) -> Any:
  """Shards every set of parameters in `tree` like the parameters."""
  if not isinstance(tree, Mapping):
    return tree
  if set(tree) == set(places):
    return jax.tree.map(_put, tree, places)
  return {name: _placed(below, places) for name, below in tree.items()}


def _put(value: np.ndarray, place: jax.sharding.Sharding) -> jax.Array:
  # `device_put` would first compare the whole array between all processes.
  def part(index: Any) -> np.ndarray:
    return value[index]

  return jax.make_array_from_callback(value.shape, place, part)


# Not `orbax.checkpoint.CheckpointManager`: under 0.12.8 with the policies
# LatestN, BestN and CustomSteps, a manager that resumed a run never deleted the
# checkpoints that the first manager had kept as its latest, nor older ones once
# a checkpoint was saved without a validation loss.
class Saver:
  """Saves a run's checkpoints and deletes old ones."""

  def __init__(
    self,
    model_dir: str,
    config: t5.T5Config,
    *,
    keep: int | None = None,
    keep_steps: tuple[int, ...] = (),
  ):
    """Removes leftovers of interrupted saves from the folder.

    Args:
      model_dir: the run's folder.
      config: the architecture, saved with every checkpoint.
      keep: number of latest checkpoints to keep; None keeps all.
      keep_steps: steps that are always kept.
    """
    self._model_dir = os.path.abspath(model_dir)
    self._keep = keep
    self._keep_steps = set(keep_steps)
    self._best_step: int | None = None
    self._architecture = architecture_file.fields_of(config)
    handlers: dict[str, ocp.AsyncCheckpointHandler] = {
      _STATE: ocp.PyTreeCheckpointHandler(),
      _SOURCE: ocp.PyTreeCheckpointHandler(),
      _ARCHITECTURE: ocp.JsonCheckpointHandler(_CONFIG),
    }
    # Longer than any save; `processes.watch` detects hanging saves.
    self._checkpointer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler(**handlers),
      async_options=ocp.options.AsyncOptions(timeout_secs=_SAVE_SECONDS),
    )
    if processes.is_first():
      for name in os.listdir(self._model_dir):
        if _LEFT_BEHIND.search(name):
          shutil.rmtree(os.path.join(self._model_dir, name))
    processes.meet()  # before any process writes

  def save(self, state: TrainState, source: Mapping[str, Any]) -> None:
    """Starts saving a checkpoint; returns once the arrays are copied.

    Args:
      state: train state; may be donated once this returns.
      source: the pair source's state.

    Raises:
      UserError: the disk is full; earlier checkpoints are intact.
    """
    step = int(state.step)
    if processes.from_first(lambda: step in steps_in(self._model_dir)):
      return
    tree = {
      "target": state.params,
      "state": {
        "step": state.step,
        "param_states": optimizers.to_t5x(state.opt_state, state.params),
      },
    }
    items: dict[str, ocp.args.CheckpointArgs] = {
      _STATE: ocp.args.PyTreeSave(tree),
      _ARCHITECTURE: ocp.args.JsonSave(self._architecture),
    }
    if source:
      items[_SOURCE] = ocp.args.PyTreeSave(dict(source))
    with self._reporting(step):
      self._checkpointer.save(
        path_of(self._model_dir, step), args=ocp.args.Composite(**items)
      )
    self._remove_old()

  def keep_best(self, step: int) -> None:
    """Keeps the checkpoint of `step` as the best, instead of an earlier one."""
    self._best_step = step

  def wait(self) -> None:
    """Waits until started saves are on disk.

    Raises:
      UserError: the disk is full.
    """
    with self._reporting(None):
      self._checkpointer.wait_until_finished()
    self._remove_old()

  def close(self) -> None:
    """Waits for saves and stops the threads."""
    self.wait()
    self._checkpointer.close()

  def _remove_old(self) -> None:
    if self._keep is None or not processes.is_first():
      return
    # A checkpoint that is still being written may fail, so it does not count.
    for step in steps_in(self._model_dir)[: -self._keep]:
      if step not in self._keep_steps and step != self._best_step:
        self._remove(step)

  def _remove(self, step: int) -> None:
    # Renamed first, so a kill cannot leave a partly deleted checkpoint.
    doomed = os.path.join(self._model_dir, f"deleting-{step}")
    os.rename(path_of(self._model_dir, step), doomed)
    shutil.rmtree(doomed)

  @contextlib.contextmanager
  def _reporting(self, step: int | None) -> Iterator[None]:
    try:
      yield
    except Exception as error:
      if not _is_full(error):
        raise
      # Unstarted writes of Orbax would add warnings to the one-line error.
      warnings.filterwarnings("ignore", "coroutine .* was never awaited")
      what = "a checkpoint" if step is None else f"checkpoint_{step}"
      safe = steps_in(self._model_dir)
      latest = (
        f"checkpoint_{safe[-1]} is complete" if safe else "none is complete"
      )
      raise errors.UserError(
        f"{self._model_dir}: no space is left to save {what}; {latest}: free"
        " some space and rerun the same command"
      ) from error


class _RaisedHere(logging.Filter):
  """Filters tracebacks about a full disk, logged by Orbax's threads.

  One of these errors reaches `_reporting`, which reports it.
  """

  def filter(self, record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not _is_full(error)


_RAISED_HERE = _RaisedHere()


@contextlib.contextmanager
def one_line_of_a_full_disk() -> Iterator[None]:
  """Suppresses further messages after the one-line error of a full disk.

  One of Orbax's errors reaches `Saver`. The others are logged by its threads,
  and later failures of TensorStore complain about a closed event loop. If the
  block fails, these may still come, so the filters stay installed.
  """
  before = sys.unraisablehook

  def report(unraisable: Any) -> None:
    if "Event loop is closed" not in str(unraisable.exc_value):
      before(unraisable)

  loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
  for logger in loggers:
    logger.addFilter(_RAISED_HERE)
  sys.unraisablehook = report
  yield
  sys.unraisablehook = before
  for logger in loggers:
    logger.removeFilter(_RAISED_HERE)


def _is_full(error: BaseException) -> bool:
  # Orbax and TensorStore pass on the system's error as text.
  if isinstance(error, OSError) and error.errno in (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
  ):
    return True
  text = str(error)
  return any(
    reason in text
    for reason in ("No space left", "File too large", "quota exceeded")
  )
