"""Operation counts of traced programs against sums by hand."""

import jax
import jax.numpy as jnp

from rlhf_gap.plan import flops
from rlhf_gap.plan.hlo import Place

M, K = 3, 4
ONE = 2 * M * K * K  # of [M, K] @ [K, K]


def _count(function, **options):
  x, w = jnp.ones((M, K)), jnp.ones((K, K))
  traced = jax.jit(function).trace(x, w)
  return flops.count_products(traced.jaxpr, **options)


def test_loops_count_once_per_iteration():
  def function(x, w):
    x, _ = jax.lax.scan(lambda x, _: (x @ w, None), x, length=6)
    return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ w, x)

  assert _count(function, turns=10) == {
    Place("", False): 6 * ONE,
    Place("", True): 10 * ONE,
  }


def test_named_scopes_extend_into_inner_functions():
  inner = jax.jit(lambda x, w: x @ w)

  def function(x, w):
    with jax.named_scope("first"):
      x = inner(x, w) @ w
    return x @ w

  counted = _count(function, terms=("first",))
  assert counted == {Place("first", False): 2 * ONE, Place("", False): ONE}


def test_gradients_and_recomputation_count():
  def loss(x, w):
    layer = jax.checkpoint(lambda x: jnp.tanh(x @ w) @ w)
    return layer(x).sum()

  # Forward 2, recomputed 1 (the last product is not needed), backward 2 x 2.
  counted = _count(jax.grad(loss, argnums=(0, 1)))
  assert sum(counted.values()) in (7 * ONE, 8 * ONE)


def test_the_most_expensive_branch_counts():
  def function(x, w):
    return jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)

  assert sum(_count(function).values()) == 2 * ONE
