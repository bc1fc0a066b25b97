"""Floating-point operations of a program, counted before it is compiled."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core

from rlhf_gap.plan.hlo import Place


def of_products(
  closed: Any, *, turns: int = 1, terms: tuple[str, ...] = ()
) -> dict[Place, int]:
  """Counts the operations of a traced program's matrix products.

  2 m n k for a product of [m, k] and [k, n], loops as often as they turn, what
  is recomputed for the gradient as often as it is: the work of all chips
  together. Elementwise work is not counted, as in the usual utilisation.

  Args:
    closed: a closed jaxpr, such as `jax.jit(f).trace(...).jaxpr`.
    turns: of loops whose number of turns depends on the data.
    terms: names of `jax.named_scope` to tell apart.

  Returns:
    Operations by place.
  """
  totals: dict[Place, int] = {}
  for place, count in _walk(closed.jaxpr, Place("", False), 1, turns, terms):
    totals[place] = totals.get(place, 0) + count
  return totals


def _walk(
  jaxpr: Any, place: Place, times: int, turns: int, terms: tuple[str, ...]
) -> Iterator[tuple[Place, int]]:
  for equation in jaxpr.eqns:
    scopes = str(equation.source_info.name_stack).split("/")
    term = next((t for t in terms if t in scopes), place.term)
    here = Place(term, place.in_loop)
    name = equation.primitive.name
    if name == "dot_general":
      yield here, times * _product(equation)
    elif name == "while":
      inside = Place(term, True)
      body = equation.params["body_jaxpr"].jaxpr
      yield from _walk(body, inside, times * turns, turns, terms)
    elif name == "scan":
      body = equation.params["jaxpr"].jaxpr
      length = equation.params["length"]
      yield from _walk(body, here, times * length, turns, terms)
    elif name == "cond":
      # Branches do the same by other means: by platform, a few rows at a time.
      yield from max(
        (
          list(_walk(branch.jaxpr, here, times, turns, terms))
          for branch in equation.params["branches"]
        ),
        key=lambda counts: sum(count for _, count in counts),
      )
    else:
      for inner in core.jaxprs_in_params(equation.params):
        yield from _walk(inner, here, times, turns, terms)


def _product(equation: Any) -> int:
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  return (
    2
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(shape[axis] for axis in contracted)
  )
