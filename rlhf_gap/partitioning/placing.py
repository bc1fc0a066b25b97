"""From logical axes to the devices of a mesh.

Parameters follow their logical axes, the optimizer's moments their parameter,
and rows of a batch are dealt out over the axes data and fsdp.
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
# While tracing, only the shape of the mesh is known.
AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh


def standard_rules(*, fsdp: bool = True) -> Rules:
  """Returns T5X's standard logical axis rules, on this package's mesh.

  T5X: `partitioning.standard_logical_axis_rules`; `fsdp` is its
  `parameter_partitioning_dims=2`, over an axis of its own.

  Args:
    fsdp: whether a parameter's "embed" axis is shared out over the axis fsdp.
      In an activation the batch has that axis already, and comes first.

  Returns:
    (logical axis, axes of the mesh) pairs, in order of precedence.
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


def rules_of(config: t5.T5Config, mesh: AnyMesh, *, fsdp: bool = True) -> Rules:
  """Returns the rules of one architecture on a mesh.

  `standard_rules`, but for layers that the axis model does not divide: their
  heads or feed-forward units are held, and computed, whole on every device of
  that axis. A judge smaller than the policy may need it; see `check_model`.

  Args:
    config: the architecture.
    mesh: the mesh.
    fsdp: see `standard_rules`.
  """
  undivided = {axis for axis, _, size in _layers(config) if size % _ways(mesh)}
  if "heads" in undivided:
    undivided.add("joined_kv")
  return tuple(
    (axis, None if axis in undivided else places)
    for axis, places in standard_rules(fsdp=fsdp)
  )


def _layers(config: t5.T5Config) -> tuple[tuple[str, str, int], ...]:
  """Logical axis, name and size of what the axis model divides."""
  return (
    ("heads", "attention heads", config.num_heads),
    ("mlp", "feed-forward units", config.mlp_dim),
  )


def _ways(mesh: AnyMesh) -> int:
  return mesh.shape["model"]


@contextlib.contextmanager
def active(mesh: jax.sharding.Mesh | None) -> Iterator[None]:
  """Computes on a mesh: the model's logical constraints then mean something.

  Args:
    mesh: the mesh; None changes nothing.

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
  """Follows the rules of another model than the one that is trained.

  While tracing on a mesh; nothing changes where there is none.

  Args:
    config: the other's architecture.

  Yields:
    Nothing.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    yield
    return
  with nn.logical_axis_rules(rules_of(config, mesh)):
    yield


def parameters(
  config: t5.T5Config, mesh: AnyMesh, *, fsdp: bool = True
) -> t5.Params:
  """Returns where each parameter of an architecture goes.

  An axis that the mesh's does not divide, such as a vocabulary of odd size, is
  not split: every device of that axis then holds it whole.

  Args:
    config: the architecture.
    mesh: the mesh.
    fsdp: see `standard_rules`.

  Returns:
    A `NamedSharding` for each parameter, under its name.
  """
  rules = rules_of(config, mesh, fsdp=fsdp)

  def place(axes: PartitionSpec, shape: Any) -> NamedSharding:
    wanted = nn.logical_to_mesh_axes(tuple(axes), rules) or ()
    return NamedSharding(mesh, _dividing(wanted, shape.shape, mesh))

  return jax.tree.map(
    place,
    t5.logical_axes(config),
    t5.param_shapes(config),
    is_leaf=lambda x: isinstance(x, PartitionSpec),
  )


def parameters_on(
  mesh: jax.sharding.Mesh | None,
) -> Callable[[t5.T5Config], t5.Params] | None:
  """Returns what `checkpoints.load` takes as `shardings`; None for no mesh."""
  return None if mesh is None else functools.partial(parameters, mesh=mesh)


def checked_parameters_on(
  mesh: jax.sharding.Mesh | None,
) -> Callable[[t5.T5Config], t5.Params] | None:
  """Returns `parameters_on`, for a model that the mesh must divide."""
  if mesh is None:
    return None

  def places(config: t5.T5Config) -> t5.Params:
    check_model(config, mesh)
    return parameters(config, mesh)

  return places


def _dividing(
  spec: Any, shape: tuple[int, ...], mesh: AnyMesh
) -> PartitionSpec:
  """Leaves out of `spec` what does not divide its axis."""
  kept = []
  for axes, size in zip(spec, shape, strict=True):
    names = (axes,) if isinstance(axes, str) else axes or ()
    ways = math.prod(mesh.shape[name] for name in names)
    kept.append(axes if size % ways == 0 else None)
  return PartitionSpec(*kept)


def check_model(config: t5.T5Config, mesh: AnyMesh) -> None:
  """Raises `UserError` where the model axis does not divide the layers.

  For what is trained: most of its devices would do the same work.

  Args:
    config: the architecture.
    mesh: the mesh.
  """
  ways = _ways(mesh)
  for _, what, size in _layers(config):
    if size % ways:
      raise errors.UserError(
        f"Mesh: model={ways} does not divide the model's {size:,} {what};"
        " choose a divisor of both its heads and its feed-forward units"
      )


def undivided(config: t5.T5Config, mesh: AnyMesh) -> list[str]:
  """Says which layers every device of the axis model computes whole.

  Args:
    config: the architecture.
    mesh: the mesh.

  Returns:
    Such as "16 attention heads"; nothing where all are divided.
  """
  ways = _ways(mesh)
  return [f"{n:,} {what}" for _, what, n in _layers(config) if n % ways]


def check_batch(batch_size: int, num_microbatches: int, mesh: AnyMesh) -> None:
  """Raises `UserError` where the rows cannot be dealt out evenly.

  Args:
    batch_size: rows of a batch, all hosts together.
    num_microbatches: parts of it that are worked through one after another.
    mesh: the mesh.
  """
  data, fsdp = mesh.shape["data"], mesh.shape["fsdp"]
  if batch_size % (num_microbatches * data * fsdp):
    raise errors.UserError(
      f"Mesh: a batch of {batch_size} rows in {num_microbatches} microbatches"
      f" does not divide over data={data} x fsdp={fsdp}; choose a larger model"
      " axis, fewer microbatches or another BATCH_SIZE"
    )


def replicated(mesh: AnyMesh) -> NamedSharding:
  """Returns the placement of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def rows(mesh: AnyMesh) -> NamedSharding:
  """Returns the placement of arrays whose first axis is a batch's rows."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def rows_held(
  mesh: jax.sharding.Mesh,
  batch_size: int,
  devices: Sequence[jax.Device] | None = None,
) -> np.ndarray:
  """Returns which rows of a batch some devices hold.

  Where the axis model spans processes, several hold the same rows.

  Args:
    mesh: the mesh, over the devices of all processes.
    batch_size: rows of a batch, all processes together.
    devices: which; None for those of this process.

  Returns:
    Their places in the batch, ascending.
  """
  parts = rows(mesh).devices_indices_map((batch_size,))
  held = np.zeros(batch_size, bool)
  for device in mesh.local_devices if devices is None else devices:
    held[parts[device]] = True
  return np.flatnonzero(held)


def place_rows(
  mesh: jax.sharding.Mesh, batch_size: int, values: np.ndarray
) -> jax.Array:
  """Makes a batch's array of the rows that this process has read.

  Args:
    mesh: the mesh, over the devices of all processes.
    batch_size: rows of the whole batch.
    values: this process's rows, those of `rows_held`, in that order.

  Returns:
    The whole array, spread over the axes data and fsdp.
  """
  held = rows_held(mesh, batch_size)

  def part(index: tuple[slice, ...] | None) -> np.ndarray:
    assert index  # an array of rows has an axis
    start, stop, _ = index[0].indices(batch_size)
    first = int(np.searchsorted(held, start))
    return values[first : first + stop - start]

  shape = (batch_size, *values.shape[1:])
  return jax.make_array_from_callback(shape, rows(mesh), part)


def constrain_rows(tree: Tree) -> Tree:
  """Pins arrays of rows to `rows` while tracing on a mesh; else the same."""
  axes = jax.tree.map(lambda x: ("batch", *[None] * (x.ndim - 1)), tree)
  return jax.tree.map(
    lambda x, names: nn.with_logical_constraint(x, names), tree, axes
  )


def without_fsdp(config: t5.T5Config, params: t5.Params) -> t5.Params:
  """Gathers parameters over the axis fsdp, while tracing on a mesh.

  A loop that reads every parameter at every turn, as sampling does, would
  gather them at every turn; so they are gathered once before it. They stay
  split over the axis model.

  Args:
    config: the architecture.
    params: its parameters.

  Returns:
    The parameters; the same where there is no mesh, or no fsdp axis.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.shape.get("fsdp", 1) == 1:
    return params
  places = parameters(config, mesh, fsdp=False)
  return jax.lax.with_sharding_constraint(params, places)


def optimizer_state(opt_state: Any, shardings: t5.Params) -> Any:
  """Returns where each array of an optimizer's state goes.

  A moment of its parameter's shape goes where the parameter goes. All others
  are held whole by every device: counts, and Adafactor's row and column means,
  which are vectors (under 0.1% of a T5 XXL's parameters).

  Args:
    opt_state: the state, or its shapes.
    shardings: where the parameters go, see `parameters`.

  Returns:
    A `NamedSharding` for each leaf of `opt_state`.
  """
  places = _by_path(shardings)
  mesh = next(iter(places.values())).mesh

  def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
    names = tuple(k.key for k in path if isinstance(k, jax.tree_util.DictKey))
    sharding = places.get(names)
    whole = replicated(mesh)
    if sharding is None or len(sharding.spec) != len(leaf.shape):
      return whole
    fits = _dividing(sharding.spec, leaf.shape, mesh) == sharding.spec
    return sharding if fits else whole

  return jax.tree_util.tree_map_with_path(place, opt_state)


def _by_path(tree: Mapping[str, Any]) -> dict[tuple[str, ...], NamedSharding]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {tuple(key.key for key in path): leaf for path, leaf in leaves}
