"""Timings interleave calls and count compilations."""

import jax
import jax.numpy as jnp

from rlhf_gap.benchmarks import timing


def test_calls_take_turns_and_a_new_shape_is_a_recompilation():
  order = []
  double = jax.jit(lambda x: 2 * x)
  growing = iter(range(3, 10))
  arrays = {n: jnp.zeros(n) for n in range(3, 10)}

  def steady():
    order.append("steady")
    return double(arrays[3]) if order.count("steady") == 1 else None

  def uneven():
    order.append("uneven")
    return jax.jit(lambda x: x + 1)(arrays[next(growing)])

  timings = timing.alternate({"steady": steady, "uneven": uneven}, 2)
  assert order == ["steady", "uneven"] * 3
  assert timings["steady"].compilations == 1
  assert timings["steady"].recompilations == 0
  assert timings["uneven"].compilations == 1
  assert timings["uneven"].recompilations == 2
  assert len(timings["uneven"].seconds) == 2


def test_compile_time_is_the_extra_time_of_the_first_call():
  timed = timing.Timing(5.0, (1.0, 3.0, 1.5), 1, 0)
  assert timed.median_seconds == 1.5
  assert timed.compile_seconds == 3.5
  assert timing.Timing(1.0, (2.0,), 0, 0).compile_seconds == 0.0
