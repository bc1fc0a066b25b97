"""Memory and network traffic of a compiled program, from its HLO text.

XLA's own cost analysis counts a loop's body once. Here it counts once per
iteration; the compiler notes the number of iterations, or the caller states it
for loops whose length depends on the data.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from rlhf_gap.plan import hlo_text
from rlhf_gap.plan.hlo_text import Computation, Instruction

COLLECTIVES = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
# Instructions that move no data themselves.
_FREE = frozenset(
  {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "while",
    "conditional",
    "call",
    "after-all",
    "partition-id",
    "async-update",
  }
)
_SLICES = ("dynamic-slice", "gather", "slice")
_CALLED = re.compile(
  r"(?:calls|body|to_apply|called_computations)=\{?%?([\w.-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CHANNEL = re.compile(r"channel_id=(\d+)")
# For example [4,2]<=[2,4]T(1,0): 0 to 7 as 2 x 4, transposed, in 4 rows of 2.
_GROUPS = re.compile(
  r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
# For example mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_1'}:
# groups of chips that differ only along the axis named last.
_MESH_GROUPS = re.compile(
  r"replica_groups=mesh\[([^\]]*)\]"
  r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
_AXIS = re.compile(r"'(\w+)'=(\d+)")
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_PAIR = re.compile(r"source_target_pairs=\{\{(\d+),(\d+)\}")
# Instructions whose result tuple also contains their operands.
_WITH_OPERANDS = ("all-gather-start", "collective-permute-start", "async-start")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Place:
  """A part of a program.

  Attributes:
    term: the first of the given names that is in its `jax.named_scope`; "" if
      none is.
    in_loop: whether it is in a loop whose length depends on the data.
  """

  term: str
  in_loop: bool


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective operation.

  Attributes:
    kind: one of `COLLECTIVES`.
    place: the part of the program that it belongs to.
    turns: how often it runs.
    group: number of participating chips.
    payload_bytes: size per chip of its operands or its result, whichever is
      larger.
    operand_bytes: size per chip of its operands.
    array_sizes: number of elements, per chip, of each operand and result.
    source: JAX's name of the operation that it was created for.
    members: chips of the first group; empty if all chips participate.
  """

  kind: str
  place: Place
  turns: int
  group: int
  payload_bytes: int
  operand_bytes: int
  array_sizes: frozenset[int]
  source: str
  members: tuple[int, ...] = ()

  @property
  def sent_bytes(self) -> float:
    """Bytes that a chip sends over all turns with the optimal ring algorithm.

    (n - 1) / n of the payload for a gather or a scatter, twice that for an
    all-reduce (Patarasuk and Yuan 2009).
    """
    if self.kind == "collective-permute":
      return float(self.turns * self.operand_bytes)
    share = (self.group - 1) / self.group
    times = 2 if self.kind == "all-reduce" else 1
    return self.turns * times * share * self.payload_bytes


@dataclasses.dataclass(frozen=True)
class Traffic:
  """The data that one chip moves in one execution of a program.

  Attributes:
    hbm_bytes: bytes read from and written to HBM, by place.
    collectives: its collective operations.
  """

  hbm_bytes: Mapping[Place, int]
  collectives: tuple[Collective, ...]


def traffic(
  text: str, *, turns: int = 1, terms: tuple[str, ...] = ()
) -> Traffic:
  """Computes a program's traffic.

  Every unfused instruction reads its operands from HBM and writes its result
  there. Slicing moves only the slice. Arrays that the compiler keeps in vector
  memory are not counted.

  Args:
    text: the compiled program, `compiled.as_text()`.
    turns: iterations of loops whose length the compiler does not know.
    terms: names of `jax.named_scope` to report separately.

  Returns:
    The traffic of one chip.
  """
  computations = hlo_text.parse(text)
  walker = _Walker(computations, turns, terms, hlo_text.num_chips(text))
  walker.walk(hlo_text.entry(computations), Place("", False), 1)
  return Traffic(walker.bytes, tuple(walker.collectives.values()))


class _Walker:
  """Accumulates traffic over a program's computations."""

  def __init__(
    self,
    computations: Mapping[str, Computation],
    turns: int,
    terms: tuple[str, ...],
    num_chips: int,
  ):
    self._computations = computations
    self._turns, self._terms = turns, terms
    self._num_chips = num_chips
    self.bytes: dict[Place, int] = {}
    # Keyed by channel: an asynchronous collective that overlaps with several
    # fusions appears in each of them.
    self.collectives: dict[tuple[str, str], Collective] = {}

  def walk(self, computation: Computation, place: Place, turns: int) -> None:
    """Adds the traffic of running a computation `turns` times."""
    for instruction in computation.instructions.values():
      # An instruction without a scope is attributed to the one scheduled
      # before it.
      place = dataclasses.replace(
        place, term=self._term(instruction) or place.term
      )
      self._add(instruction, computation, place, turns)
      if instruction.opcode == "while":
        known = hlo_text.turns_of(instruction, computation, self._computations)
        body = dataclasses.replace(
          place, in_loop=place.in_loop or known is None
        )
        each = self._turns if known is None else known
        for called in self._called(instruction):
          self.walk(called, body, turns * each)
      elif instruction.opcode in ("call", "conditional"):
        for called in self._called(instruction):
          self.walk(called, place, turns)
      else:
        self._note_collectives(instruction, computation, place, turns)

  def _term(self, instruction: Instruction) -> str:
    name = _OP_NAME.search(instruction.attributes)
    parts = name[1].split("/") if name else []
    return next((t for t in self._terms if t in parts), "")

  def _called(self, instruction: Instruction) -> Iterator[Computation]:
    names = _CALLED.findall(instruction.attributes)
    for branches in _BRANCHES.findall(instruction.attributes):
      names += [name.strip(" %") for name in branches.split(",")]
    for name in names:
      if name in self._computations:
        yield self._computations[name]

  def _add(
    self,
    instruction: Instruction,
    computation: Computation,
    place: Place,
    turns: int,
  ) -> None:
    moved = self._moved(instruction, computation)
    self.bytes[place] = self.bytes.get(place, 0) + turns * moved

  def _moved(self, instruction: Instruction, computation: Computation) -> int:
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-done"):
      return 0
    operands = [computation.instructions.get(n) for n in instruction.operands]
    sizes = [o.hbm_bytes if o else 0 for o in operands]
    if opcode in _SLICES:
      return 2 * instruction.hbm_bytes
    if opcode == "dynamic-update-slice":
      return 2 * sizes[1]
    if opcode == "slice-start":
      # The second element of the result is the slice, usually in vector memory.
      target = instruction.shapes[1]
      return target.num_bytes * (bool(sizes[0]) + target.in_hbm)
    if opcode in _WITH_OPERANDS:
      return instruction.hbm_bytes
    if opcode == "copy-start":
      return sizes[0] + hlo_text.hbm_bytes(instruction.shapes[:1])
    called = list(self._called(instruction)) if opcode == "fusion" else []
    if called:
      return _fused(called[0], sizes, instruction)
    return instruction.hbm_bytes + sum(sizes)

  def _note_collectives(
    self,
    instruction: Instruction,
    computation: Computation,
    place: Place,
    turns: int,
  ) -> None:
    kind = instruction.opcode.removesuffix("-start")
    if kind in COLLECTIVES:
      self._note(instruction, computation, kind, place, turns)
    for called in self._called(instruction):
      for inner in called.instructions.values():
        self._note_collectives(inner, called, place, turns)

  def _note(
    self,
    instruction: Instruction,
    computation: Computation,
    kind: str,
    place: Place,
    turns: int,
  ) -> None:
    operands = [computation.instructions.get(n) for n in instruction.operands]
    taken = [
      shape for operand in operands if operand for shape in operand.shapes
    ]
    brought = hlo_text.all_bytes(taken)
    result = hlo_text.all_bytes(instruction.shapes)
    if instruction.opcode.endswith("-start"):
      result = max(result - brought, brought)
    channel = _CHANNEL.search(instruction.attributes)
    key = (kind, channel[1] if channel else instruction.name)
    source = _OP_NAME.search(instruction.attributes)
    members = first_group(instruction.attributes)
    self.collectives[key] = Collective(
      kind,
      place,
      turns,
      len(members) or self._num_chips,
      max(brought, result),
      brought,
      frozenset(s.num_elements for s in (*taken, *instruction.shapes)),
      source[1] if source else "",
      members,
    )


def first_group(attributes: str) -> tuple[int, ...]:
  """Returns the chips of a collective's first group; empty if not stated."""
  counted = _GROUPS.search(attributes)
  if counted:
    groups, size = int(counted[1]), int(counted[2])
    numbers = _iota(counted[3], counted[4])
    return tuple(numbers.reshape(groups, size)[0].tolist())
  on_mesh = _MESH_GROUPS.search(attributes)
  if on_mesh:
    return _on_mesh(*on_mesh.groups())
  listed = _LISTED_GROUP.search(attributes)
  if listed:
    return _numbers(listed[1])
  pair = _PAIR.search(attributes)
  return (int(pair[1]), int(pair[2])) if pair else ()


def _iota(shape: str, order: str | None) -> np.ndarray:
  grid = np.arange(math.prod(_numbers(shape))).reshape(_numbers(shape))
  return grid.transpose(_numbers(order)) if order else grid


def _on_mesh(
  axes: str, shape: str | None, order: str | None, named: str
) -> tuple[int, ...]:
  sizes = {name: int(size) for name, size in _AXIS.findall(axes)}
  whole = str(math.prod(sizes.values()))
  numbers = _iota(shape or whole, order).reshape(tuple(sizes.values()))
  group = tuple(slice(None) if f"'{name}'" in named else 0 for name in sizes)
  return tuple(numbers[group].reshape(-1).tolist())


def _numbers(text: str) -> tuple[int, ...]:
  return tuple(int(number) for number in text.split(",") if number)


def _fused(
  computation: Computation, sizes: list[int], instruction: Instruction
) -> int:
  """Returns a fusion's traffic; slices and updates count only their part."""
  read = 0
  for number, size in enumerate(sizes):
    users = computation.users_of_parameter(number)
    if users and all(
      user.opcode in _SLICES and user.operands[0] == name
      for name, user in users
    ):
      size = min(size, sum(user.hbm_bytes for _, user in users))
    elif users and all(
      user.opcode == "dynamic-update-slice" and user.operands[0] == name
      for name, user in users
    ):
      size = 0
    read += size
  written = instruction.hbm_bytes
  root = computation.root
  if root is not None and root.opcode == "dynamic-update-slice":
    update = computation.instructions.get(root.operands[1])
    written = min(written, update.hbm_bytes) if update else written
  return read + written
