"""A process that has joined no others: nothing changes."""

import jax.numpy as jnp

from rlhf_gap import processes


def test_a_single_process_is_the_first_of_one():
  assert processes.count() == 1
  assert processes.index() == 0
  assert processes.is_first()


def test_what_is_shared_is_its_own():
  made = object()  # no JSON holds it: it is not sent anywhere
  assert processes.from_first(lambda: made) is made
  tree = {"x": jnp.ones(3)}
  assert processes.gathered(tree) is tree
  processes.meet()
  processes.mark("step 1")
  processes.check_same({"seed": "0"})
