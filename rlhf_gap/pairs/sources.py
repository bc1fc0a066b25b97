"""The interfaces of batch sources."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from rlhf_gap import checkpoints, partitioning, processes, stores
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.models import t5
from rlhf_gap.pairs.reference import Reference

# Metadata of fields that are paths of inputs. A run is identified by their
# content, not by the path.
STORE = {"input": "store"}
CHECKPOINT = {"input": "checkpoint"}


class Provenance(NamedTuple):
  """The origin of each row of a sampled batch, recorded with it.

  Attributes:
    prompt_id: the prompt's id in its source, for all rows on every host; int64,
      so kept on the host.
    truncated: what was truncated, as bits of `stores.Truncated`; for all rows.
    sampling_step: step that determines the batch's random keys and prompts.
    policy_step: step of the policy that wrote both responses.
    chosen_sample: index of the chosen sample, 0 or 1.
    first_bad_step: first decoding step with non-finite logits; -1 for none.
  """

  prompt_id: np.ndarray
  truncated: np.ndarray
  sampling_step: int
  policy_step: int
  chosen_sample: Int[Array, "batch"]
  first_bad_step: Int[Array, ""]


class FetchedBatch(NamedTuple):
  """The batch of one step, with its provenance if it was just sampled."""

  batch: PreferenceBatch | ResponseBatch
  provenance: Provenance | None = None


@runtime_checkable  # for checks of types while testing
class Source(Protocol):
  """An open source of batches."""

  def fetch(self, step: int, params: t5.Params) -> FetchedBatch:
    """Returns the batch of `step`; `params` are the policy's at that step."""

  def state(self) -> dict[str, Any]:
    """Returns the arrays to save for a restart."""

  def restore(self, state: Mapping[str, Any]) -> None:
    """Restores what `state` returned."""


def checkpoint_fingerprint(path: str) -> str:
  """Returns a checkpoint's fingerprint; process 0 reads it for all."""
  return processes.from_first(lambda: checkpoints.fingerprint(path))


@dataclasses.dataclass(frozen=True)
class Context:
  """A run's settings and models that sources need.

  Attributes:
    config: the policy's architecture.
    reference: the reference policy; None if the run has none (supervised
      fine-tuning, preference models).
    batch_size: rows per batch, over all hosts.
    seed: seed of data order and sampling.
    mesh: the device mesh; None for the default device.
    fingerprint: returns the fingerprint of the checkpoint at a path.

  Raises:
    UserError: the mesh does not divide the batch.
  """

  config: t5.T5Config
  reference: Reference | None
  batch_size: int
  seed: int
  mesh: jax.sharding.Mesh | None = None
  fingerprint: Callable[[str], str] = checkpoint_fingerprint

  def __post_init__(self) -> None:
    if self.mesh is not None:
      partitioning.check_batch(self.batch_size, 1, self.mesh)

  @functools.cached_property
  def rows_held(self) -> np.ndarray:
    """Indices of the rows of a batch that this process reads."""
    if self.mesh is None:
      return np.arange(self.batch_size)
    return partitioning.rows_held(self.mesh, self.batch_size)

  def place(self, values: np.ndarray) -> jax.Array:
    """Transfers this process's rows of a batch to the devices."""
    if self.mesh is None:
      return jnp.asarray(values)
    return partitioning.place_rows(self.mesh, self.batch_size, values)


@runtime_checkable  # for checks of types while testing
class SourceSpec(Protocol):
  """A source's settings, not yet opened for a run."""

  def open(self, context: Context, *, start_step: int = 0) -> Source:
    """Opens the source at a step; raises `UserError` if it cannot."""

  def stores(self) -> list[stores.Store]:
    """Returns the stores that it reads."""
