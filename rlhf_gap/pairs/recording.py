"""Writes sampled pairs to a store, chunk t at step t."""

import collections
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from rlhf_gap import errors, processes, stores
from rlhf_gap.pairs.sources import FetchedBatch
from rlhf_gap.token_ids import EOS_ID

# Number of batches that may still be in transfer to the host. Waiting for the
# latest would leave the device idle.
_MAX_IN_FLIGHT = 2


@runtime_checkable
class Recordable(Protocol):
  """A source that samples its pairs."""

  def manifest(self) -> stores.Manifest:
    """Returns the manifest of a store of the sampled pairs."""


def recordable(source: object) -> Recordable:
  """Returns `source` if its pairs can be recorded.

  Raises:
    UserError: it reads its pairs from a store.
  """
  if not isinstance(source, Recordable):
    raise errors.UserError(
      "record=True: the source reads its pairs from a store; only sampled pairs"
      " are recorded"
    )
  return source


def record(source: object, path: str) -> "Recorder":
  """Starts or resumes recording a source's pairs.

  Args:
    source: a source that samples its pairs.
    path: the store's directory.

  Returns:
    The recorder.

  Raises:
    UserError: the source reads its pairs from a store, or `path` holds another
      store.
  """
  manifest = recordable(source).manifest()
  first = processes.is_first()
  return Recorder(stores.create(path, manifest) if first else None)


class Recorder:
  """Appends the pairs of every step to a store.

  A resumed run samples the same pairs again. The store compares them with those
  it holds, which detects a run that is not reproducible.
  """

  def __init__(self, writer: stores.Writer | None):
    """Starts recording.

    Args:
      writer: writer of a store whose chunks are this run's batches; None on all
        processes except the first.
    """
    self._writer = writer
    self._pending: collections.deque[tuple[int, FetchedBatch]] = (
      collections.deque()
    )

  def append(self, step: int, fetched: FetchedBatch) -> None:
    """Adds the pairs of a step, to be written once they have arrived."""
    batch, provenance = fetched
    if provenance is not None:
      batch, chosen = processes.gathered((batch, provenance.chosen_sample))
      provenance = provenance._replace(chosen_sample=chosen)
    if self._writer is None:
      return
    self._pending.append((step, FetchedBatch(batch, provenance)))
    if len(self._pending) > _MAX_IN_FLIGHT:
      self._write_oldest()

  def commit(self) -> None:
    """Writes all pending pairs; called before a checkpoint."""
    while self._pending:
      self._write_oldest()
    if self._writer is not None:
      self._writer.commit()

  def finish(self) -> None:
    """Marks the store as complete."""
    self.commit()
    if self._writer is not None:
      self._writer.finish()

  def truncate(self, step: int) -> None:
    """Removes all pairs recorded from `step` on."""
    if self._writer is not None:
      self._writer.truncate(step)

  def _write_oldest(self) -> None:
    step, fetched = self._pending.popleft()
    assert self._writer is not None  # nothing is pending elsewhere
    self._writer.append(step, columns_of(fetched))


def columns_of(fetched: FetchedBatch) -> dict[str, np.ndarray]:
  """Returns a sampled batch as the columns of a pair store.

  Args:
    fetched: the batch with its provenance.

  Returns:
    NumPy arrays by column name. Sample n of row b at step t has the seed number
    2 (t * batch + b) + n, also in later passes over the same pairs.

  Raises:
    ValueError: the batch has no provenance.
  """
  provenance = fetched.provenance
  if provenance is None:
    raise ValueError("only sampled pairs are recorded; these were read")
  batch, chosen = jax.device_get((fetched.batch, provenance.chosen_sample))
  rows = len(chosen)
  first_row = np.int64(provenance.sampling_step) * rows
  first_seed = 2 * (first_row + np.arange(rows, dtype=np.int64))
  truncated = provenance.truncated.astype(np.int32)
  return {
    "prompt_tokens": batch.prompt,
    "chosen_tokens": batch.chosen,
    "rejected_tokens": batch.rejected,
    "prompt_id": provenance.prompt_id.astype(np.int64),
    "policy_step": np.full(rows, provenance.policy_step, np.int32),
    "chosen_seed": first_seed + chosen,
    "rejected_seed": first_seed + 1 - chosen,
    "judge_r12": batch.judge_r12,
    "judge_r21": batch.judge_r21,
    "chosen_reference_log_prob": batch.chosen_reference,
    "rejected_reference_log_prob": batch.rejected_reference,
    "truncated": truncated
    | _cut(batch.chosen, stores.Truncated.CHOSEN)
    | _cut(batch.rejected, stores.Truncated.REJECTED),
    "weight": batch.weight,
  }


def _cut(tokens: np.ndarray, flag: stores.Truncated) -> np.ndarray:
  """Returns `flag` for responses that are truncated, 0 for others."""
  ended = (tokens <= EOS_ID).any(axis=1)
  return np.where(ended, 0, int(flag)).astype(np.int32)
