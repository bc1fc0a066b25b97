"""The device mesh of a run, as configured by gin."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils

from rlhf_gap import errors

# The last axis varies fastest, so that the devices that communicate most, in
# every layer, are neighbours.
AXES = ("data", "fsdp", "model")


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Sizes of the mesh's axes.

  Attributes:
    model: tensor parallelism: devices among which each layer's heads and
      feed-forward units are split. T5X's `num_partitions`.
    fsdp: fully sharded data parallelism: devices among which parameters and
      optimizer state are split, each layer being gathered when it is computed.
      Every device processes different rows.
    data: data parallelism: groups of `model` x `fsdp` devices that process
      different rows. None uses all remaining devices.

  Raises:
    UserError: a size is not a whole number, 1 or more.
  """

  model: int = 1
  fsdp: int = 1
  data: int | None = None

  def __post_init__(self) -> None:
    for name in AXES:
      size = getattr(self, name)
      if name == "data" and size is None:
        continue
      if not isinstance(size, int) or size < 1:
        raise errors.UserError(
          f"Mesh: {name}={size!r}; expected a whole number, 1 or more"
        )

  def shape(self, num_devices: int) -> tuple[int, int, int]:
    """Returns the sizes of the data, fsdp and model axes.

    Args:
      num_devices: number of devices; the mesh uses all of them.

    Raises:
      UserError: the product of the sizes is not `num_devices`.
    """
    group = self.fsdp * self.model
    data = num_devices // group if self.data is None else self.data
    if data * group != num_devices:
      raise errors.UserError(
        f"Mesh: data={'auto' if self.data is None else self.data} x"
        f" fsdp={self.fsdp} x model={self.model} does not multiply out to the"
        f" {num_devices} devices"
      )
    return data, self.fsdp, self.model

  def abstract(self, num_devices: int) -> jax.sharding.AbstractMesh:
    """Returns the mesh without devices, for tracing programs.

    Args:
      num_devices: number of devices; the mesh uses all of them.

    Raises:
      UserError: the product of the sizes is not `num_devices`.
    """
    # JAX 0.12 makes axes explicit by default; those of `make` are automatic.
    kinds = (jax.sharding.AxisType.Auto,) * len(AXES)
    return jax.sharding.AbstractMesh(self.shape(num_devices), AXES, kinds)

  def make(self, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """Returns a JAX mesh laid out along the physical topology.

    Args:
      devices: devices to use; by default all devices of all processes.

    Raises:
      UserError: the product of the sizes is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = self.shape(len(devices))
    grid = mesh_utils.create_device_mesh(
      shape, devices, allow_split_physical_axes=True
    )
    return jax.sharding.Mesh(grid, AXES)
