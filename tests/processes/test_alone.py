"""A process that has joined no others: every function is a no-op."""

import jax.numpy as jnp

from rlhf_gap import processes


def test_a_single_process_is_process_0_of_1():
  assert processes.count() == 1
  assert processes.index() == 0
  assert processes.is_first()


def test_values_are_returned_unchanged():
  value = object()  # JSON cannot represent it, so it cannot have been sent
  assert processes.from_first(lambda: value) is value
  tree = {"x": jnp.ones(3)}
  assert processes.gathered(tree) is tree
  processes.meet()
  processes.mark("step 1")
  processes.check_same({"seed": "0"})
