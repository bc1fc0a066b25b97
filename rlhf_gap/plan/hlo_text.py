"""The text of a compiled program as computations of instructions."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$")
_ASSIGNED = re.compile(r"^\s*(ROOT )?%?([\w.-]+) = ")
_SHAPE = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_OPCODE = re.compile(r"\s*([a-z][\w-]*)\(")
_REFERENCE = re.compile(r"%([\w.-]+)")
_TURNS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_WHILE = re.compile(r"condition=%?([\w.-]+), body=%?([\w.-]+)")
# Of the module's header; it names neither where there is one.
_CHIPS = re.compile(r"\b(?:replica_count|num_partitions)=(\d+)")
_INDEX = re.compile(r"index=(\d+)")
# Bits of an element where the type's name does not end with them.
_BITS = {"pred": 8, "token": 0, "opaque": 0}


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array's type.

  Attributes:
    num_elements: in all.
    num_bytes: of all elements.
    in_hbm: whether it lies in the chip's main memory, where the layout names
      no other ("S(1)" is a TPU's vector memory).
  """

  num_elements: int
  num_bytes: int
  in_hbm: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line.

  Attributes:
    name: without "%".
    opcode: such as "fusion".
    shapes: of the result; several of a tuple.
    operands: names.
    attributes: what follows the operands; of a parameter its number, of a
      constant its value.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...]
  attributes: str

  @property
  def hbm_bytes(self) -> int:
    """Bytes of the result in main memory."""
    return hbm_bytes(self.shapes)


@dataclasses.dataclass(frozen=True)
class Computation:
  """Instructions by name, in order.

  Attributes:
    is_entry: whether the program begins here.
    root: what it returns.
    instructions: all of them.
  """

  is_entry: bool
  root: Instruction | None
  instructions: Mapping[str, Instruction]

  @functools.cached_property
  def _parameters(self) -> dict[int, str]:
    return {
      int(i.attributes): i.name
      for i in self.instructions.values()
      if i.opcode == "parameter"
    }

  @functools.cached_property
  def _users(self) -> dict[str, list[Instruction]]:
    users: dict[str, list[Instruction]] = {}
    for instruction in self.instructions.values():
      for operand in instruction.operands:
        users.setdefault(operand, []).append(instruction)
    return users

  def users_of_parameter(self, number: int) -> list[tuple[str, Instruction]]:
    """Returns (name read, reader) of a parameter, seen through bitcasts.

    Args:
      number: of the parameter.
    """
    if number not in self._parameters:
      return []
    found, names = [], [self._parameters[number]]
    while names:
      name = names.pop()
      for user in self._users.get(name, ()):
        if user.opcode == "bitcast":
          names.append(user.name)
        else:
          found.append((name, user))
    return found


def parse(text: str) -> dict[str, Computation]:
  """Returns the computations of a program's text by name.

  Args:
    text: `compiled.as_text()`.
  """
  found: dict[str, Computation] = {}
  header: re.Match[str] | None = None
  lines: dict[str, Instruction] = {}
  root = None
  for line in text.splitlines():
    if header is None:
      header = _HEADER.match(line)
      lines, root = {}, None
    elif line.startswith("}"):
      found[header[2]] = Computation(bool(header[1]), root, lines)
      header = None
    else:
      instruction = _instruction(line)
      if instruction is not None:
        lines[instruction.name] = instruction
        if line.lstrip().startswith("ROOT "):
          root = instruction
  return found


def num_chips(text: str) -> int:
  """Returns how many chips run a program.

  Args:
    text: `compiled.as_text()`.
  """
  header = text.partition("\n")[0]
  return math.prod(map(int, _CHIPS.findall(header)))


def entry(computations: Mapping[str, Computation]) -> Computation:
  """Returns where the program begins."""
  return next(c for c in computations.values() if c.is_entry)


def turns_of(
  instruction: Instruction,
  computation: Computation,
  computations: Mapping[str, Computation],
) -> int | None:
  """Returns how often a loop turns; None where that depends on the data.

  As the compiler notes it, or, for loops that it has made itself, by the number
  that a counter is compared with and by which it grows.

  Args:
    instruction: the loop.
    computation: that it stands in.
    computations: of the program.
  """
  noted = _TURNS.search(instruction.attributes)
  if noted:
    return int(noted[1])
  names = _WHILE.search(instruction.attributes)
  if not names or not computations.keys() >= set(names.groups()):
    return None
  condition, body = (computations[name] for name in names.groups())
  test = condition.root
  if (
    test is None
    or test.opcode != "compare"
    or "direction=LT" not in (test.attributes)
  ):
    return None
  counter, limit = (condition.instructions.get(n) for n in test.operands)
  place = _element(counter)
  last, step = _constant(limit), _grows_by(body, place)
  if place is None or last is None or not step:
    return None
  first = _constant(_element_of(computation, instruction.operands[0], place))
  return -(-(last - (first or 0)) // step)


def _element(instruction: Instruction | None) -> int | None:
  """Which part of a tuple an instruction takes."""
  if instruction is None or instruction.opcode != "get-tuple-element":
    return None
  found = _INDEX.search(instruction.attributes)
  return int(found[1]) if found else None


def _element_of(
  computation: Computation, name: str, place: int
) -> Instruction | None:
  """What a tuple was made of at a place."""
  made = computation.instructions.get(name)
  if made is None or made.opcode != "tuple":
    return None
  return computation.instructions.get(made.operands[place])


def _constant(instruction: Instruction | None) -> int | None:
  if instruction is None or instruction.opcode != "constant":
    return None
  text = instruction.attributes
  return int(text) if text.lstrip("-").isdigit() else None


def _grows_by(body: Computation, place: int | None) -> int | None:
  """By what a loop's counter grows at every turn."""
  if body.root is None or place is None:
    return None
  new = _element_of(body, body.root.name, place)
  if new is None or new.opcode != "add":
    return None
  parts = [body.instructions.get(name) for name in new.operands]
  steps = [_constant(part) for part in parts if _element(part) != place]
  return steps[0] if len(steps) == 1 else None


def hbm_bytes(shapes: Sequence[Shape]) -> int:
  """Returns the bytes of arrays in main memory."""
  return sum(shape.num_bytes for shape in shapes if shape.in_hbm)


def all_bytes(shapes: Sequence[Shape]) -> int:
  """Returns the bytes of arrays wherever they lie."""
  return sum(shape.num_bytes for shape in shapes)


def _instruction(line: str) -> Instruction | None:
  assigned = _ASSIGNED.match(line)
  if not assigned:
    return None
  rest = line[assigned.end() :]
  end = _closing(rest) if rest.startswith("(") else rest.find(" ")
  shapes = tuple(map(_shape, _SHAPE.findall(rest[:end])))
  opcode = _OPCODE.match(rest, end)
  if not opcode:
    return None
  start = opcode.end() - 1
  close = start + _closing(rest[start:])
  inside, attributes = rest[start + 1 : close - 1], rest[close:]
  if opcode[1] in ("parameter", "constant"):
    attributes = inside
  operands = tuple(_REFERENCE.findall(inside))
  return Instruction(assigned[2], opcode[1], shapes, operands, attributes)


def _closing(text: str) -> int:
  """Returns where the parenthesis that `text` begins with has closed."""
  depth = 0
  for position, character in enumerate(text):
    depth += (character == "(") - (character == ")")
    if depth == 0:
      return position + 1
  return len(text)


def _shape(found: tuple[str, str, str]) -> Shape:
  kind, sizes, layout = found
  digits = re.search(r"\d+", kind)
  bits = _BITS.get(kind, int(digits[0]) if digits else 8)
  count = math.prod(int(size) for size in sizes.split(",") if size)
  return Shape(count, -(-count * bits // 8), "S(" not in layout)
