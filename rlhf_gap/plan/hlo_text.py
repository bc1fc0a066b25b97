"""Parses the HLO text of a compiled program."""

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
# In the module's header, which states neither for a single chip.
_CHIPS = re.compile(r"\b(?:replica_count|num_partitions)=(\d+)")
_INDEX = re.compile(r"index=(\d+)")
# Bits per element of types whose names do not end with the number.
_BITS = {"pred": 8, "token": 0, "opaque": 0}


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array's type.

  Attributes:
    num_elements: number of elements.
    num_bytes: total size.
    in_hbm: whether it is in HBM: its layout names no other memory space ("S(1)"
      is a TPU's vector memory).
  """

  num_elements: int
  num_bytes: int
  in_hbm: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An instruction.

  Attributes:
    name: its name, without "%".
    opcode: its opcode, such as "fusion".
    shapes: shapes of the result; several for a tuple.
    operands: names of its operands.
    attributes: the text after the operands; for a parameter its number, for a
      constant its value.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...]
  attributes: str

  @property
  def hbm_bytes(self) -> int:
    """Size of the result in HBM."""
    return hbm_bytes(self.shapes)


@dataclasses.dataclass(frozen=True)
class Computation:
  """A sequence of instructions.

  Attributes:
    is_entry: whether it is the program's entry point.
    root: the instruction whose result it returns.
    instructions: its instructions by name, in order.
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
    """Returns (operand, user) pairs of a parameter, looking through bitcasts.

    Args:
      number: the parameter's number.
    """
    if number not in self._parameters:
      return []
    users, names = [], [self._parameters[number]]
    while names:
      name = names.pop()
      for user in self._users.get(name, ()):
        if user.opcode == "bitcast":
          names.append(user.name)
        else:
          users.append((name, user))
    return users


def parse(text: str) -> dict[str, Computation]:
  """Returns the computations of a program, by name.

  Args:
    text: `compiled.as_text()`.
  """
  computations: dict[str, Computation] = {}
  header: re.Match[str] | None = None
  lines: dict[str, Instruction] = {}
  root = None
  for line in text.splitlines():
    if header is None:
      header = _HEADER.match(line)
      lines, root = {}, None
    elif line.startswith("}"):
      computations[header[2]] = Computation(bool(header[1]), root, lines)
      header = None
    else:
      instruction = _instruction(line)
      if instruction is not None:
        lines[instruction.name] = instruction
        if line.lstrip().startswith("ROOT "):
          root = instruction
  return computations


def num_chips(text: str) -> int:
  """Returns the number of chips that run a program.

  Args:
    text: `compiled.as_text()`.
  """
  header = text.partition("\n")[0]
  return math.prod(map(int, _CHIPS.findall(header)))


def entry(computations: Mapping[str, Computation]) -> Computation:
  """Returns the program's entry computation."""
  return next(c for c in computations.values() if c.is_entry)


def turns_of(
  instruction: Instruction,
  computation: Computation,
  computations: Mapping[str, Computation],
) -> int | None:
  """Returns a loop's number of iterations; None if it depends on the data.

  The compiler notes it for most loops. For loops that it created itself, it
  follows from the loop counter's start, step and limit.

  Args:
    instruction: the loop.
    computation: the computation that contains it.
    computations: all computations of the program.
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
  index = _element_index(counter)
  last, step = _constant(limit), _increment(body, index)
  if index is None or last is None or not step:
    return None
  first = _constant(_element_of(computation, instruction.operands[0], index))
  return -(-(last - (first or 0)) // step)


def _element_index(instruction: Instruction | None) -> int | None:
  """Returns the index that a get-tuple-element instruction reads."""
  if instruction is None or instruction.opcode != "get-tuple-element":
    return None
  match = _INDEX.search(instruction.attributes)
  return int(match[1]) if match else None


def _element_of(
  computation: Computation, name: str, index: int
) -> Instruction | None:
  """Returns the instruction that computed an element of a tuple."""
  instruction = computation.instructions.get(name)
  if instruction is None or instruction.opcode != "tuple":
    return None
  return computation.instructions.get(instruction.operands[index])


def _constant(instruction: Instruction | None) -> int | None:
  if instruction is None or instruction.opcode != "constant":
    return None
  text = instruction.attributes
  return int(text) if text.lstrip("-").isdigit() else None


def _increment(body: Computation, index: int | None) -> int | None:
  """Returns the increment of a loop's counter per iteration."""
  if body.root is None or index is None:
    return None
  new = _element_of(body, body.root.name, index)
  if new is None or new.opcode != "add":
    return None
  operands = [body.instructions.get(name) for name in new.operands]
  steps = [_constant(x) for x in operands if _element_index(x) != index]
  return steps[0] if len(steps) == 1 else None


def hbm_bytes(shapes: Sequence[Shape]) -> int:
  """Returns the total size of the arrays in HBM."""
  return sum(shape.num_bytes for shape in shapes if shape.in_hbm)


def all_bytes(shapes: Sequence[Shape]) -> int:
  """Returns the total size of arrays in any memory."""
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
  """Returns the position after the parenthesis matching the first character."""
  depth = 0
  for position, character in enumerate(text):
    depth += (character == "(") - (character == ")")
    if depth == 0:
      return position + 1
  return len(text)


def _shape(groups: tuple[str, str, str]) -> Shape:
  kind, sizes, layout = groups
  digits = re.search(r"\d+", kind)
  bits = _BITS.get(kind, int(digits[0]) if digits else 8)
  count = math.prod(int(size) for size in sizes.split(",") if size)
  return Shape(count, -(-count * bits // 8), "S(" not in layout)
