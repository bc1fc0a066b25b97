"""Counts a program's floating-point operations before it is compiled."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jax.extend import core

from rlhf_gap.ops.matrix_products import product_flops
from rlhf_gap.plan.hlo import Place

# (term, `jax.named_scope` within it) -> number of chips that repeat a product.
Repeats = Mapping[tuple[str, str], int]


class _Options(NamedTuple):
  """The arguments of `count_products`."""

  turns: int
  terms: tuple[str, ...]
  repeats: Repeats


class _Position(NamedTuple):
  """The current position in the program.

  Attributes:
    place: the place under which operations are reported.
    times: how often the program executes this position.
    chips: number of chips that repeat each product here.
  """

  place: Place
  times: int
  chips: int


def count_products(
  closed: Any,
  *,
  turns: int = 1,
  terms: tuple[str, ...] = (),
  repeats: Repeats | None = None,
) -> dict[Place, int]:
  """Counts the operations of a traced program's matrix products.

  A product of [m, k] and [k, n] counts 2 m n k, once for every loop iteration
  and recomputation, summed over all chips. Elementwise operations do not count,
  as in the usual definition of utilisation.

  Args:
    closed: a closed jaxpr, such as `jax.jit(f).trace(...).jaxpr`.
    turns: iterations of loops whose length depends on the data.
    terms: names of `jax.named_scope` to report separately.
    repeats: number of chips that each repeat the products of a (term, scope
      within it).

  Returns:
    Operations by place.
  """
  options = _Options(turns, terms, repeats or {})
  totals: dict[Place, int] = {}
  start = _Position(Place("", False), 1, 1)
  for place, count in _walk(closed.jaxpr, start, options):
    totals[place] = totals.get(place, 0) + count
  return totals


def _walk(
  jaxpr: Any, position: _Position, options: _Options
) -> Iterator[tuple[Place, int]]:
  for equation in jaxpr.eqns:
    here = _entered(position, equation, options)
    name = equation.primitive.name
    if name == "dot_general":
      yield here.place, here.times * here.chips * product_flops(equation)
    elif name == "while":
      inside = here._replace(
        place=Place(here.place.term, True), times=here.times * options.turns
      )
      yield from _walk(equation.params["body_jaxpr"].jaxpr, inside, options)
    elif name == "scan":
      inside = here._replace(times=here.times * equation.params["length"])
      yield from _walk(equation.params["jaxpr"].jaxpr, inside, options)
    elif name == "cond":
      # Branches are alternative implementations, for example per platform.
      yield from max(
        (
          list(_walk(branch.jaxpr, here, options))
          for branch in equation.params["branches"]
        ),
        key=lambda counts: sum(count for _, count in counts),
      )
    else:
      for inner in core.jaxprs_in_params(equation.params):
        yield from _walk(inner, here, options)


def _entered(
  position: _Position, equation: Any, options: _Options
) -> _Position:
  """Returns the position of an equation, according to its named scopes."""
  scopes = str(equation.source_info.name_stack).split("/")
  term = next((t for t in options.terms if t in scopes), position.place.term)
  chips = [
    n for (t, s), n in options.repeats.items() if t == term and s in scopes
  ]
  place = Place(term, position.place.in_loop)
  return position._replace(place=place, chips=max([position.chips, *chips]))
