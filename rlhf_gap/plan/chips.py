"""What the makers publish of a chip: the roofline's ceilings."""

import dataclasses

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """A chip's published peaks.

  Attributes:
    flops_per_second: of matrix products of bfloat16. float32 products run at
      this rate too by JAX's default precision.
    available_gib: memory that the compiler gives to programs; it keeps the rest
      for itself, and says so of a program that is too large.
    hbm_bytes_per_second: of its memory.
    link_bytes_per_second: of one link to a neighbour, one way.
    dimensions: of a slice's grid.
    ring_multiple: chips in a row close to a ring where the row is as long as
      the slice, and that a multiple of this; in three dimensions, only where
      every side of the slice is one.
  """

  flops_per_second: float
  available_gib: float
  hbm_bytes_per_second: float
  link_bytes_per_second: float
  dimensions: int
  ring_multiple: int

  @property
  def available_bytes(self) -> int:
    """Memory that programs can have."""
    return int(self.available_gib * _GIB)


# By the name that topologies begin with, from https://cloud.google.com/tpu/docs
# at that name. Google gives all links of a chip together, both ways for v5e
# (400 GB/s, 4 links) and v6e (800 GB/s, 4), one way for v5p (4,800 Gbit/s, 6);
# v4 has six of 50 GB/s one way (Jouppi et al. 2023, arXiv 2304.01433, table 4).
# Slices of whole cubes of 4 x 4 x 4 close to rings, those of a part of one do
# not; in two dimensions only 16 in a row do.
CHIPS = {
  "v4": Chip(275e12, 30.75, 1200e9, 50e9, 3, 4),
  "v5e": Chip(197e12, 15.75, 819e9, 50e9, 2, 16),
  "v5p": Chip(459e12, 95.74, 2765e9, 100e9, 3, 4),
  "v6e": Chip(918e12, 31.25, 1638e9, 100e9, 2, 16),
}
