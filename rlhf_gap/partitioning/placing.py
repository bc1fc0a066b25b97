"""Shardings of parameters, optimizer state and batches on a mesh.

Parameters are sharded by their logical axes and optimizer moments like their
parameter. The rows of a batch are split over the data and fsdp axes.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from rlhf_gap import errors
from rlhf_gap.models import t5

Rules = tuple[tuple[str, str | tuple[str, ...] | None], ...]
Tree = TypeVar("Tree")
# Tracing needs only the mesh's shape, not its devices.
AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh


def standard_rules(*, fsdp: bool = True) -> Rules:
  """Returns T5X's standard logical axis rules for this package's mesh.

  See T5X's `partitioning.standard_logical_axis_rules`; `fsdp` corresponds to
  its `parameter_partitioning_dims=2`, on a separate axis.

  Args:
    fsdp: whether to split the "embed" axis of parameters over the fsdp axis.
      Activations are not affected: their batch axis uses it first.

  Returns:
    (logical axis, mesh axes) pairs, in order of precedence.
  """
  return (
    ("batch", ("data", "fsdp")),
    ("vocab", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("joined_kv", "model"),
    ("embed", "fsdp" if fsdp else None),
    ("kv", None),
    ("length", None),
    ("relpos_buckets", None),
  )


def model_rules(
  config: t5.T5Config, mesh: AnyMesh, *, fsdp: bool = True
) -> Rules:
  """Returns the logical axis rules for one architecture on a mesh.

  They are `standard_rules`, except that heads or feed-forward units that the
  model axis does not divide are replicated along it. A judge smaller than the
  policy may need this; for trained models see `check_model`.

  Args:
    config: the architecture.
    mesh: the mesh.
    fsdp: see `standard_rules`.
  """
  replicated_axes = {axis for axis, _, _ in _undivided(config, mesh)}
  if "heads" in replicated_axes:
    replicated_axes.add("joined_kv")
  return tuple(
    (axis, None if axis in replicated_axes else mesh_axes)
    for axis, mesh_axes in standard_rules(fsdp=fsdp)
  )


def _undivided(
  config: t5.T5Config, mesh: AnyMesh
) -> list[tuple[str, str, int]]:
  """Returns (logical axis, description, size) not divided by the model axis."""
  split = (
    ("heads", "attention heads", config.num_heads),
    ("mlp", "feed-forward units", config.mlp_dim),
  )
  return [layer for layer in split if layer[2] % mesh.shape["model"]]


@contextlib.contextmanager
def active(mesh: jax.sharding.Mesh | None) -> Iterator[None]:
  """Activates a mesh and the logical axis rules that models are written in.

  Args:
    mesh: the mesh; None does nothing.

  Yields:
    Nothing.
  """
  if mesh is None:
    yield
    return
  with jax.set_mesh(mesh), nn.logical_axis_rules(standard_rules()):
    yield


@contextlib.contextmanager
def computing(config: t5.T5Config) -> Iterator[None]:
  """Applies the axis rules of a model other than the trained one.

  Has an effect only while tracing on a mesh.

  Args:
    config: the other model's architecture.

  Yields:
    Nothing.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    yield
    return
  with nn.logical_axis_rules(model_rules(config, mesh)):
    yield


def parameters(
  config: t5.T5Config, mesh: AnyMesh, *, fsdp: bool = True
) -> t5.Params:
  """Returns the sharding of each parameter of an architecture.

  A dimension that the mesh axis does not divide, such as a vocabulary of odd
  size, is replicated along that axis.

  Args:
    config: the architecture.
    mesh: the mesh.
    fsdp: see `standard_rules`.

  Returns:
    A `NamedSharding` for each parameter, under its name.
  """
  rules = model_rules(config, mesh, fsdp=fsdp)

  def place(axes: PartitionSpec, shape: Any) -> NamedSharding:
    spec = nn.logical_to_mesh_axes(tuple(axes), rules) or ()
    return NamedSharding(mesh, _drop_undividing(spec, shape.shape, mesh))

  return jax.tree.map(
    place,
    t5.logical_axes(config),
    t5.param_shapes(config),
    is_leaf=lambda x: isinstance(x, PartitionSpec),
  )


def parameters_on(
  mesh: jax.sharding.Mesh | None,
) -> Callable[[t5.T5Config], t5.Params] | None:
  """Returns the `shardings` argument of `checkpoints.load`; None if no mesh."""
  return None if mesh is None else functools.partial(parameters, mesh=mesh)


def checked_parameters_on(
  mesh: jax.sharding.Mesh | None,
) -> Callable[[t5.T5Config], t5.Params] | None:
  """Like `parameters_on`, but raises unless the mesh divides the model."""
  if mesh is None:
    return None

  def checked(config: t5.T5Config) -> t5.Params:
    check_model(config, mesh)
    return parameters(config, mesh)

  return checked


def _drop_undividing(
  spec: Any, shape: tuple[int, ...], mesh: AnyMesh
) -> PartitionSpec:
  """Drops the mesh axes of `spec` that do not divide their dimension."""
  entries = []
  for axes, size in zip(spec, shape, strict=True):
    names = (axes,) if isinstance(axes, str) else axes or ()
    num_shards = math.prod(mesh.shape[name] for name in names)
    entries.append(axes if size % num_shards == 0 else None)
  return PartitionSpec(*entries)


def check_model(config: t5.T5Config, mesh: AnyMesh) -> None:
  """Checks that the model axis divides a trained model's layers.

  Otherwise most devices of that axis would repeat the same work.

  Args:
    config: the architecture.
    mesh: the mesh.

  Raises:
    UserError: it does not divide the heads or the feed-forward units.
  """
  for _, description, size in _undivided(config, mesh):
    raise errors.UserError(
      f"Mesh: model={mesh.shape['model']} does not divide the model's"
      f" {size:,} {description}; choose a divisor of both its heads and its"
      " feed-forward units"
    )


def undivided(config: t5.T5Config, mesh: AnyMesh) -> list[str]:
  """Returns the layers that are replicated along the model axis.

  Args:
    config: the architecture.
    mesh: the mesh.

  Returns:
    Descriptions such as "16 attention heads"; empty if all are divided.
  """
  return [
    f"{n:,} {description}" for _, description, n in _undivided(config, mesh)
  ]


def check_batch(batch_size: int, num_microbatches: int, mesh: AnyMesh) -> None:
  """Checks that the mesh divides every microbatch.

  Args:
    batch_size: global batch size.
    num_microbatches: microbatches per batch.
    mesh: the mesh.

  Raises:
    UserError: the rows of a microbatch cannot be split evenly.
  """
  data, fsdp = mesh.shape["data"], mesh.shape["fsdp"]
  if batch_size % (num_microbatches * data * fsdp):
    raise errors.UserError(
      f"Mesh: a batch of {batch_size} rows in {num_microbatches} microbatches"
      f" cannot be split over data={data} x fsdp={fsdp}; choose a larger model"
      " axis, fewer microbatches or another BATCH_SIZE"
    )


def replicated(mesh: AnyMesh) -> NamedSharding:
  """Returns the sharding of fully replicated arrays."""
  return NamedSharding(mesh, PartitionSpec())


def rows(mesh: AnyMesh) -> NamedSharding:
  """Returns the sharding of arrays whose first axis is the batch."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def rows_held(
  mesh: jax.sharding.Mesh,
  batch_size: int,
  devices: Sequence[jax.Device] | None = None,
) -> np.ndarray:
  """Returns the rows of a batch that a set of devices holds.

  If the model axis spans processes, several processes hold the same rows.

  Args:
    mesh: the mesh, over the devices of all processes.
    batch_size: global batch size.
    devices: the devices; by default those of this process.

  Returns:
    Row indices into the global batch, ascending.
  """
  slices = rows(mesh).devices_indices_map((batch_size,))
  held = np.zeros(batch_size, bool)
  for device in mesh.local_devices if devices is None else devices:
    held[slices[device]] = True
  return np.flatnonzero(held)


def place_rows(
  mesh: jax.sharding.Mesh, batch_size: int, values: np.ndarray
) -> jax.Array:
  """Assembles a global batch array from the rows that each process read.

  Args:
    mesh: the mesh, over the devices of all processes.
    batch_size: global batch size.
    values: this process's rows: those of `rows_held`, in that order.

  Returns:
    The global array, sharded over the data and fsdp axes.
  """
  held = rows_held(mesh, batch_size)

  def local_rows(index: tuple[slice, ...] | None) -> np.ndarray:
    assert index  # an array of rows has an axis
    start, stop, _ = index[0].indices(batch_size)
    first = int(np.searchsorted(held, start))
    return values[first : first + stop - start]

  shape = (batch_size, *values.shape[1:])
  return jax.make_array_from_callback(shape, rows(mesh), local_rows)


def constrain_rows(tree: Tree) -> Tree:
  """Constrains arrays to the sharding `rows`, if tracing on a mesh."""
  axes = jax.tree.map(lambda x: ("batch", *[None] * (x.ndim - 1)), tree)
  return jax.tree.map(
    lambda x, names: nn.with_logical_constraint(x, names), tree, axes
  )


def without_fsdp(config: t5.T5Config, params: t5.Params) -> t5.Params:
  """Gathers parameters over the fsdp axis, if tracing on a mesh.

  A loop that reads every parameter in every iteration, such as sampling, would
  otherwise gather them in every iteration. They stay split over the model axis.

  Args:
    config: the architecture.
    params: the model's parameters.

  Returns:
    The gathered parameters; `params` itself without a mesh or an fsdp axis.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.shape.get("fsdp", 1) == 1:
    return params
  shardings = parameters(config, mesh, fsdp=False)
  return jax.lax.with_sharding_constraint(params, shardings)


def optimizer_state(opt_state: Any, shardings: t5.Params) -> Any:
  """Returns the sharding of each array of an optimizer's state.

  A moment with its parameter's shape is sharded like the parameter. Everything
  else is replicated: counts, and Adafactor's row and column means, which are
  vectors (under 0.1% of a T5 XXL's parameters).

  Args:
    opt_state: the state, or its shapes.
    shardings: the parameters' shardings, see `parameters`.

  Returns:
    A `NamedSharding` for each leaf of `opt_state`.
  """
  by_path = _by_path(shardings)
  mesh = next(iter(by_path.values())).mesh

  def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
    names = tuple(k.key for k in path if isinstance(k, jax.tree_util.DictKey))
    sharding = by_path.get(names)
    if sharding is None or len(sharding.spec) != len(leaf.shape):
      return replicated(mesh)
    divides = _drop_undividing(sharding.spec, leaf.shape, mesh) == sharding.spec
    return sharding if divides else replicated(mesh)

  return jax.tree_util.tree_map_with_path(place, opt_state)


def _by_path(tree: Mapping[str, Any]) -> dict[tuple[str, ...], NamedSharding]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {tuple(key.key for key in path): leaf for path, leaf in leaves}
