"""The run to plan, and its arrays on a mesh as shapes without values."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from rlhf_gap import errors, pairs, partitioning
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.models import precision, t5
from rlhf_gap.training import objectives, step
from rlhf_gap.training.description import Run

# Sources that can be planned; a mixture runs the programs of its components.
_SOURCES = (
  pairs.Generated,
  pairs.Offline,
  pairs.Online,
  pairs.Replay,
  pairs.Responses,
)


@dataclasses.dataclass(frozen=True)
class Subject:
  """The run to plan.

  Attributes:
    run: the run's description.
    policy: architecture of the trained model and its reference.
    judge: architecture of the judge, if pairs are sampled.
    prompt_tokens: length of the prompts.
    response_tokens: length of the responses.

  Raises:
    UserError: the run's source cannot be planned.
  """

  run: Run
  policy: t5.T5Config
  judge: t5.T5Config
  prompt_tokens: int
  response_tokens: int

  def __post_init__(self) -> None:
    if not isinstance(self.run.source, _SOURCES):
      known = ", ".join(kind.__name__ for kind in _SOURCES)
      raise errors.UserError(
        f"a source {type(self.run.source).__name__} cannot be planned; expected"
        f" one of {known}. Plan each component of a mixture separately, with"
        " its share of the batch"
      )

  @property
  def samples(self) -> bool:
    """Whether pairs are sampled while training."""
    return isinstance(self.run.source, pairs.Online | pairs.Generated)

  @property
  def scores(self) -> bool:
    """Whether the reference scores stored pairs as they are read.

    Recorded runs already contain the scores; other stores are assumed not to.
    """
    stored = isinstance(self.run.source, pairs.Offline)
    return stored and self.run.objective.needs_reference


def resident_bytes(
  subject: Subject, mesh: partitioning.AnyMesh
) -> dict[str, int]:
  """Returns the bytes of what stays in a chip's memory throughout the run.

  Args:
    subject: the run to plan.
    mesh: the slice's mesh.

  Returns:
    Bytes by content, such as "parameters" or "optimizer".
  """
  state = state_shapes(subject, mesh)
  sizes = {
    "parameters": _chip_bytes(state.params),
    "optimizer": _chip_bytes(state.opt_state),
  }
  if subject.run.objective.needs_reference:
    sizes["reference"] = _chip_bytes(frozen_shapes(subject.policy, mesh))
  if subject.samples:
    sizes["judge"] = _chip_bytes(frozen_shapes(judging_config(subject), mesh))
  if count := _copies(subject.run.source):
    sizes["sampled from"] = count * _chip_bytes(
      parameter_shapes(subject.policy, mesh)
    )
  return sizes


def _copies(source: pairs.SourceSpec) -> int:
  """Returns the number of policies that a source holds for sampling."""
  if isinstance(source, pairs.Online):
    return int(source.sync_every_steps != 1)
  if isinstance(source, pairs.Generated):
    return 1 if source.first == source.second else 2
  return 0


def kernel_sizes(
  subject: Subject, mesh: partitioning.AnyMesh
) -> frozenset[int]:
  """Returns the possible numbers of elements of a kernel on one chip.

  Args:
    subject: the run to plan.
    mesh: the slice's mesh.

  Returns:
    The sizes of all kernels, whole and split along each combination of axes.
  """
  fsdp, model = mesh.shape["fsdp"], mesh.shape["model"]
  sizes = {
    math.prod(param.shape)
    for path, param in jax.tree_util.tree_leaves_with_path(
      t5.param_shapes(subject.policy)
    )
    if path[-1].key in ("kernel", "embedding")
  }
  num_shards = {1, fsdp, model, fsdp * model}
  return frozenset(size // n for size in sizes for n in num_shards)


def state_shapes(
  subject: Subject, mesh: partitioning.AnyMesh
) -> step.TrainState:
  """Returns the train state's shapes, with the mesh's shardings."""
  optimizer = subject.run.optimizer.without_rate().make()
  params = t5.param_shapes(subject.policy)
  shapes = step.TrainState._make(
    (
      jax.ShapeDtypeStruct((), jnp.int32),
      params,
      jax.eval_shape(optimizer.init, params),
    )
  )
  places = step.shardings_of(subject.policy, optimizer, mesh)
  return _placed(shapes, places)


def parameter_shapes(config: t5.T5Config, mesh: partitioning.AnyMesh) -> Any:
  """Returns the shapes of float32 parameters, sharded as a run does."""
  return _placed(t5.param_shapes(config), partitioning.parameters(config, mesh))


def frozen_shapes(config: t5.T5Config, mesh: partitioning.AnyMesh) -> Any:
  """Returns the shapes of a reference's or judge's parameters."""
  # In the dtypes in which `pairs` stores the reference and the judge.
  held = functools.partial(precision.as_computed, config)
  shapes = jax.eval_shape(held, t5.param_shapes(config))
  return _placed(shapes, partitioning.parameters(config, mesh))


def judging_config(subject: Subject) -> t5.T5Config:
  """Returns the judge's architecture with the policy's dtype."""
  return dataclasses.replace(subject.judge, dtype=subject.policy.dtype)


def _placed(shapes: Any, places: Any) -> Any:
  return jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    places,
  )


def batch_shapes(subject: Subject, mesh: partitioning.AnyMesh) -> Any:
  """Returns the shapes of a training batch."""
  rows = subject.run.batch_size
  prompt = row_shapes(mesh, jnp.int32, rows, subject.prompt_tokens)
  response = row_shapes(mesh, jnp.int32, rows, subject.response_tokens)
  number = row_shapes(mesh, jnp.float32, rows)
  if isinstance(subject.run.objective, objectives.Sft):
    return ResponseBatch(prompt=prompt, response=response, weight=number)
  return PreferenceBatch(
    prompt=prompt,
    chosen=response,
    rejected=response,
    chosen_reference=number,
    rejected_reference=number,
    judge_r12=number,
    judge_r21=number,
    weight=number,
  )


def row_shapes(mesh: partitioning.AnyMesh, dtype: Any, *shape: int) -> Any:
  """Returns the shape of an array whose first axis is the batch."""
  place = partitioning.rows(mesh)
  return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def _chip_bytes(tree: Any) -> int:
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )
