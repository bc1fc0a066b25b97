"""Floating-point operations of a program, counted before it is compiled."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jax.extend import core

from rlhf_gap.plan.hlo import Place

# (term, `jax.named_scope` in it) -> how many chips repeat each product.
Repeats = Mapping[tuple[str, str], int]


class _Counting(NamedTuple):
  """What `of_products` was told."""

  turns: int
  terms: tuple[str, ...]
  repeats: Repeats


class _Where(NamedTuple):
  """Where in a program the counting is.

  Attributes:
    place: as it is reported.
    times: how often the program comes here.
    chips: that repeat each product.
  """

  place: Place
  times: int
  chips: int


def of_products(
  closed: Any,
  *,
  turns: int = 1,
  terms: tuple[str, ...] = (),
  repeats: Repeats | None = None,
) -> dict[Place, int]:
  """Counts the operations of a traced program's matrix products.

  2 m n k for a product of [m, k] and [k, n], loops as often as they turn, what
  is recomputed for the gradient as often as it is: the work of all chips
  together. Elementwise work is not counted, as in the usual utilisation.

  Args:
    closed: a closed jaxpr, such as `jax.jit(f).trace(...).jaxpr`.
    turns: of loops whose number of turns depends on the data.
    terms: names of `jax.named_scope` to tell apart.
    repeats: (term, scope within it) whose products several chips repeat, each
      by itself, and how many do.

  Returns:
    Operations by place.
  """
  counting = _Counting(turns, terms, repeats or {})
  totals: dict[Place, int] = {}
  begin = _Where(Place("", False), 1, 1)
  for place, count in _walk(closed.jaxpr, begin, counting):
    totals[place] = totals.get(place, 0) + count
  return totals


def _walk(
  jaxpr: Any, where: _Where, counting: _Counting
) -> Iterator[tuple[Place, int]]:
  for equation in jaxpr.eqns:
    here = _entered(where, equation, counting)
    name = equation.primitive.name
    if name == "dot_general":
      yield here.place, here.times * here.chips * _product(equation)
    elif name == "while":
      inside = here._replace(
        place=Place(here.place.term, True), times=here.times * counting.turns
      )
      yield from _walk(equation.params["body_jaxpr"].jaxpr, inside, counting)
    elif name == "scan":
      inside = here._replace(times=here.times * equation.params["length"])
      yield from _walk(equation.params["jaxpr"].jaxpr, inside, counting)
    elif name == "cond":
      # Branches do the same by other means: by platform, a few rows at a time.
      yield from max(
        (
          list(_walk(branch.jaxpr, here, counting))
          for branch in equation.params["branches"]
        ),
        key=lambda counts: sum(count for _, count in counts),
      )
    else:
      for inner in core.jaxprs_in_params(equation.params):
        yield from _walk(inner, here, counting)


def _entered(where: _Where, equation: Any, counting: _Counting) -> _Where:
  """Returns the place of an equation, by the scopes that it is in."""
  scopes = str(equation.source_info.name_stack).split("/")
  term = next((t for t in counting.terms if t in scopes), where.place.term)
  chips = [
    n for (t, s), n in counting.repeats.items() if t == term and s in scopes
  ]
  place = Place(term, where.place.in_loop)
  return where._replace(place=place, chips=max([where.chips, *chips]))


def _product(equation: Any) -> int:
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  return (
    2
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(shape[axis] for axis in contracted)
  )
