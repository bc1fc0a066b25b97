"""Published peaks of accelerator chips, for the roofline."""

import dataclasses

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """A chip's published peaks.

  Attributes:
    flops_per_second: rate of bfloat16 matrix products. At JAX's default
      precision float32 products run at the same rate.
    available_gib: HBM available to programs. The compiler reserves the rest; it
      states this limit when a program is too large.
    hbm_bytes_per_second: HBM bandwidth.
    link_bytes_per_second: bandwidth of one link to a neighbour, in one
      direction.
    dimensions: number of dimensions of a slice's grid.
    ring_multiple: a row of chips forms a ring if it spans the slice and its
      length is a multiple of this; in three dimensions, every side of the slice
      must be such a multiple.
  """

  flops_per_second: float
  available_gib: float
  hbm_bytes_per_second: float
  link_bytes_per_second: float
  dimensions: int
  ring_multiple: int

  @property
  def available_bytes(self) -> int:
    """HBM available to programs."""
    return int(self.available_gib * _GIB)


# By the prefix of topology names; from https://cloud.google.com/tpu/docs/NAME.
# Google states the total over a chip's links: bidirectional for v5e (400 GB/s,
# 4 links) and v6e (800 GB/s, 4), unidirectional for v5p (4,800 Gbit/s, 6). v4
# has six links of 50 GB/s each way (Jouppi et al. 2023, arXiv 2304.01433, table
# 4). Slices made of whole 4 x 4 x 4 cubes form rings and parts of a cube do
# not; in two dimensions only rows of 16 do.
CHIPS = {
  "v4": Chip(275e12, 30.75, 1200e9, 50e9, 3, 4),
  "v5e": Chip(197e12, 15.75, 819e9, 50e9, 2, 16),
  "v5p": Chip(459e12, 95.74, 2765e9, 100e9, 3, 4),
  "v6e": Chip(918e12, 31.25, 1638e9, 100e9, 2, 16),
}
