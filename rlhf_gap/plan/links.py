"""How long an exchange occupies a slice's links, at the least.

Chips are the nodes of a grid; neighbours have a link, and a row of chips closes
to a ring where the slice is long enough, or is made of whole cubes. Of a gather
to P bytes on n chips in a row, a ring's links carry (n - 1) / n P in both
directions at once; where the row is open, half of P must cross its middle:
n / (n - 1) times as long.
"""

from collections.abc import Sequence

from rlhf_gap.plan.chips import Chip
from rlhf_gap.plan.hlo import Collective

# A chip's place in the slice's grid.
Place = tuple[int, ...]


def sizes_of(places: Sequence[Place]) -> tuple[int, ...]:
  """Returns how many chips a slice has along each dimension of its grid.

  Args:
    places: of all its chips.
  """
  return tuple(max(along) + 1 for along in zip(*places, strict=True))


def seconds(
  collective: Collective, chip: Chip, places: Sequence[Place]
) -> dict[int, float]:
  """Returns the time that an exchange keeps each dimension's links busy.

  An exchange spreads its bytes evenly over all dimensions that its chips span,
  so that it takes as long on each.

  Args:
    collective: the exchange, all its turns together.
    chip: whose links.
    places: of all chips, by their number in the program.

  Returns:
    Seconds by dimension; nothing where it needs no link.
  """
  members = [places[i] for i in collective.members] or list(places)
  sizes = sizes_of(places)
  capacity = {}
  for dimension, size in enumerate(sizes):
    count = len({place[dimension] for place in members})
    if count > 1:
      is_ring = count == size and _closes(dimension, chip, sizes)
      share = 1.0 if is_ring else (count - 1) / count
      capacity[dimension] = 2 * share * chip.link_bytes_per_second
  if not capacity:
    return {}
  time = collective.sent_bytes / sum(capacity.values())
  return dict.fromkeys(capacity, time)


def _closes(dimension: int, chip: Chip, sizes: Sequence[int]) -> bool:
  """Whether rows as long as the slice are rings."""
  # Optical links close the rows of cubes; a part of a cube has none.
  closed = [size % chip.ring_multiple == 0 for size in sizes]
  return closed[dimension] and (chip.dimensions < 3 or all(closed))
