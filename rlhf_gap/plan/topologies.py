"""Devices of a pod slice that need not be present."""

import dataclasses
import difflib
import importlib.util
import math
import os
import re
from typing import Any

from rlhf_gap import errors
from rlhf_gap.plan import chips

# Kinds of devices that must be present to compile for them.
_LOCAL = ("cpu", "gpu")
# Side length of the largest two-dimensional slice, a whole pod.
_LONGEST_ROW = 16
_NAME = re.compile(r"([a-z0-9]+):(\d+(?:x\d+)*)")


@dataclasses.dataclass(frozen=True)
class Topology:
  """A named slice.

  Attributes:
    name: such as "v5e:4x4"; "cpu:8" for eight virtual CPU devices, or "gpu:8"
      for eight GPUs, which must be present.
    kind: the prefix of the name.
    num_chips: number of chips.
  """

  name: str
  kind: str
  num_chips: int

  @classmethod
  def parse(cls, name: str) -> "Topology":
    """Parses a slice's name.

    Args:
      name: "<kind>:<size>x<size>...".

    Raises:
      UserError: an unknown kind, or a size that no slice of it has.
    """
    kinds = (*_LOCAL, *chips.CHIPS)
    match = _NAME.fullmatch(name)
    if not match:
      raise errors.UserError(
        f"--topology={name}: expected a kind and its size, such as v5e:4x4,"
        f" v5p:4x4x4 or cpu:8; kinds are {', '.join(kinds)}"
      )
    kind, sizes = match[1], [int(size) for size in match[2].split("x")]
    if kind not in kinds:
      near = difflib.get_close_matches(kind, kinds, n=1)
      hint = f"; did you mean {near[0]}?" if near else ""
      raise errors.UserError(
        f"--topology={name}: unknown kind {kind}, expected one of"
        f" {', '.join(kinds)}{hint}"
      )
    _check_sizes(name, kind, sizes)
    return cls(name, kind, math.prod(sizes))

  @property
  def chip(self) -> chips.Chip | None:
    """The chip's published peaks; None for CPUs and GPUs."""
    return chips.CHIPS.get(self.kind)

  def devices(self) -> list[Any]:
    """Returns the slice's devices, to compile for.

    Raises:
      UserError: the compiler is not installed or does not know the slice.
    """
    if self.kind in _LOCAL:
      return self._local_devices()
    if importlib.util.find_spec("libtpu") is None:
      raise errors.UserError(
        f"--topology={self.name}: the TPU compiler libtpu is not installed;"
        ' install the extra: pip install -e ".[tpu]" (no TPU is needed)'
      )
    _use_libtpu_only_to_compile()
    return self._described()

  def _local_devices(self) -> list[Any]:
    import jax

    try:
      devices = jax.devices(self.kind)
    except RuntimeError:  # JAX has no such platform here
      devices = []
    if len(devices) < self.num_chips:
      remedy = "run it on a machine with GPUs, with the extra [gpu]"
      if self.kind == "cpu":
        flag = "--xla_force_host_platform_device_count"
        remedy = f"set XLA_FLAGS={flag}={self.num_chips}"
      raise errors.UserError(
        f"--topology={self.name}: this process has {len(devices)}"
        f" {self.kind.upper()} devices; {remedy}"
      )
    return devices[: self.num_chips]

  def _described(self) -> list[Any]:
    import jax
    from jax.experimental import topologies

    # The two cores of a v4 or v5p chip act as one device.
    options: dict[str, Any] = {}
    if self.kind == "v4":
      options["chip_config_name"] = "megacore"
    if self.num_chips == 1:
      options["chips_per_host_bounds"] = [1, 1, 1]
    try:
      described = topologies.get_topology_desc(
        platform="tpu", topology_name=self.name, **options
      )
    except jax.errors.JaxRuntimeError as error:
      reason = str(error).splitlines()[0]
      raise errors.UserError(
        f"--topology={self.name}: the TPU compiler does not know this slice"
        f" ({reason}); expected an existing one, such as v5e:4x4 or v5p:4x4x4"
      ) from error
    return list(described.devices)


def _check_sizes(name: str, kind: str, sizes: list[int]) -> None:
  """Raises `UserError` for sizes that no slice of this kind has."""
  chip = chips.CHIPS.get(kind)
  example = f"{kind}:8"
  if chip is not None:
    example = f"{kind}:{'x'.join('4' * chip.dimensions)}"
  if 0 in sizes:
    raise errors.UserError(
      f"--topology={name}: expected sizes of 1 or more, such as {example}"
    )
  if chip is None:
    return
  if len(sizes) != chip.dimensions:
    raise errors.UserError(
      f"--topology={name}: a slice of {kind} has {chip.dimensions} dimensions,"
      f" got {len(sizes)}; such as {example}"
    )
  if chip.dimensions == 2 and max(sizes) > _LONGEST_ROW:
    raise errors.UserError(
      f"--topology={name}: expected at most {_LONGEST_ROW}x{_LONGEST_ROW}, the"
      f" largest slice of {kind}; such as {example}"
    )


def _use_libtpu_only_to_compile() -> None:
  """Keeps libtpu from querying a TPU's metadata and locking the TPU."""
  for name, value in (
    ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ("TPU_SKIP_MDS_QUERY", "1"),
    ("TPU_ACCELERATOR_TYPE", "v5litepod-16"),
    ("TPU_WORKER_HOSTNAMES", "localhost"),
    ("TPU_WORKER_ID", "0"),
  ):
    os.environ.setdefault(name, value)
