"""Counts the operations of matrix products in traced programs."""

import math
from typing import Any


def product_flops(equation: Any) -> int:
  """Returns the operations of a `dot_general` equation of a jaxpr.

  A product of [m, k] and [k, n] counts 2 m n k: m n k multiplications and as
  many additions.

  Args:
    equation: the equation; its primitive must be `dot_general`.
  """
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  return (
    2
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(shape[axis] for axis in contracted)
  )
