"""What every source of batches has in common."""

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

# Marks the fields of a description that name inputs by their paths. A run is
# identified by what lies there, not by the path.
STORE = {"input": "store"}
CHECKPOINT = {"input": "checkpoint"}


class Provenance(NamedTuple):
  """Where each row of a drawn batch came from, to be recorded with it.

  Attributes:
    prompt_id: the prompt's name in its source (int64, so on the host), of all
      rows on every host.
    truncated: bits of what was cut, see `stores.Truncated`; likewise.
    sampling_step: names the keys and prompts that the batch was drawn with.
    policy_step: step of the policy that wrote both responses.
    chosen_sample: which of the prompt's samples was chosen, 0 or 1.
    first_bad_step: first step of decoding whose logits were not finite; -1.
  """

  prompt_id: np.ndarray
  truncated: np.ndarray
  sampling_step: int
  policy_step: int
  chosen_sample: Int[Array, "batch"]
  first_bad_step: Int[Array, ""]


class FetchedBatch(NamedTuple):
  """The batch of one step; with provenance where it was sampled just now."""

  batch: PreferenceBatch | ResponseBatch
  provenance: Provenance | None = None


@runtime_checkable  # for checks of types while testing
class Source(Protocol):
  """Gives the batch of every step."""

  def fetch(self, step: int, params: t5.Params) -> FetchedBatch:
    """Returns the batch of `step`; `params` are the policy's at that step."""

  def state(self) -> dict[str, Any]:
    """Returns the arrays that a restart needs besides the step."""

  def restore(self, state: Mapping[str, Any]) -> None:
    """Takes over what `state` returned before a restart."""


def checkpoint_fingerprint(path: str) -> str:
  """Returns a checkpoint's fingerprint; process 0 reads it for all."""
  return processes.from_first(lambda: checkpoints.fingerprint(path))


@dataclasses.dataclass(frozen=True)
class Context:
  """What a run tells the source that it opens.

  Attributes:
    config: the policy's architecture.
    reference: the frozen policy that pairs are scored with; None where a run
      has none (supervised fine-tuning, preference models).
    batch_size: rows of a batch, all hosts together.
    seed: of orders and of sampling.
    mesh: what batches and models are spread over; None is the default device.
    fingerprint: of the checkpoint at a path.

  Raises:
    UserError: the rows of a batch cannot be dealt out over the mesh.
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
    """Which rows of a batch this process reads, by their place in it."""
    if self.mesh is None:
      return np.arange(self.batch_size)
    return partitioning.rows_held(self.mesh, self.batch_size)

  def place(self, values: np.ndarray) -> jax.Array:
    """Puts this process's rows of a batch onto the devices."""
    if self.mesh is None:
      return jnp.asarray(values)
    return partitioning.place_rows(self.mesh, self.batch_size, values)


@runtime_checkable  # for checks of types while testing
class SourceSpec(Protocol):
  """Describes a source, before the run is known."""

  def open(self, context: Context, *, start_step: int = 0) -> Source:
    """Opens the source at a step; raises `UserError` for what cannot be."""

  def stores(self) -> list[stores.Store]:
    """Returns the stores that it reads."""
