"""Plans: whether a run fits, what bounds each part of a step, and its cost."""

import dataclasses
import math
import re
import resource
import sys

import jax

from rlhf_gap import errors, partitioning, progress
from rlhf_gap.plan import chips, hlo, links, programs
from rlhf_gap.plan import subject as subjects
from rlhf_gap.plan.programs import Compiled, Memory
from rlhf_gap.plan.subject import Subject
from rlhf_gap.plan.topologies import Topology

# The TPU compiler's messages: "Used 20.50G of 15.75G hbm" or, if temporaries
# alone do not fit, "(298.12G) exceeds available HBM (30.75G)".
_TOO_LARGE = re.compile(
  r"(?:Used |\()([\d.]+[KMGT]?)"
  r"(?: of |\) exceeds available HBM \()([\d.]+[KMGT]?)"
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Bound:
  """A lower bound on the time of one part of a step.

  Attributes:
    term: "judging", "reference", "step", "sampling: prompts" or "sampling:
      tokens"; the two phases of sampling have different bottlenecks.
    flops: operations of matrix products, per chip.
    hbm_bytes: bytes read from and written to HBM, per chip.
    sent_bytes: bytes sent to other chips, per chip.
    seconds: the longest of the three at the chip's peak rates; None if these
      are not published. For links, the busiest dimension of the grid counts.
    limit: the bottleneck: "arithmetic", "memory" or "links".
  """

  term: str
  flops: float
  hbm_bytes: int
  sent_bytes: float
  seconds: float | None
  limit: str


@dataclasses.dataclass(frozen=True)
class PerToken:
  """Collectives per sampled token (of every response in the batch).

  Attributes:
    exchanges: number of collectives; each adds latency, which peaks ignore.
    largest_bytes: payload of the largest one.
    parameters: collectives on arrays of a kernel's size; empty if no parameter
      is moved.
  """

  exchanges: int
  largest_bytes: int
  parameters: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
  """The plan of a run on a slice.

  Attributes:
    topology: name of the slice.
    num_chips: number of chips.
    mesh: sizes of the data, fsdp and model axes.
    resident_bytes: bytes per chip that stay in memory throughout, by content.
    program_memory: memory of each program on one chip.
    available_bytes: HBM per chip available to programs; None if unpublished.
    too_large: why a program does not fit, from the compiler; "" if all do.
    bounds: the parts of a step.
    collective_bytes: bytes that a chip sends per step, by kind.
    per_token: collectives per sampled token; None if nothing is sampled.
    compiler_seconds: XLA's own estimate per program, which counts loops once.
    compile_seconds: CPU time of the compilations, over all cores.
    peak_host_bytes: peak host memory of this process.
    train_steps: number of steps in the run.
    useful_flops: operations of all chips per step, excluding work that the
      backward pass recomputes or several chips repeat.
    undivided: the judge's layers that are replicated along the model axis, such
      as "16 attention heads".
  """

  topology: str
  num_chips: int
  mesh: dict[str, int]
  resident_bytes: dict[str, int]
  program_memory: dict[str, Memory]
  available_bytes: int | None
  too_large: str
  bounds: tuple[Bound, ...]
  collective_bytes: dict[str, float]
  per_token: PerToken | None
  compiler_seconds: dict[str, float]
  compile_seconds: float
  peak_host_bytes: int
  train_steps: int
  useful_flops: int
  undivided: tuple[str, ...] = ()

  @property
  def needed_bytes(self) -> int:
    """Memory needed per chip: resident data plus the largest program's."""
    largest = max(
      (
        m.temporary_bytes + m.output_bytes for m in self.program_memory.values()
      ),
      default=0,
    )
    return sum(self.resident_bytes.values()) + largest

  @property
  def fits(self) -> bool:
    """Whether the run fits in a chip's memory."""
    if self.too_large:
      return False
    available = self.available_bytes
    return available is None or self.needed_bytes <= available

  @property
  def step_seconds(self) -> float | None:
    """The sum of all bounds; None without published peaks or any program."""
    if self.too_large or not self.bounds:
      return None
    seconds = [bound.seconds for bound in self.bounds]
    known = [s for s in seconds if s is not None]
    return sum(known) if len(known) == len(seconds) else None

  @property
  def utilisation_at_bound(self) -> float | None:
    """Model FLOPs utilisation (MFU) if the bound is reached.

    Chowdhery et al. (2022), "PaLM", Appendix B: recomputation does not count.
    """
    seconds = self.step_seconds
    chip = Topology.parse(self.topology).chip
    if seconds is None or chip is None:
      return None
    peak = self.num_chips * chip.flops_per_second
    return self.useful_flops / (seconds * peak)

  @property
  def chip_hours(self) -> float | None:
    """Cost of the run at the bound, without start-up and evaluation."""
    seconds = self.step_seconds
    if seconds is None:
      return None
    return self.num_chips * self.train_steps * seconds / 3600


def mesh_of(subject: Subject, topology: Topology) -> jax.sharding.Mesh:
  """Returns the run's mesh on a slice, after checking that it is possible.

  Args:
    subject: the run to plan.
    topology: the slice.

  Raises:
    UserError: the slice does not exist, or the run's mesh does not fit it.
  """
  run = subject.run
  if run.mesh is None and topology.num_chips > 1:
    raise errors.UserError(
      f"--topology={topology.name}: without a mesh a run uses only one of"
      f" {topology.num_chips} devices; add"
      " --gin_file=gin_configs/runs/parts/mesh.gin, or a size's pod settings"
    )
  mesh = (run.mesh or partitioning.Mesh()).make(topology.devices())
  partitioning.check_model(subject.policy, mesh)
  partitioning.check_batch(run.batch_size, run.num_microbatches, mesh)
  return mesh


def make(
  subject: Subject,
  topology: Topology,
  known: dict[str, Compiled] | None = None,
) -> Plan:
  """Compiles a run for a slice and analyses its programs.

  Args:
    subject: the run to plan.
    topology: the slice.
    known: cache of programs compiled for this slice, see `compile_all`.

  Returns:
    The plan, with `too_large` set if a program does not fit.

  Raises:
    UserError: the slice does not exist, or the run's mesh does not fit it.
  """
  mesh = mesh_of(subject, topology)
  compiled: list[Compiled] = []
  too_large = ""
  total = 1 + (subject.samples or subject.scores)
  with progress.bar(f"compiling for {topology.name}", total, "programs") as bar:
    try:
      for program in programs.compile_all(subject, mesh, known):
        compiled.append(program)
        bar.update(1)
    except jax.errors.JaxRuntimeError as error:
      too_large = reason_too_large(str(error))
      if not too_large:
        raise
  chip = topology.chip
  return Plan(
    topology=topology.name,
    num_chips=topology.num_chips,
    mesh=dict(mesh.shape),
    resident_bytes=subjects.resident_bytes(subject, mesh),
    program_memory={p.name: p.memory for p in compiled},
    available_bytes=None if chip is None else chip.available_bytes,
    too_large=too_large,
    bounds=tuple(_bounds(compiled, topology, places_on(mesh))),
    collective_bytes=_by_kind(compiled),
    per_token=count_per_token(compiled, subjects.kernel_sizes(subject, mesh)),
    compiler_seconds={
      p.name: s for p in compiled if math.isfinite(s := p.optimal_seconds)
    },
    compile_seconds=math.fsum(p.compile_seconds for p in compiled),
    peak_host_bytes=_peak_host_bytes(),
    train_steps=subject.run.train_steps,
    useful_flops=sum(p.useful_flops for p in compiled),
    undivided=tuple(
      partitioning.undivided(subject.judge, mesh) if subject.samples else ()
    ),
  )


def smallest_that_fits(plans: list[Plan]) -> Plan | None:
  """Returns the plan with the fewest chips that fits; the first if tied.

  Args:
    plans: plans of one run on several slices.
  """
  fitting = [plan for plan in plans if plan.fits]
  return min(fitting, key=lambda plan: plan.num_chips, default=None)


def _peak_host_bytes() -> int:
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else peak * 1024  # Linux: KiB


def reason_too_large(message: str) -> str:
  """Returns why a program does not fit, from the compiler's error message.

  Args:
    message: the error's text.

  Returns:
    One line; "" for any other error.
  """
  if "RESOURCE_EXHAUSTED" not in message:
    return ""
  sizes = _TOO_LARGE.search(message)
  if not sizes:
    return message.splitlines()[0]
  used, available = map(_number, sizes.groups())
  excess = (used - available) / _UNITS["G"]
  return (
    f"the compiler needs {used / _UNITS['G']:.1f} GiB per chip,"
    f" {excess:.1f} GiB more than available"
  )


def _number(text: str) -> float:
  unit = text[-1] if text[-1] in _UNITS else ""
  return float(text.removesuffix(unit)) * _UNITS[unit]


def places_on(mesh: jax.sharding.Mesh) -> tuple[links.Coordinates, ...]:
  """Returns the grid coordinates of each device of a mesh.

  Args:
    mesh: the slice's mesh; devices without coordinates count as one row.
  """
  return tuple(
    tuple(getattr(device, "coords", (number,)))
    for number, device in enumerate(mesh.devices.flat)
  )


def _bounds(
  compiled: list[Compiled],
  topology: Topology,
  places: tuple[links.Coordinates, ...],
) -> list[Bound]:
  by_term: dict[str, list[tuple[Compiled, hlo.Place]]] = {}
  for program in compiled:
    traffic = program.traffic
    exchanged = [c.place for c in traffic.collectives]
    for place in dict.fromkeys(
      [*program.flops, *traffic.hbm_bytes, *exchanged]
    ):
      by_term.setdefault(_term(program, place), []).append((program, place))
  bounds = [
    bound_of_part(
      term,
      sum(p.flops.get(place, 0) for p, place in parts) / topology.num_chips,
      sum(p.traffic.hbm_bytes.get(place, 0) for p, place in parts),
      [
        exchange
        for p, place in parts
        for exchange in p.traffic.collectives
        if exchange.place == place
      ],
      topology.chip,
      places,
    )
    for term, parts in by_term.items()
  ]
  return [b for b in bounds if b.flops or b.hbm_bytes or b.sent_bytes]


def _term(program: Compiled, place: hlo.Place) -> str:
  if program.name == programs.STEP_TERM:
    return programs.STEP_TERM
  if program.name == programs.SCORE:
    return programs.SCORE_TERM
  if place.term != "sampling":
    # The rest of `draw_pairs`: ordering the pairs by the judge's verdict.
    return place.term or "judging"
  return "sampling: tokens" if place.in_loop else "sampling: prompts"


def bound_of_part(
  term: str,
  flops: float,
  moved: int,
  exchanges: list[hlo.Collective],
  chip: chips.Chip | None,
  places: tuple[links.Coordinates, ...],
) -> Bound:
  """Returns the bound of one part of a step.

  Args:
    term: the part's name.
    flops: operations of matrix products, per chip.
    moved: bytes read from and written to HBM, per chip.
    exchanges: the part's collectives.
    chip: the chip's published peaks; None if unknown.
    places: grid coordinates of all chips.
  """
  sent = math.fsum(exchange.sent_bytes for exchange in exchanges)
  if chip is None:
    return Bound(term, flops, moved, sent, None, "no published peak")
  busy: dict[int, float] = {}
  for exchange in exchanges:
    for dimension, time in links.seconds(exchange, chip, places).items():
      busy[dimension] = busy.get(dimension, 0.0) + time
  seconds = {
    "arithmetic": flops / chip.flops_per_second,
    "memory": moved / chip.hbm_bytes_per_second,
    "links": max(busy.values(), default=0.0),
  }
  limit = max(seconds, key=lambda name: seconds[name])
  return Bound(term, flops, moved, sent, seconds[limit], limit)


def _by_kind(compiled: list[Compiled]) -> dict[str, float]:
  sent: dict[str, float] = {}
  for program in compiled:
    for collective in program.traffic.collectives:
      kind = collective.kind
      sent[kind] = sent.get(kind, 0.0) + collective.sent_bytes
  return sent


def count_per_token(
  compiled: list[Compiled], kernel_sizes: frozenset[int]
) -> PerToken | None:
  """Returns the collectives per sampled token; None if nothing is sampled.

  Args:
    compiled: the programs of a step.
    kernel_sizes: numbers of elements that identify kernels, see
      `subject.kernel_sizes`.
  """
  draws = [program for program in compiled if program.name == programs.DRAW]
  if not draws:
    return None
  (draw,) = draws
  inside = [c for c in draw.traffic.collectives if c.place.in_loop]
  return PerToken(
    round(sum(c.turns for c in inside) / draw.turns),
    max((c.payload_bytes for c in inside), default=0),
    tuple(
      f"{c.kind} for {c.source}" for c in inside if c.array_sizes & kernel_sizes
    ),
  )
