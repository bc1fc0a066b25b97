"""What the makers publish of a chip: the roofline's ceilings."""

import dataclasses

_GIB = 2**30
# What the TPU compiler keeps of a chip's memory for itself: of v5e's 16 GiB it
# gives 15.75 to programs.
_RESERVED_BYTES = _GIB // 4


@dataclasses.dataclass(frozen=True)
class Chip:
  """A chip's published peaks.

  Attributes:
    flops_per_second: of matrix products of bfloat16. float32 products run at
      this rate too by JAX's default precision.
    hbm_bytes: memory.
    hbm_bytes_per_second: of its memory.
    link_bytes_per_second: to all its neighbours together, one way.
    source: where the numbers are published.
  """

  flops_per_second: float
  hbm_bytes: int
  hbm_bytes_per_second: float
  link_bytes_per_second: float
  source: str

  @property
  def available_bytes(self) -> int:
    """Memory that programs can have."""
    return self.hbm_bytes - _RESERVED_BYTES


_DOCS = "https://cloud.google.com/tpu/docs"

# By the name that topologies begin with. Google gives links both ways for v5e
# (400 GB/s) and v6e (800 GB/s), one way for v5p (4,800 Gbit/s); v4's are six of
# 50 GB/s one way (Jouppi et al. 2023, arXiv 2304.01433, table 4).
CHIPS = {
  "v4": Chip(275e12, 32 * _GIB, 1200e9, 300e9, f"{_DOCS}/v4"),
  "v5e": Chip(197e12, 16 * _GIB, 819e9, 200e9, f"{_DOCS}/v5e"),
  "v5p": Chip(459e12, 95 * _GIB, 2765e9, 600e9, f"{_DOCS}/v5p"),
  "v6e": Chip(918e12, 32 * _GIB, 1638e9, 400e9, f"{_DOCS}/v6e"),
}
