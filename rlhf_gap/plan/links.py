"""Lower bounds on the time that collectives occupy a slice's links.

Chips form a grid with links between neighbours. A row of chips forms a ring if
the slice is long enough or made of whole cubes. To gather P bytes on a row of n
chips, a ring's links carry (n - 1) / n P, in both directions at once. In an
open row half of P must cross the middle, which takes n / (n - 1) times as long.
"""

from collections.abc import Sequence

from rlhf_gap.plan.chips import Chip
from rlhf_gap.plan.hlo import Collective

# A chip's coordinates in the slice's grid.
Coordinates = tuple[int, ...]


def grid_shape(coordinates: Sequence[Coordinates]) -> tuple[int, ...]:
  """Returns the number of chips along each dimension of a slice's grid.

  Args:
    coordinates: the coordinates of all its chips.
  """
  return tuple(max(values) + 1 for values in zip(*coordinates, strict=True))


def seconds(
  collective: Collective, chip: Chip, coordinates: Sequence[Coordinates]
) -> dict[int, float]:
  """Returns how long a collective occupies the links of each dimension.

  A collective spreads its bytes evenly over all dimensions that its chips span,
  so it takes equally long on each.

  Args:
    collective: the collective, over all its turns.
    chip: the kind of chip.
    coordinates: coordinates of all chips, by their number in the program.

  Returns:
    Seconds by dimension; empty if it needs no link.
  """
  members = [coordinates[i] for i in collective.members] or list(coordinates)
  sizes = grid_shape(coordinates)
  capacity = {}
  for dimension, size in enumerate(sizes):
    count = len({chip_at[dimension] for chip_at in members})
    if count > 1:
      is_ring = count == size and _closes(dimension, chip, sizes)
      share = 1.0 if is_ring else (count - 1) / count
      capacity[dimension] = 2 * share * chip.link_bytes_per_second
  if not capacity:
    return {}
  time = collective.sent_bytes / sum(capacity.values())
  return dict.fromkeys(capacity, time)


def _closes(dimension: int, chip: Chip, sizes: Sequence[int]) -> bool:
  """Whether rows that span the slice form rings."""
  # Optical links between cubes close the rings; parts of a cube have none.
  closed = [size % chip.ring_multiple == 0 for size in sizes]
  return closed[dimension] and (chip.dimensions < 3 or all(closed))
