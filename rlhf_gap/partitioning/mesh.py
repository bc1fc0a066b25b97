"""The grid of devices that a run computes on, as a gin file describes it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils

from rlhf_gap import errors

# Slowest first: neighbours on the last axis talk most, every layer.
AXES = ("data", "fsdp", "model")


@dataclasses.dataclass(frozen=True)
class Mesh:
  """How many devices share what.

  Attributes:
    model: devices that share each layer's heads and feed-forward units: T5X's
      `num_partitions`.
    fsdp: devices that share the storage of parameters and optimizer, and
      gather a layer when it is computed; they work on rows of their own.
    data: devices that work on rows of their own with a whole model, together
      with the others of their `model` and `fsdp` group; None takes all devices
      that these leave.

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
    """Returns the sizes of the axes data, fsdp and model.

    Args:
      num_devices: devices to use, all of them.

    Raises:
      UserError: the sizes do not multiply out to the devices.
    """
    each = self.fsdp * self.model
    data = num_devices // each if self.data is None else self.data
    if data * each != num_devices:
      raise errors.UserError(
        f"Mesh: data={'all others' if self.data is None else self.data} x"
        f" fsdp={self.fsdp} x model={self.model} does not multiply out to the"
        f" {num_devices} devices there are"
      )
    return data, self.fsdp, self.model

  def abstract(self, num_devices: int) -> jax.sharding.AbstractMesh:
    """Returns the mesh without devices, to trace programs for.

    Args:
      num_devices: devices to use, all of them.

    Raises:
      UserError: the sizes do not multiply out to the devices.
    """
    # JAX 0.12 would make the axes explicit; `make`'s are not.
    kinds = (jax.sharding.AxisType.Auto,) * len(AXES)
    return jax.sharding.AbstractMesh(self.shape(num_devices), AXES, kinds)

  def make(self, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """Returns JAX's mesh; devices of a torus get neighbours next to them.

    Args:
      devices: to use, all of them; None for all of all processes.

    Raises:
      UserError: the sizes do not multiply out to the devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = self.shape(len(devices))
    grid = mesh_utils.create_device_mesh(
      shape, devices, allow_split_physical_axes=True
    )
    return jax.sharding.Mesh(grid, AXES)
