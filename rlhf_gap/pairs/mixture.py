"""Batches mixed from several sources."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rlhf_gap import checks, errors, stores
from rlhf_gap.models import t5
from rlhf_gap.pairs.sources import Context, FetchedBatch, Source, SourceSpec


@dataclasses.dataclass(frozen=True)
class Mixture:
  """A mixture with a fixed number of rows of each source in every batch.

  Attributes:
    sources: sources to mix; their sequence lengths must be equal.
    weights: each source's relative share, > 0. Rows are allotted by largest
      remainder, identically in every batch.
  """

  sources: tuple[SourceSpec, ...]
  weights: tuple[float, ...]

  def __post_init__(self) -> None:
    checks.several(sources=self.sources, weights=self.weights)
    if len(self.sources) != len(self.weights) or not self.sources:
      raise errors.UserError(
        f"Mixture: {len(self.sources)} sources with {len(self.weights)}"
        " weights; expected one weight per source"
      )
    for weight in self.weights:
      checks.positive(weights=weight)

  def open(self, context: Context, *, start_step: int = 0) -> "_Mixture":
    """Opens every source with its share of the batch."""
    shares = shares_of(self.weights, context.batch_size)
    if min(shares) < 1:
      raise errors.UserError(
        f"Mixture: a batch of {context.batch_size} rows gives a source none"
        f" ({shares}); choose larger weights or a larger batch"
      )
    opened = [
      spec.open(
        dataclasses.replace(context, batch_size=share), start_step=start_step
      )
      for spec, share in zip(self.sources, shares, strict=True)
    ]
    return _Mixture(opened)

  def stores(self) -> list[stores.Store]:
    """Returns the stores of all sources."""
    return [store for spec in self.sources for store in spec.stores()]


def shares_of(weights: tuple[float, ...], total: int) -> list[int]:
  """Allots `total` rows by largest remainder.

  Args:
    weights: > 0 each.
    total: number of rows to allot.

  Returns:
    Number of rows per weight; they sum to `total`.
  """
  exact = [weight * total / math.fsum(weights) for weight in weights]
  shares = [math.floor(share) for share in exact]
  by_remainder = sorted(
    range(len(exact)), key=lambda i: (shares[i] - exact[i], i)
  )
  for index in by_remainder[: total - sum(shares)]:
    shares[index] += 1
  return shares


class _Mixture:
  """Concatenates the batches of open sources."""

  def __init__(self, sources: list[Source]):
    self._sources = sources

  def fetch(self, step: int, params: t5.Params) -> FetchedBatch:
    """Returns the concatenated rows of all sources."""
    batches = [source.fetch(step, params).batch for source in self._sources]
    shapes = {tuple(x.shape[1:] for x in batch) for batch in batches}
    if len(shapes) > 1:
      raise errors.UserError(
        f"Mixture: the sources' windows differ ({sorted(shapes)}); build their"
        " stores with the same lengths"
      )
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
    return FetchedBatch(joined)

  def state(self) -> dict[str, Any]:
    """Returns the states of the sources that have one, by number."""
    states = {str(i): s.state() for i, s in enumerate(self._sources)}
    return {number: state for number, state in states.items() if state}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Restores the state of each source."""
    for i, source in enumerate(self._sources):
      source.restore(state.get(str(i), {}))
