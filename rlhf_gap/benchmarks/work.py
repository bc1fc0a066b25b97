"""Counts the arithmetic of matrix products in a traced function.

XLA's own count differs between backends and counts a loop's body once; this one
follows the program as written.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

from rlhf_gap.ops.matrix_products import product_flops


@dataclasses.dataclass(frozen=True, order=True)
class Work:
  """The work of a call.

  Attributes:
    flops: floating-point operations of all matrix products; a multiplication
      and an addition count as two.
    bytes: size of the operands and results of all matrix products, which is the
      memory traffic without caches. With caches, a memory rate computed from it
      may exceed the machine's.
  """

  flops: int
  bytes: int

  def __mul__(self, times: int) -> "Work":
    """Returns the work of `times` calls."""
    return Work(self.flops * times, self.bytes * times)

  def __add__(self, other: "Work") -> "Work":
    """Returns the work of both calls."""
    return Work(self.flops + other.flops, self.bytes + other.bytes)


def count(
  function: Callable[..., Any], *arguments: Any, while_steps: int = 1
) -> Work:
  """Counts the work of `function(*arguments)` without running it.

  Args:
    function: a function that JAX can trace.
    *arguments: its arguments, or their shapes.
    while_steps: assumed number of iterations of every `while_loop`.

  Returns:
    The work of one call.
  """
  return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr, while_steps)


def _of_jaxpr(jaxpr: core.Jaxpr, while_steps: int) -> Work:
  parts = (_of_equation(equation, while_steps) for equation in jaxpr.eqns)
  return sum(parts, start=Work(0, 0))


def _of_equation(equation: core.JaxprEqn, while_steps: int) -> Work:
  name = equation.primitive.name
  if name == "dot_general":
    return _of_product(equation)
  parts = [_of_jaxpr(inner, while_steps) for inner in _inner(equation.params)]
  if name == "cond":  # assume the most expensive branch
    return max(parts)
  times = {"scan": equation.params.get("length", 1), "while": while_steps}
  return sum(parts, start=Work(0, 0)) * times.get(name, 1)


def _of_product(equation: core.JaxprEqn) -> Work:
  arrays: list[Any] = [
    variable.aval for variable in (*equation.invars, *equation.outvars)
  ]
  moved = sum(array.size * array.dtype.itemsize for array in arrays)
  return Work(product_flops(equation), moved)


def _inner(parameters: dict[str, Any]) -> Iterator[core.Jaxpr]:
  """Yields an equation's inner programs: bodies, branches and callees."""
  for value in parameters.values():
    for part in value if isinstance(value, tuple | list) else (value,):
      if isinstance(part, core.ClosedJaxpr):
        yield part.jaxpr
      elif isinstance(part, core.Jaxpr):
        yield part
