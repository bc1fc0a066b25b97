"""A plan: does it fit, what bounds each part of a step, and what it costs."""

import dataclasses
import math
import re
import resource
import sys

import jax

from rlhf_gap import errors, partitioning, progress
from rlhf_gap.plan import chips, hlo, links, programs
from rlhf_gap.plan.programs import Compiled, Memory, Subject
from rlhf_gap.plan.topologies import Topology

# As the TPU compiler says it: "Used 20.50G of 15.75G hbm", or of temporaries
# alone, "(298.12G) exceeds available HBM (30.75G)".
_TOO_LARGE = re.compile(
  r"(?:Used |\()([\d.]+[KMGT]?)"
  r"(?: of |\) exceeds available HBM \()([\d.]+[KMGT]?)"
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Bound:
  """The least time of one part of a step.

  Attributes:
    term: "sampling", "judging", "reference" or "step"; sampling is in two
      parts, its prompts and its tokens, which are bound by different things.
    flops: of matrix products, on one chip.
    hbm_bytes: moved to and from one chip's memory.
    sent_bytes: that one chip sends to others.
    seconds: the longest of the three at the chip's peaks; None without peaks.
      Of the links, those along the busiest dimension of the slice's grid.
    limit: which that is: "arithmetic", "memory" or "links".
  """

  term: str
  flops: float
  hbm_bytes: int
  sent_bytes: float
  seconds: float | None
  limit: str


@dataclasses.dataclass(frozen=True)
class PerToken:
  """What chips exchange for one sampled token of every response.

  Attributes:
    exchanges: how many; each waits for the chips' links, which no peak tells.
    largest_bytes: the largest one's payload.
    parameters: operations that exchange arrays of a kernel's size: empty where
      no parameter is moved.
  """

  exchanges: int
  largest_bytes: int
  parameters: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
  """A run on a slice.

  Attributes:
    topology: its name.
    num_chips: of the slice.
    mesh: sizes of data, fsdp and model.
    resident_bytes: what lies in a chip's memory all the time, by what it is.
    program_memory: what each program needs of a chip.
    available_bytes: of a chip's memory, to programs; None where no maker tells.
    too_large: the compiler's word that a program does not fit; "" otherwise.
    bounds: the parts of a step.
    collective_bytes: that a chip sends in a step, by kind.
    per_token: what sampling exchanges; None where nothing is sampled.
    compiler_seconds: XLA's own estimate by program; loops count once in it.
    compile_seconds: of this machine's processors, all together.
    peak_host_bytes: of memory that this process has had here, at most.
    train_steps: of the run.
    useful_flops: of a step, all chips together: without what the backward pass
      recomputes or several chips repeat.
    undivided: layers of the judge that every chip of the axis model computes
      whole, such as "16 attention heads".
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
    """Of a chip's memory: what is always there, and the largest program's."""
    largest = max(
      (
        m.temporary_bytes + m.output_bytes for m in self.program_memory.values()
      ),
      default=0,
    )
    return sum(self.resident_bytes.values()) + largest

  @property
  def fits(self) -> bool:
    """Whether a chip's memory holds it."""
    if self.too_large:
      return False
    available = self.available_bytes
    return available is None or self.needed_bytes <= available

  @property
  def step_seconds(self) -> float | None:
    """The sum of the parts' bounds; None without peaks or a program."""
    if self.too_large or not self.bounds:
      return None
    seconds = [bound.seconds for bound in self.bounds]
    known = [s for s in seconds if s is not None]
    return sum(known) if len(known) == len(seconds) else None

  @property
  def utilisation_at_bound(self) -> float | None:
    """Useful products at the bound over those at the chips' peak (MFU).

    Chowdhery et al. (2022), "PaLM", Appendix B: what is recomputed is no use.
    """
    seconds = self.step_seconds
    chip = Topology.parse(self.topology).chip
    if seconds is None or chip is None:
      return None
    peak = self.num_chips * chip.flops_per_second
    return self.useful_flops / (seconds * peak)

  @property
  def chip_hours(self) -> float | None:
    """Of the run at the bound, evaluation and start apart."""
    seconds = self.step_seconds
    if seconds is None:
      return None
    return self.num_chips * self.train_steps * seconds / 3600


def mesh_of(subject: Subject, topology: Topology) -> jax.sharding.Mesh:
  """Returns the run's mesh on a slice, once it is known that both can be.

  Args:
    subject: the run.
    topology: the slice.

  Raises:
    UserError: the slice, or the run's mesh on it, cannot be.
  """
  run = subject.run
  if run.mesh is None and topology.num_chips > 1:
    raise errors.UserError(
      f"--topology={topology.name}: without a mesh a run computes on one of"
      f" {topology.num_chips} devices; add"
      " --gin_file=gin_configs/runs/parts/mesh.gin, or a size's pod settings"
    )
  mesh = (run.mesh or partitioning.Mesh()).make(topology.devices())
  partitioning.check_model(subject.policy, mesh)
  partitioning.check_batch(run.batch_size, run.num_microbatches, mesh)
  return mesh


def of(
  subject: Subject,
  topology: Topology,
  known: dict[str, Compiled] | None = None,
) -> Plan:
  """Compiles a run for a slice and reads what it needs.

  Args:
    subject: the run.
    topology: the slice.
    known: programs compiled for the slice before, see `compile_all`.

  Returns:
    The plan; `too_large` where the compiler says that it cannot fit.

  Raises:
    UserError: the slice, or the run's mesh on it, cannot be.
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
      too_large = _too_large(str(error))
      if not too_large:
        raise
  chip = topology.chip
  return Plan(
    topology=topology.name,
    num_chips=topology.num_chips,
    mesh=dict(mesh.shape),
    resident_bytes=programs.resident_bytes(subject, mesh),
    program_memory={p.name: p.memory for p in compiled},
    available_bytes=None if chip is None else chip.available_bytes,
    too_large=too_large,
    bounds=tuple(_bounds(compiled, topology, places_on(mesh))),
    collective_bytes=_by_kind(compiled),
    per_token=_per_token(compiled, programs.kernel_sizes(subject, mesh)),
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
  """Returns the plan of the fewest chips that fits; the first given of equals.

  Args:
    plans: of one run on several slices.
  """
  fitting = [plan for plan in plans if plan.fits]
  return min(fitting, key=lambda plan: plan.num_chips, default=None)


def _peak_host_bytes() -> int:
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else peak * 1024  # Linux: KiB


def _too_large(message: str) -> str:
  found = _TOO_LARGE.search(message)
  if "RESOURCE_EXHAUSTED" not in message:
    return ""
  if not found:
    return message.splitlines()[0]
  used, available = map(_number, found.groups())
  over = (used - available) / _UNITS["G"]
  return (
    f"the compiler needs {used / _UNITS['G']:.1f} GiB a chip, {over:.1f} GiB"
    " more than there is"
  )


def _number(text: str) -> float:
  unit = text[-1] if text[-1] in _UNITS else ""
  return float(text.removesuffix(unit)) * _UNITS[unit]


def places_on(mesh: jax.sharding.Mesh) -> tuple[links.Place, ...]:
  """Returns where in the slice's grid each device of a mesh is.

  Args:
    mesh: of the slice; devices without coordinates lie in a row.
  """
  return tuple(
    tuple(getattr(device, "coords", (number,)))
    for number, device in enumerate(mesh.devices.flat)
  )


def _bounds(
  compiled: list[Compiled],
  topology: Topology,
  places: tuple[links.Place, ...],
) -> list[Bound]:
  found: dict[str, list[tuple[Compiled, hlo.Place]]] = {}
  for program in compiled:
    traffic = program.traffic
    exchanged = [c.place for c in traffic.collectives]
    for place in dict.fromkeys(
      [*program.flops, *traffic.hbm_bytes, *exchanged]
    ):
      found.setdefault(_term(program, place), []).append((program, place))
  bounds = [
    _bound(
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
    for term, parts in found.items()
  ]
  return [b for b in bounds if b.flops or b.hbm_bytes or b.sent_bytes]


def _term(program: Compiled, place: hlo.Place) -> str:
  if program.name == programs.STEP_TERM:
    return programs.STEP_TERM
  if program.name == programs.SCORE:
    return programs.SCORE_TERM
  if place.term != "sampling":
    # What draws pairs besides: putting the winners first.
    return place.term or "judging"
  return "sampling: tokens" if place.in_loop else "sampling: prompts"


def _bound(
  term: str,
  flops: float,
  moved: int,
  exchanges: list[hlo.Collective],
  chip: chips.Chip | None,
  places: tuple[links.Place, ...],
) -> Bound:
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


def _per_token(
  compiled: list[Compiled], kernel_sizes: frozenset[int]
) -> PerToken | None:
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
