"""A seqio task over a pair store, in the order of a run here."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from rlhf_gap import errors, stores
from rlhf_gap.data import vocabularies
from rlhf_gap.pairs import stored
from rlhf_gap.t5x import features


def offline(store: str, batch_size: int, seed: int = 0, **resume: Any) -> str:
  """Registers the task of `pairs.Offline`: every epoch in an order of its own.

  Args:
    store: the directory of a pair store scored by the reference.
    batch_size: T5X's BATCH_SIZE.
    seed: the run's seed here.
    **resume: see `first_batch`.

  Returns:
    The task's name, which T5X takes as MIXTURE_OR_TASK_NAME.

  Raises:
    UserError: the store holds no pairs, or no log-probabilities.
  """
  return _task(store, stores.Epochs(), batch_size, seed, first_batch(**resume))


def replay(
  store: str,
  batch_size: int,
  block_batches: int | None = 1,
  unit: str = "batch",
  seed: int = 0,
  **resume: Any,
) -> str:
  """Registers the task of `pairs.Replay`: a recorded run, or within blocks.

  Args:
    store: the directory of the online run's pairs.
    batch_size: T5X's BATCH_SIZE, as recorded.
    block_batches: batches permuted together; 1 keeps the order, None is all.
    unit: what is permuted, "batch" or "example".
    seed: the run's seed here.
    **resume: see `first_batch`.

  Returns:
    The task's name, which T5X takes as MIXTURE_OR_TASK_NAME.

  Raises:
    UserError: as `offline`, or the batch size is not the recorded one.
  """
  stored.check_as_recorded(stores.open(store), batch_size)
  order = stores.Blocks(block_batches, unit)
  return _task(store, order, batch_size, seed, first_batch(**resume))


def vocabulary(store: str) -> seqio.Vocabulary:
  """Returns a store's vocabulary, which T5X requires the model to have."""
  named = stores.open(store).manifest.vocabulary
  return vocabularies.seqio_vocabulary(named)


def first_batch(
  model_dir: str | None = None, initial: str | None = None
) -> int:
  """Returns the batch from which an interrupted T5X run continues.

  Args:
    model_dir: T5X's MODEL_DIR; None starts at the first batch.
    initial: INITIAL_CHECKPOINT_PATH, whose step T5X counts on from.

  Returns:
    The newest checkpoint's step minus the initial one's; 0 for a new run.
  """
  if model_dir is None or not tf.io.gfile.exists(model_dir):
    return 0
  names = tf.io.gfile.listdir(model_dir)
  steps = [_step(name) for name in names if _step(name) is not None]
  begun = _step(initial or "") or 0
  return max(max((s for s in steps if s is not None), default=begun) - begun, 0)


def _step(path: str) -> int | None:
  match = re.fullmatch(r"checkpoint_(\d+)", os.path.basename(path.rstrip("/")))
  return None if match is None else int(match[1])


def _task(
  path: str, order: stores.Order, batch_size: int, seed: int, first: int
) -> str:
  store = stores.open(path)
  if store.manifest.schema != "pairs":
    raise errors.UserError(
      f"{path} holds {store.manifest.schema}; expected pairs"
    )
  if store.manifest.reference is None:
    raise errors.UserError(
      f"{path} holds no reference log-probabilities, which T5X takes as data;"
      " use pairs that `rlhf-gap generate` or an online run recorded"
    )
  tokens = seqio.Feature(vocabulary(path), add_eos=False)
  number = seqio.Feature(
    seqio.PassThroughVocabulary(1), add_eos=False, dtype=tf.float32
  )
  # T5X takes a seqio task that is given by itself for one of airio's.
  name = f"rlhf_gap_{re.sub(r'[^A-Za-z0-9_.]', '_', path)}"
  if name in seqio.TaskRegistry.names():  # gin calls this for every use
    seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
    name,
    source=_Source(store, order, batch_size, seed, first),
    preprocessors=[],
    output_features={
      "inputs": tokens,
      "chosen": tokens,
      "rejected": tokens,
      **dict.fromkeys(features.NUMBERS, number),
    },
    shuffle_buffer_size=None,
  )
  return name


class _Source(seqio.DataSource):
  """Pairs one by one, so that batch t is the store's batch t."""

  def __init__(
    self,
    store: stores.Store,
    order: stores.Order,
    batch_size: int,
    seed: int,
    first: int,
  ):
    super().__init__(splits=("train",))
    self._store, self._order = store, order
    self._batch_size, self._seed, self._first = batch_size, seed, first

  @property
  def supports_arbitrary_sharding(self) -> bool:
    """False: rows are dealt out in turn, so hosts share each batch."""
    return False

  def list_shards(self, split: str) -> list[str]:
    """Returns one shard, which seqio then deals out to hosts by rows."""
    return [split]

  def get_dataset(
    self,
    split: str = "train",
    shuffle: bool = True,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
    *,
    sequence_length: Mapping[str, int] | None = None,
    use_cached: bool = False,
    num_epochs: int | None = 1,
  ) -> tf.data.Dataset:
    """Returns the pairs of all batches, in order."""
    del split, seed, shard_info, sequence_length, use_cached, num_epochs
    if shuffle:
      raise errors.UserError(
        "a store's order is its own; set train/utils.DatasetConfig.shuffle ="
        " False"
      )
    specs = {
      _feature(field): tf.TensorSpec(
        [None], tf.float32 if field in features.NUMBERS else tf.int32
      )
      for field in stored.PAIR_COLUMNS
    }
    return tf.data.Dataset.from_generator(self._rows, output_signature=specs)

  def _rows(self) -> Iterator[dict[str, np.ndarray]]:
    for batch in self._batches():
      fields = {
        field: batch[column] for field, column in stored.PAIR_COLUMNS.items()
      }
      fields = stored.with_labels_of_people(fields)
      for row in range(self._batch_size):
        yield {
          _feature(field): _value(field, values[row])
          for field, values in fields.items()
        }

  def _batches(self) -> Iterator[Mapping[str, np.ndarray]]:
    yield from self._store.batches(
      self._order,
      seed=self._seed,
      batch_size=self._batch_size,
      start_step=self._first,
      columns=tuple(stored.PAIR_COLUMNS.values()),
    )
    # seqio would repeat the rows; an online run has an end.
    rows = self._store.num_rows // self._batch_size
    raise errors.UserError(
      f"{self._store.path} ends after {rows} batches of {self._batch_size}; set"
      f" TRAIN_STEPS to {rows} more than the initial checkpoint's step"
    )


def _feature(field: str) -> str:
  """Returns the feature of a field of `PreferenceBatch`."""
  return "inputs" if field == "prompt" else field


def _value(field: str, value: np.ndarray | np.generic) -> np.ndarray:
  """Returns a number as a vector, or tokens without padding."""
  values = np.atleast_1d(value)  # a row of a column without axis is a scalar
  if field in features.NUMBERS:
    return values
  return values[: np.count_nonzero(values)]
