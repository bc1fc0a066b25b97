"""Batches read from a store, in a seeded or in the recorded order."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import checks, errors, stores
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.pairs.sources import STORE, Context, FetchedBatch

PAIR_COLUMNS = {
  "prompt": "prompt_tokens",
  "chosen": "chosen_tokens",
  "rejected": "rejected_tokens",
  "chosen_reference": "chosen_reference_log_prob",
  "rejected_reference": "rejected_reference_log_prob",
  "judge_r12": "judge_r12",
  "judge_r21": "judge_r21",
  "weight": "weight",
}
"""Field of a `PreferenceBatch` -> column of a pair store."""

_RESPONSE_COLUMNS = {
  "prompt": "prompt_tokens",
  "response": "response_tokens",
  "weight": "weight",
}
# Number of rows whose weights are read at a time.
_WEIGHTS_READ = 1 << 16


@dataclasses.dataclass(frozen=True)
class Offline:
  """A stored dataset of pairs, shuffled anew in every epoch.

  Attributes:
    store: the directory of a pair store.
    rescore: whether to recompute the reference's log-probabilities if the store
      was scored with another reference.
  """

  store: str = dataclasses.field(metadata=STORE)
  rescore: bool = False

  def __post_init__(self) -> None:
    _check_store(self.store)
    checks.flags(rescore=self.rescore)

  def open(self, context: Context, *, start_step: int = 0) -> "_StoredPairs":
    """Opens the store at a step."""
    return _StoredPairs(
      self.store, stores.Epochs(), self.rescore, context, start_step
    )

  def stores(self) -> list[stores.Store]:
    """Returns the store."""
    return [stores.open(self.store)]


@dataclasses.dataclass(frozen=True)
class Replay:
  """The pairs of a recorded online run, in order or shuffled within blocks.

  Attributes:
    store: the directory of the online run's pairs.
    block_batches: number of batches per shuffled block; 1 keeps the order, None
      shuffles the whole store (Tang et al. 2024, Appendix G).
    unit: what is shuffled, "batch" or "example".
    rescore: see `Offline`.
  """

  store: str = dataclasses.field(metadata=STORE)
  block_batches: int | None = 1
  unit: str = "batch"
  rescore: bool = False

  def __post_init__(self) -> None:
    _check_store(self.store)
    checks.flags(rescore=self.rescore)
    checks.counts(block_batches=self.block_batches)
    checks.one_of(("batch", "example"), unit=self.unit)

  @property
  def may_grow(self) -> bool:
    """Whether appended rows leave earlier batches unchanged."""
    return self.block_batches == 1

  def open(self, context: Context, *, start_step: int = 0) -> "_StoredPairs":
    """Opens the store at a step."""
    order = stores.Blocks(self.block_batches, self.unit)
    return _StoredPairs(self.store, order, self.rescore, context, start_step)

  def stores(self) -> list[stores.Store]:
    """Returns the store."""
    return [stores.open(self.store)]


@dataclasses.dataclass(frozen=True)
class Responses:
  """A stored dataset of single responses, for supervised fine-tuning.

  Attributes:
    store: the directory of a store of schema "sft".
  """

  store: str = dataclasses.field(metadata=STORE)

  def __post_init__(self) -> None:
    _check_store(self.store)

  def open(self, context: Context, *, start_step: int = 0) -> "_Stored":
    """Opens the store at a step."""
    store = _open(self.store, "sft", "the task's `_sft` store")
    return _Stored(
      store, stores.Epochs(), context, start_step, _RESPONSE_COLUMNS
    )

  def stores(self) -> list[stores.Store]:
    """Returns the store."""
    return [stores.open(self.store)]


def _check_store(path: object) -> None:
  checks.required(store=path)
  checks.texts(store=path)


def _open(path: str, schema: str, expected: str) -> stores.Store:
  store = stores.open(path)
  if store.manifest.schema != schema:
    raise errors.UserError(
      f"{path} holds {store.manifest.schema}; expected {schema}: {expected}"
    )
  return store


def check_has_weight(store: stores.Store) -> None:
  """Checks that at least one row of a store has weight.

  Raises:
    UserError: every row has weight 0, like a judge's ties.
  """
  for first in range(0, store.num_rows, _WEIGHTS_READ):
    rows = range(first, min(first + _WEIGHTS_READ, store.num_rows))
    if store.read(rows, ["weight"])["weight"].any():
      return
  raise errors.UserError(
    f"{store.path}: all {store.num_rows:,} rows have weight 0 (a judge's ties),"
    " so there is nothing to learn from; label them with another judge, or"
    " check that the judge was trained"
  )


class _Stored:
  """Reads batches from a store sequentially, with prefetching."""

  def __init__(
    self,
    store: stores.Store,
    order: stores.Order,
    context: Context,
    start_step: int,
    columns: Mapping[str, str],
  ):
    self._store, self._order, self._context = store, order, context
    self._columns = columns
    self._next_step = start_step
    self._check_batch_size()
    check_has_weight(store)
    self._batches = self._from(start_step)

  def _check_batch_size(self) -> None:
    size, rows = self._context.batch_size, self._store.num_rows
    if stores.num_batches(self._order, rows, size) == 0:
      raise errors.UserError(
        f"{self._store.path} holds {rows} rows, fewer than one batch of {size}"
      )

  def _from(self, step: int) -> Any:
    return self._store.batches(
      self._order,
      seed=self._context.seed,
      batch_size=self._context.batch_size,
      start_step=step,
      places=self._context.rows_held,
      columns=tuple(self._columns.values()),
    )

  def _values(self, step: int) -> dict[str, np.ndarray]:
    if step != self._next_step:
      self._batches = self._from(step)
    self._next_step = step + 1
    try:
      return next(self._batches)
    except StopIteration:
      size = self._context.batch_size
      raise errors.UserError(
        f"{self._store.path} ends after {self._store.num_rows // size} batches"
        f" of {size}, but step {step} was requested; lower TRAIN_STEPS"
      ) from None

  def fetch(self, step: int, params: Any) -> FetchedBatch:
    """Returns the responses of `step`."""
    del params  # offline data do not depend on the policy
    return FetchedBatch(ResponseBatch(**self._placed(self._values(step))))

  def _placed(self, values: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Transfers the columns to the devices, named like the batch's fields."""
    place = self._context.place
    return {f: place(values[name]) for f, name in self._columns.items()}

  def state(self) -> dict[str, Any]:
    """Returns nothing; the batch is a function of the step."""
    return {}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Does nothing."""


class _StoredPairs(_Stored):
  """Stored pairs; scored by the reference as needed."""

  def __init__(
    self,
    path: str,
    order: stores.Order,
    rescore: bool,
    context: Context,
    start_step: int,
  ):
    store = _open(path, "pairs", "the task's `_pairs` store, or a recorded run")
    if isinstance(order, stores.Blocks):
      check_as_recorded(store, context.batch_size)
    self._scored = _is_scored(store, context, rescore)
    super().__init__(store, order, context, start_step, PAIR_COLUMNS)

  def fetch(self, step: int, params: Any) -> FetchedBatch:
    """Returns the pairs of `step`."""
    del params
    reference = self._context.reference
    values = with_labels_of_people(self._values(step))
    batch = PreferenceBatch(**self._placed(values))
    if reference is not None and not self._scored:
      responses = jnp.stack([batch.chosen, batch.rejected], axis=1)
      scores = reference.log_probs(batch.prompt, responses)
      batch = batch._replace(
        chosen_reference=scores[:, 0], rejected_reference=scores[:, 1]
      )
    return FetchedBatch(batch)


def with_labels_of_people(
  values: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Fills in certain labels for pairs that no judge read (NaN).

  Args:
    values: rows by field of a `PreferenceBatch`.
  """
  filled = dict(values)
  for name, certain in (("judge_r12", 1.0), ("judge_r21", 0.0)):
    given = values[name]
    filled[name] = np.where(np.isnan(given), np.float32(certain), given)
  return filled


def check_as_recorded(store: stores.Store, batch_size: int) -> None:
  """Raises `UserError` unless a store was recorded in batches of this size."""
  recorded = store.manifest.chunk_rows
  if recorded != batch_size:
    raise errors.UserError(
      f"{store.path} was recorded in batches of {recorded}; a replay in batches"
      f" of {batch_size} would be a different run: set BATCH_SIZE={recorded},"
      " or use Offline"
    )


def _is_scored(store: stores.Store, context: Context, rescore: bool) -> bool:
  """Whether the store was scored with this reference."""
  reference, scored_with = context.reference, store.manifest.reference
  if reference is None or reference.every_steps or scored_with is None:
    return False
  if scored_with.sha256 == reference.identity.sha256:
    return True
  if rescore:
    return False
  raise errors.UserError(
    f"{store.path} was scored with the reference"
    f" {scored_with.path or 'of unknown path'} (parameters sha256"
    f" {scored_with.sha256[:12]}), but this run's is"
    f" {reference.identity.path} ({reference.identity.sha256[:12]}); start from"
    " that checkpoint, or set rescore=True"
  )
