"""Memory and network traffic of a compiled program, read from its text.

XLA's own cost analysis counts the body of a loop once. Here it is counted as
often as it runs: as the compiler notes, or, where the number of turns depends
on the data, as the caller says.
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
# Instructions that touch no memory of their own.
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
# Such as [4,2]<=[2,4]T(1,0): 0 to 7 as 2 x 4, transposed, in 4 rows of 2.
_GROUPS = re.compile(
  r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
# Such as mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_1'}: the
# chips of the mesh that differ in the axis named last.
_MESH_GROUPS = re.compile(
  r"replica_groups=mesh\[([^\]]*)\]"
  r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
_AXIS = re.compile(r"'(\w+)'=(\d+)")
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_PAIR = re.compile(r"source_target_pairs=\{\{(\d+),(\d+)\}")
# What they return holds what they were given, beside the result.
_WITH_OPERANDS = ("all-gather-start", "collective-permute-start", "async-start")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Place:
  """Where in a program something happens.

  Attributes:
    term: the first of the given names that its `jax.named_scope` holds; "" for
      none.
    in_loop: whether in a loop whose number of turns depends on the data.
  """

  term: str
  in_loop: bool


@dataclasses.dataclass(frozen=True)
class Collective:
  """One exchange between chips.

  Attributes:
    kind: one of `COLLECTIVES`.
    place: where it happens.
    turns: how often.
    group: how many chips take part.
    members: numbers of the first group's chips; none where all take part.
    payload_bytes: of its larger side on one chip.
    operand_bytes: of what one chip brings.
    array_sizes: elements of every array that goes in or comes out, on one chip.
    source: the operation it was made for, JAX's name.
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
    """What a chip sends in all turns by a ring's algorithm, the least there is.

    (n - 1) / n of the whole for a gather or a scatter, twice that for an
    all-reduce (Patarasuk and Yuan 2009).
    """
    if self.kind == "collective-permute":
      return float(self.turns * self.operand_bytes)
    share = (self.group - 1) / self.group
    times = 2 if self.kind == "all-reduce" else 1
    return self.turns * times * share * self.payload_bytes


@dataclasses.dataclass(frozen=True)
class Traffic:
  """What a chip moves when it runs a program once.

  Attributes:
    hbm_bytes: read from and written to its memory, by place.
    collectives: its exchanges with others.
  """

  hbm_bytes: Mapping[Place, int]
  collectives: tuple[Collective, ...]


def traffic(
  text: str, *, turns: int = 1, terms: tuple[str, ...] = ()
) -> Traffic:
  """Reads a program's traffic.

  Every instruction that is not fused reads its operands from memory and writes
  its result there. Of a slice, only the slice is moved; arrays that the
  compiler keeps in a chip's own vector memory are not.

  Args:
    text: the compiled program, `compiled.as_text()`.
    turns: of loops whose number of turns the compiler does not know.
    terms: names of `jax.named_scope` to tell apart.

  Returns:
    The traffic of one chip.
  """
  computations = hlo_text.parse(text)
  walker = _Walker(computations, turns, terms, hlo_text.num_chips(text))
  walker.walk(hlo_text.entry(computations), Place("", False), 1)
  return Traffic(walker.bytes, tuple(walker.collectives.values()))


class _Walker:
  """Follows a program's calls."""

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
    # An exchange that runs behind computations appears in each of them.
    self.collectives: dict[tuple[str, str], Collective] = {}

  def walk(self, computation: Computation, place: Place, turns: int) -> None:
    """Adds what a computation moves when it is run `turns` times."""
    for instruction in computation.instructions.values():
      # The schedule keeps neighbours together: what has no name of its own
      # belongs to what came before it.
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
      # Of the result's parts the second is the slice, most often in vector
      # memory; it comes from where the operand is.
      part = instruction.shapes[1]
      return part.num_bytes * (bool(sizes[0]) + part.in_hbm)
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
    members = _members(instruction.attributes)
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


def _members(attributes: str) -> tuple[int, ...]:
  """The chips of an exchange's first group; none where it does not tell."""
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
  """Bytes of a fusion: of what it slices or updates, only that part."""
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
