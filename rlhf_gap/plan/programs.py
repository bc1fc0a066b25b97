"""Compiles a run's programs for devices that need not be present.

They are the functions that the run itself calls, compiled for shapes instead of
arrays: `training.step.compiled`, `pairs.sampling.draw_pairs` and
`pairs.reference.sequence_log_probs`.
"""

import contextlib
import dataclasses
import hashlib
import math
import re
import time
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rlhf_gap import pairs, partitioning, stores
from rlhf_gap.inference import judge
from rlhf_gap.models import t5
from rlhf_gap.pairs import reference as references
from rlhf_gap.pairs import sampling as pair_sampling
from rlhf_gap.plan import flops, hlo
from rlhf_gap.plan import subject as subjects
from rlhf_gap.plan.subject import Subject
from rlhf_gap.training import step

# `jax.named_scope`s in `draw_pairs`; the other programs are single terms.
DRAW_TERMS = ("sampling", "judging", "reference")
STEP_TERM, SCORE_TERM = "step", "reference"
# Keys of `gin_configs/runs/plans.json`; "draw" samples and judges pairs.
DRAW, SCORE = "draw", "score"
# The run's vocabulary is unknown here; bytes write the longest markers.
_WORDS = judge.words_of(stores.byte())


@dataclasses.dataclass(frozen=True)
class Memory:
  """A program's memory on one chip.

  Attributes:
    argument_bytes: size of its arguments.
    temporary_bytes: size of its temporaries.
    output_bytes: size of its outputs, without those that reuse the memory of a
      donated argument.
  """

  argument_bytes: int
  temporary_bytes: int
  output_bytes: int


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A compiled program.

  Attributes:
    name: "step", "draw" or "score".
    memory: its memory on one chip.
    turns: iterations of its loops whose length depends on the data.
    optimal_seconds: the compiler's own estimate, which counts loops once.
    flops: operations of all chips, by place.
    useful_flops: operations of all chips, excluding work that several chips
      repeat or the backward pass recomputes.
    traffic: the traffic of one chip.
    compile_seconds: CPU time of the compilation, over all cores.
  """

  name: str
  memory: Memory
  turns: int
  optimal_seconds: float
  flops: dict[hlo.Place, int]
  useful_flops: int
  traffic: hlo.Traffic
  compile_seconds: float


def compile_all(
  subject: Subject,
  mesh: jax.sharding.Mesh,
  known: dict[str, Compiled] | None = None,
) -> Iterator[Compiled]:
  """Compiles the programs of a step one by one.

  Args:
    subject: the run to plan.
    mesh: the slice's mesh; its devices need not be present.
    known: cache of programs compiled for this slice, by SHA-256 of their text;
      updated in place.

  Yields:
    The training step; then the program that samples pairs, or the one that
    scores stored pairs with the reference.

  Raises:
    jax.errors.JaxRuntimeError: a program does not fit.
  """
  known = {} if known is None else known
  with _on(mesh):
    for program in _programs(subject, mesh):
      yield _compile(program, known)


def made_of(subject: Subject, num_chips: int) -> dict[str, Any]:
  """Returns the inputs that determine a plan for TPUs, without compiling.

  Needs neither devices nor their compiler.

  Args:
    subject: the run to plan.
    num_chips: number of chips in the slice.

  Returns:
    "resident_bytes", see `resident_bytes`; "flops", operations of all chips'
    matrix products by program; "fingerprint", SHA-256 of the programs'
    StableHLO without source locations and names of functions. If the
    fingerprint is unchanged, so is the plan; it may also change with the
    version of JAX.
  """
  mesh = (subject.run.mesh or partitioning.Mesh()).abstract(num_chips)
  texts, products = hashlib.sha256(), {}
  with _on(mesh):
    for program in _programs(subject, mesh):
      traced = program.function.trace(*program.arguments)
      counted = _counted(program, traced, program.repeats)
      products[program.name] = sum(counted.values())
      text = traced.lower(lowering_platforms=("tpu",)).as_text()
      texts.update(_without_names(text).encode())
  return {
    "resident_bytes": subjects.resident_bytes(subject, mesh),
    "flops": products,
    "fingerprint": texts.hexdigest(),
  }


def _without_names(text: str) -> str:
  """Replaces functions' names, which change when Python's do, by numbers."""
  numbers: dict[str, str] = {}
  return re.sub(
    r"@\w+", lambda m: numbers.setdefault(m[0], f"@{len(numbers)}"), text
  )


@contextlib.contextmanager
def _on(mesh: partitioning.AnyMesh) -> Iterator[None]:
  # Like `partitioning.active`, for devices on which nothing can be placed.
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
    terms: names of `jax.named_scope` to report separately.
    turns: iterations of its loops whose length depends on the data.
    function: the jitted function.
    arguments: its arguments, with shapes instead of arrays.
    repeats: products that several chips repeat, see `flops.count_products`.
    plain: the function without rematerialisation; None if `function` has none.
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
    repeats = judge_repeats(subjects.judging_config(subject), mesh)
    turns = subject.response_tokens
    yield _Program(DRAW, DRAW_TERMS, turns, function, arguments, repeats)
  if subject.scores:
    scored = _scored(subject, mesh)
    score = references.sequence_log_probs
    yield _Program(SCORE, (SCORE_TERM,), 1, score, scored)


def judge_repeats(
  judging: t5.T5Config, mesh: partitioning.AnyMesh
) -> dict[tuple[str, str], int]:
  """Returns the judge's products that chips of the model axis repeat."""
  modules_by_axis = {
    "heads": ("attention", "self_attention", "encoder_decoder_attention"),
    "mlp": ("mlp",),
  }
  rules = dict(partitioning.model_rules(judging, mesh))
  return {
    ("judging", module): mesh.shape["model"]
    for axis, modules in modules_by_axis.items()
    if rules[axis] is None
    for module in modules
  }


def _compile(program: _Program, known: dict[str, Compiled]) -> Compiled:
  start = time.process_time()
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
    compile_seconds=time.process_time() - start,
  )
  return known[text]


def _counted(
  program: _Program, traced: Any, repeats: flops.Repeats | None = None
) -> dict[hlo.Place, int]:
  return flops.count_products(
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
  return function, (
    subjects.state_shapes(subject, mesh),
    subjects.batch_shapes(subject, mesh),
    1.0,
  )


def _draw(subject: Subject, mesh: partitioning.AnyMesh) -> tuple[Any, Any]:
  source = subject.run.source
  assert isinstance(source, pairs.Online | pairs.Generated)
  needed = 2 * subject.response_tokens + judge.marker_tokens(_WORDS)
  sampling = dataclasses.replace(
    source.sampling,
    max_length=subject.response_tokens,
    judge_length=source.sampling.judge_length or subject.prompt_tokens + needed,
  )
  judging = subjects.judging_config(subject)
  static = pair_sampling.Static(subject.policy, judging, _WORDS, sampling)
  policy = subjects.parameter_shapes(subject.policy, mesh)
  count = 1 if isinstance(source, pairs.Online) else 2
  whole = partitioning.replicated(mesh)
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=whole)
  arguments = (
    static,
    (policy,) * count,
    subjects.frozen_shapes(subject.policy, mesh),
    subjects.frozen_shapes(judging, mesh),
    subjects.row_shapes(
      mesh, jnp.int32, subject.run.batch_size, subject.prompt_tokens
    ),
    key,
  )
  return pair_sampling.draw_pairs, arguments


def _scored(subject: Subject, mesh: partitioning.AnyMesh) -> tuple[Any, ...]:
  rows = subject.run.batch_size
  return (
    subject.policy,
    subjects.frozen_shapes(subject.policy, mesh),
    subjects.row_shapes(mesh, jnp.int32, rows, subject.prompt_tokens),
    subjects.row_shapes(mesh, jnp.int32, rows, 2, subject.response_tokens),
  )
