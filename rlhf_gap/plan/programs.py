"""The programs of a run, compiled for devices that are not here.

They are the run's own: `training.step.compiled`, `pairs.online.draw_pairs` and
`pairs.reference.sequence_log_probs`, given shapes in place of arrays.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rlhf_gap import errors, pairs, partitioning, stores
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.inference import judge
from rlhf_gap.models import precision, t5
from rlhf_gap.pairs import online
from rlhf_gap.pairs import reference as references
from rlhf_gap.plan import flops, hlo
from rlhf_gap.training import objectives, step
from rlhf_gap.training.description import Run

# `jax.named_scope`s of `draw_pairs`; the other programs are terms of their own.
DRAW_TERMS = ("sampling", "judging", "reference")
STEP_TERM, SCORE_TERM = "step", "reference"
DRAW, SCORE = "draw", "score"
# Sources whose programs are known; a mixture's parts have others of their own.
_SOURCES = (
  pairs.Generated,
  pairs.Offline,
  pairs.Online,
  pairs.Replay,
  pairs.Responses,
)
# The run's vocabulary is unknown here; bytes write the longest markers.
_WORDS = judge.words_of(stores.byte())


@dataclasses.dataclass(frozen=True)
class Subject:
  """What is planned.

  Attributes:
    run: the description.
    policy: architecture of policy and reference, and of whatever is trained.
    judge: the proxy's, where pairs are sampled.
    prompt_tokens: the prompts' window.
    response_tokens: the responses'.

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
        f"a source {type(self.run.source).__name__} cannot be planned, expected"
        f" one of {known}; plan a mixture's parts one by one, each with its"
        " share of the batch"
      )

  @property
  def samples(self) -> bool:
    """Whether pairs are sampled while training."""
    return isinstance(self.run.source, pairs.Online | pairs.Generated)

  @property
  def scores(self) -> bool:
    """Whether stored pairs are scored by the reference as they are read.

    Taken to be so for all but recorded runs, which hold its scores.
    """
    stored = isinstance(self.run.source, pairs.Offline)
    return stored and self.run.objective.needs_reference


@dataclasses.dataclass(frozen=True)
class Memory:
  """What a program needs of a chip's memory.

  Attributes:
    argument_bytes: of what it is given.
    temporary_bytes: of what it needs on the way.
    output_bytes: of what it returns in memory of its own; what takes an
      argument's place, as a new state that of the old, does not count.
  """

  argument_bytes: int
  temporary_bytes: int
  output_bytes: int


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A program for one chip of the mesh.

  Attributes:
    name: "step", "draw" or "score".
    memory: that it needs.
    turns: of its loops whose number of turns depends on the data.
    optimal_seconds: the compiler's own estimate; loops count once in it.
    flops: of all chips together, by place.
    useful_flops: of all chips together, without what several of them repeat or
      the backward pass recomputes.
    traffic: of one chip.
    compile_seconds: of this machine's processors, all together.
  """

  name: str
  memory: Memory
  turns: int
  optimal_seconds: float
  flops: dict[hlo.Place, int]
  useful_flops: int
  traffic: hlo.Traffic
  compile_seconds: float


def resident_bytes(
  subject: Subject, mesh: partitioning.AnyMesh
) -> dict[str, int]:
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
    found["reference"] = _chip_bytes(_frozen(subject.policy, mesh))
  if subject.samples:
    found["judge"] = _chip_bytes(_frozen(_judging(subject), mesh))
  if count := _copies(subject.run.source):
    found["sampled from"] = count * _chip_bytes(
      _parameters(subject.policy, mesh)
    )
  return found


def _copies(source: pairs.Spec) -> int:
  """How many policies a source holds besides the one that is trained."""
  if isinstance(source, pairs.Online):
    return int(source.sync_every_steps != 1)
  if isinstance(source, pairs.Generated):
    return 1 if source.first == source.second else 2
  return 0


def kernel_sizes(
  subject: Subject, mesh: partitioning.AnyMesh
) -> frozenset[int]:
  """Returns how many elements a kernel can have on a chip: whole or split.

  Args:
    subject: what is planned.
    mesh: of the slice.
  """
  fsdp, model = mesh.shape["fsdp"], mesh.shape["model"]
  sizes = {
    math.prod(param.shape)
    for path, param in jax.tree_util.tree_leaves_with_path(
      t5.param_shapes(subject.policy)
    )
    if path[-1].key in ("kernel", "embedding")
  }
  parts = {1, fsdp, model, fsdp * model}
  return frozenset(size // part for size in sizes for part in parts)


def compile_all(
  subject: Subject,
  mesh: jax.sharding.Mesh,
  known: dict[str, Compiled] | None = None,
) -> Iterator[Compiled]:
  """Compiles the programs of a step, one after another.

  Args:
    subject: what is planned.
    mesh: of the slice; its devices need not be here.
    known: programs compiled for the slice before, by SHA-256 of their text;
      added to.

  Yields:
    The train step, then what draws pairs where they are sampled, or has the
    reference score them where they are stored.

  Raises:
    jax.errors.JaxRuntimeError: the compiler finds that it cannot fit.
  """
  known = {} if known is None else known
  with _on(mesh):
    for program in _programs(subject, mesh):
      yield _compile(program, known)


def made_of(subject: Subject, num_chips: int) -> dict[str, Any]:
  """Returns what a plan for TPUs is made of, before anything is compiled.

  Neither devices nor their compiler are needed.

  Args:
    subject: what is planned.
    num_chips: of the slice.

  Returns:
    "resident_bytes", see `resident_bytes`; "flops", of all chips' matrix
    products by program; "fingerprint", SHA-256 of the programs' text in
    StableHLO without places in source files, which changes where a plan may
    change, and, it may be, with the version of JAX.
  """
  mesh = (subject.run.mesh or partitioning.Mesh()).abstract(num_chips)
  texts, products = hashlib.sha256(), {}
  with _on(mesh):
    for program in _programs(subject, mesh):
      traced = program.function.trace(*program.arguments)
      counted = _counted(program, traced, program.repeats)
      products[program.name] = sum(counted.values())
      text = traced.lower(lowering_platforms=("tpu",)).as_text()
      texts.update(text.encode())
  return {
    "resident_bytes": resident_bytes(subject, mesh),
    "flops": products,
    "fingerprint": texts.hexdigest(),
  }


@contextlib.contextmanager
def _on(mesh: partitioning.AnyMesh) -> Iterator[None]:
  # As `partitioning.active`, for devices on which nothing can be placed.
  abstract = mesh.abstract_mesh if isinstance(mesh, jax.sharding.Mesh) else mesh
  with (
    jax.sharding.use_abstract_mesh(abstract),
    nn.logical_axis_rules(partitioning.standard_rules()),
  ):
    yield


class _Program(NamedTuple):
  """A program to compile.

  Attributes:
    name: "step", "draw" or "score".
    terms: names of `jax.named_scope` to tell apart in it.
    turns: of its loops whose number of turns depends on the data.
    function: what `jax.jit` returns.
    arguments: shapes in place of arrays.
    repeats: what several chips do alike, see `flops.of_products`.
    plain: the function that recomputes nothing; None: it is the same.
  """

  name: str
  terms: tuple[str, ...]
  turns: int
  function: Any
  arguments: tuple[Any, ...]
  repeats: flops.Repeats = MappingProxyType({})
  plain: Any = None


def _programs(
  subject: Subject, mesh: partitioning.AnyMesh
) -> Iterator[_Program]:
  function, arguments = _step(subject, mesh)
  plain = None
  if subject.policy.remat_policy != "none":
    whole = dataclasses.replace(subject.policy, remat_policy="none")
    plain, _ = _step(dataclasses.replace(subject, policy=whole), mesh)
  yield _Program(STEP_TERM, (STEP_TERM,), 1, function, arguments, plain=plain)
  if subject.samples:
    function, arguments = _draw(subject, mesh)
    repeats = _repeats(_judging(subject), mesh)
    turns = subject.response_tokens
    yield _Program(DRAW, DRAW_TERMS, turns, function, arguments, repeats)
  if subject.scores:
    scored = _scored(subject, mesh)
    score = references.sequence_log_probs
    yield _Program(SCORE, (SCORE_TERM,), 1, score, scored)


def _repeats(
  judging: t5.T5Config, mesh: partitioning.AnyMesh
) -> dict[tuple[str, str], int]:
  """What every chip of the axis model does for itself when it judges."""
  of_axis = {
    "heads": ("attention", "self_attention", "encoder_decoder_attention"),
    "mlp": ("mlp",),
  }
  rules = dict(partitioning.rules_of(judging, mesh))
  return {
    ("judging", module): mesh.shape["model"]
    for axis, modules in of_axis.items()
    if rules[axis] is None
    for module in modules
  }


def _compile(program: _Program, known: dict[str, Compiled]) -> Compiled:
  begun = time.process_time()
  traced = program.function.trace(*program.arguments)
  counted = _counted(program, traced, program.repeats)
  lowered = traced.lower()
  text = hashlib.sha256(lowered.as_text().encode()).hexdigest()
  if text in known:
    return known[text]
  compiled = lowered.compile()
  memory = compiled.memory_analysis()
  cost = compiled.cost_analysis() or {}
  if program.plain is not None:
    traced = program.plain.trace(*program.arguments)
  known[text] = Compiled(
    name=program.name,
    memory=Memory(
      memory.argument_size_in_bytes,
      memory.temp_size_in_bytes,
      memory.output_size_in_bytes - memory.alias_size_in_bytes,
    ),
    turns=program.turns,
    optimal_seconds=float(cost.get("optimal_seconds", math.nan)),
    flops=counted,
    useful_flops=sum(_counted(program, traced).values()),
    traffic=hlo.traffic(
      compiled.as_text(), turns=program.turns, terms=program.terms
    ),
    compile_seconds=time.process_time() - begun,
  )
  return known[text]


def _counted(
  program: _Program, traced: Any, repeats: flops.Repeats | None = None
) -> dict[hlo.Place, int]:
  return flops.of_products(
    traced.jaxpr, turns=program.turns, terms=program.terms, repeats=repeats
  )


def _step(subject: Subject, mesh: partitioning.AnyMesh) -> tuple[Any, Any]:
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


def _draw(subject: Subject, mesh: partitioning.AnyMesh) -> tuple[Any, Any]:
  source = subject.run.source
  assert isinstance(source, pairs.Online | pairs.Generated)
  needed = 2 * subject.response_tokens + judge.marker_tokens(_WORDS)
  sampling = dataclasses.replace(
    source.sampling,
    max_length=subject.response_tokens,
    judge_length=source.sampling.judge_length or subject.prompt_tokens + needed,
  )
  judging = _judging(subject)
  static = online.Static(subject.policy, judging, _WORDS, sampling)
  policy = _parameters(subject.policy, mesh)
  count = 1 if isinstance(source, pairs.Online) else 2
  whole = partitioning.replicated(mesh)
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=whole)
  arguments = (
    static,
    (policy,) * count,
    _frozen(subject.policy, mesh),
    _frozen(judging, mesh),
    _rows(mesh, jnp.int32, subject.run.batch_size, subject.prompt_tokens),
    key,
  )
  return online.draw_pairs, arguments


def _scored(subject: Subject, mesh: partitioning.AnyMesh) -> tuple[Any, ...]:
  rows = subject.run.batch_size
  return (
    subject.policy,
    _frozen(subject.policy, mesh),
    _rows(mesh, jnp.int32, rows, subject.prompt_tokens),
    _rows(mesh, jnp.int32, rows, 2, subject.response_tokens),
  )


def _state(subject: Subject, mesh: partitioning.AnyMesh) -> step.TrainState:
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


def _parameters(config: t5.T5Config, mesh: partitioning.AnyMesh) -> Any:
  return _placed(t5.param_shapes(config), partitioning.parameters(config, mesh))


def _frozen(config: t5.T5Config, mesh: partitioning.AnyMesh) -> Any:
  # As `pairs` holds reference and judge.
  held = functools.partial(precision.as_computed, config)
  shapes = jax.eval_shape(held, t5.param_shapes(config))
  return _placed(shapes, partitioning.parameters(config, mesh))


def _judging(subject: Subject) -> t5.T5Config:
  return dataclasses.replace(subject.judge, dtype=subject.policy.dtype)


def _placed(shapes: Any, places: Any) -> Any:
  return jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    places,
  )


def _batch(subject: Subject, mesh: partitioning.AnyMesh) -> Any:
  rows = subject.run.batch_size
  prompt = _rows(mesh, jnp.int32, rows, subject.prompt_tokens)
  response = _rows(mesh, jnp.int32, rows, subject.response_tokens)
  number = _rows(mesh, jnp.float32, rows)
  if isinstance(subject.run.objective, objectives.Sft):
    return ResponseBatch(prompt, response, number)
  return PreferenceBatch(prompt, response, response, *[number] * 5)


def _rows(mesh: partitioning.AnyMesh, dtype: Any, *shape: int) -> Any:
  place = partitioning.rows(mesh)
  return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def _chip_bytes(tree: Any) -> int:
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )
