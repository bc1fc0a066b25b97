"""Counted arithmetic against counts by hand."""

import jax
import jax.numpy as jnp

from rlhf_gap.benchmarks import work

LEFT, RIGHT = jnp.zeros((2, 3)), jnp.zeros((3, 5))
ONCE = work.Work(2 * 2 * 3 * 5, 4 * (6 + 15 + 10))


def test_a_product_counts_two_operations_per_element_and_depth():
  assert work.count(jnp.dot, LEFT, RIGHT) == ONCE
  batched = work.count(jax.vmap(jnp.dot), LEFT[None], RIGHT[None])
  assert batched == ONCE
  narrow = work.count(
    jnp.dot, LEFT.astype("bfloat16"), RIGHT.astype("bfloat16")
  )
  assert narrow == work.Work(ONCE.flops, ONCE.bytes // 2)


def test_a_gradient_has_two_more_products():
  def total(left, right):
    return jnp.dot(left, right).sum()

  counted = work.count(jax.value_and_grad(total, (0, 1)), LEFT, RIGHT)
  assert counted.flops == 3 * ONCE.flops


def test_loops_branches_and_calls_are_counted():
  def product(carry, _=None):
    return jax.jit(jnp.dot)(LEFT, RIGHT).sum() + carry, None

  def scanned():
    return jax.lax.scan(product, 0.0, None, length=7)[0]

  def repeated():
    start = (0, 0.0)
    return jax.lax.while_loop(
      lambda loop: loop[0] < 3, lambda loop: (4, product(loop[1])[0]), start
    )

  def chosen(which):
    return jax.lax.cond(which, lambda: product(0.0)[0], lambda: 1.0)

  remade = jax.checkpoint(lambda x: product(x)[0])
  assert work.count(scanned) == ONCE * 7
  assert work.count(repeated, while_steps=4) == ONCE * 4
  assert work.count(chosen, True) == ONCE
  assert work.count(remade, 0.0) == ONCE
