"""The programs of a run, compiled for devices that are not here.

They are the run's own: `training.step.compiled` and `pairs.online.draw_pairs`,
given shapes in place of arrays.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rlhf_gap import pairs, partitioning
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.inference import judge
from rlhf_gap.models import t5
from rlhf_gap.pairs import online
from rlhf_gap.plan import flops, hlo
from rlhf_gap.training import objectives, step
from rlhf_gap.training.description import Run

# `jax.named_scope`s of `draw_pairs`; the train step is a term of its own.
DRAW_TERMS = ("sampling", "judging", "reference")
STEP_TERM = "step"
# Room for the markers and EOS of the judge's input, whatever the vocabulary.
_MARKER_TOKENS = 16
# Ids are no part of a program's shape.
_WORDS = judge.Words((3, 4, 5), (3, 4, 6), 7, 8)


@dataclasses.dataclass(frozen=True)
class Subject:
  """What is planned.

  Attributes:
    run: the description.
    policy: architecture of policy and reference, and of whatever is trained.
    judge: the proxy's, where pairs are sampled.
    prompt_tokens: the prompts' window.
    response_tokens: the responses'.
  """

  run: Run
  policy: t5.T5Config
  judge: t5.T5Config
  prompt_tokens: int
  response_tokens: int

  @property
  def samples(self) -> bool:
    """Whether pairs are sampled while training."""
    return isinstance(self.run.source, pairs.Online | pairs.Generated)


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A program for one chip of the mesh.

  Attributes:
    name: "step" or "draw".
    argument_bytes: of what it is given.
    temporary_bytes: of what it needs on the way.
    output_bytes: of what it returns in memory of its own.
    optimal_seconds: the compiler's own estimate; loops count once in it.
    flops: of all chips together, by place.
    traffic: of one chip.
    compile_seconds: on this machine.
  """

  name: str
  argument_bytes: int
  temporary_bytes: int
  output_bytes: int
  optimal_seconds: float
  flops: dict[hlo.Place, int]
  traffic: hlo.Traffic
  compile_seconds: float


def resident_bytes(subject: Subject, mesh: jax.sharding.Mesh) -> dict[str, int]:
  """Returns what lies in a chip's memory all the time, by what it is.

  Args:
    subject: what is planned.
    mesh: of the slice.
  """
  state = _state(subject, mesh)
  found = {
    "parameters": _chip_bytes(state.params),
    "optimizer": _chip_bytes(state.opt_state),
  }
  if subject.run.objective.needs_reference:
    found["reference"] = _chip_bytes(state.params)
  if subject.samples:
    found["judge"] = _chip_bytes(_parameters(subject.judge, mesh))
  return found


def compile_all(
  subject: Subject, mesh: jax.sharding.Mesh
) -> Iterator[Compiled]:
  """Compiles the programs of a step, one after another.

  Args:
    subject: what is planned.
    mesh: of the slice; its devices need not be here.

  Yields:
    The train step, then, where pairs are sampled, what draws them.

  Raises:
    jax.errors.JaxRuntimeError: the compiler finds that it cannot fit.
  """
  with _on(mesh):
    yield _compile(STEP_TERM, (STEP_TERM,), 1, *_step(subject, mesh))
    if subject.samples:
      turns = subject.response_tokens
      yield _compile("draw", DRAW_TERMS, turns, *_draw(subject, mesh))


@contextlib.contextmanager
def _on(mesh: jax.sharding.Mesh) -> Iterator[None]:
  # As `partitioning.active`, for devices on which nothing can be placed.
  abstract = jax.sharding.use_abstract_mesh(mesh.abstract_mesh)
  with abstract, nn.logical_axis_rules(partitioning.standard_rules()):
    yield


def _compile(
  name: str,
  terms: Sequence[str],
  turns: int,
  function: Any,  # what `jax.jit` returns
  arguments: tuple[Any, ...],
) -> Compiled:
  begun = time.monotonic()
  traced = function.trace(*arguments)
  counted = flops.of_products(traced.jaxpr, turns=turns, terms=tuple(terms))
  compiled = traced.lower().compile()
  memory = compiled.memory_analysis()
  cost = compiled.cost_analysis() or {}
  return Compiled(
    name,
    memory.argument_size_in_bytes,
    memory.temp_size_in_bytes,
    memory.output_size_in_bytes - memory.alias_size_in_bytes,
    float(cost.get("optimal_seconds", math.nan)),
    counted,
    hlo.traffic(compiled.as_text(), turns=turns, terms=tuple(terms)),
    time.monotonic() - begun,
  )


def _step(subject: Subject, mesh: jax.sharding.Mesh) -> tuple[Any, Any]:
  run = subject.run
  optimizer = run.optimizer.without_rate().make()
  key = jax.random.key(run.seed) if run.dropout_rate else None
  function = step.compiled(
    run.objective.bind(subject.policy, _WORDS),
    optimizer,
    dropout_key=key,
    num_microbatches=run.num_microbatches,
    shardings=(
      step.shardings_of(subject.policy, optimizer, mesh),
      partitioning.replicated(mesh),
    ),
  )
  return function, (_state(subject, mesh), _batch(subject, mesh), 1.0)


def _draw(subject: Subject, mesh: jax.sharding.Mesh) -> tuple[Any, Any]:
  source = subject.run.source
  assert isinstance(source, pairs.Online | pairs.Generated)
  needed = 2 * subject.response_tokens + _MARKER_TOKENS
  sampling = dataclasses.replace(
    source.sampling,
    max_length=subject.response_tokens,
    judge_length=source.sampling.judge_length or subject.prompt_tokens + needed,
  )
  judging = dataclasses.replace(subject.judge, dtype=subject.policy.dtype)
  static = online.Static(subject.policy, judging, _WORDS, sampling)
  policy = _parameters(subject.policy, mesh)
  count = 1 if isinstance(source, pairs.Online) else 2
  whole = partitioning.replicated(mesh)
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=whole)
  arguments = (
    static,
    (policy,) * count,
    policy,
    _parameters(subject.judge, mesh),
    _rows(mesh, jnp.int32, subject.run.batch_size, subject.prompt_tokens),
    key,
  )
  return online.draw_pairs, arguments


def _state(subject: Subject, mesh: jax.sharding.Mesh) -> step.TrainState:
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


def _parameters(config: t5.T5Config, mesh: jax.sharding.Mesh) -> Any:
  return _placed(t5.param_shapes(config), partitioning.parameters(config, mesh))


def _placed(shapes: Any, places: Any) -> Any:
  return jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    places,
  )


def _batch(subject: Subject, mesh: jax.sharding.Mesh) -> Any:
  rows = subject.run.batch_size
  prompt = _rows(mesh, jnp.int32, rows, subject.prompt_tokens)
  response = _rows(mesh, jnp.int32, rows, subject.response_tokens)
  number = _rows(mesh, jnp.float32, rows)
  if isinstance(subject.run.objective, objectives.Sft):
    return ResponseBatch(prompt, response, number)
  return PreferenceBatch(prompt, response, response, *[number] * 5)


def _rows(mesh: jax.sharding.Mesh, dtype: Any, *shape: int) -> Any:
  place = partitioning.rows(mesh)
  return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def _chip_bytes(tree: Any) -> int:
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )
