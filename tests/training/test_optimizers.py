"""Optimizers against T5X's own numbers and NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlhf_gap import checkpoints, errors
from rlhf_gap.checkpoints import stored
from rlhf_gap.training import configured, optimizers
from tests import oracles, reference

pytestmark = pytest.mark.slow

NAMES = ("factored", "small", "scale", "zero")


def _run(transform, params, gradients):
  """Returns the parameters after each gradient, and the last state."""
  state = transform.init(params)
  seen = []
  for gradient in gradients:
    updates, state = transform.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    seen.append(params)
  return seen, state


@pytest.mark.parametrize(
  ("file", "scaled"), [("parameter_scale", True), ("absolute", False)]
)
def test_adafactor_is_t5xs(file, scaled):
  path = reference.path(f"t5x_reference/adafactor/adafactor_{file}.npz")
  with np.load(path) as arrays:
    params = [{n: arrays[f"params/{t}/{n}"] for n in NAMES} for t in range(6)]
    gradients = [{n: arrays[f"grads/{t}/{n}"] for n in NAMES} for t in range(5)]
  transform = optimizers.adafactor(1e-2, multiply_by_parameter_scale=scaled)
  seen, _ = _run(transform, params[0], gradients)
  for ours, theirs in zip(seen, params[1:], strict=True):
    for name in NAMES:
      difference = np.abs(ours[name] - theirs[name]).max()
      assert difference <= 1e-6, name


@pytest.fixture(scope="module")
def problem():
  """Parameters of every kind and four gradients of very different sizes."""
  rng = np.random.default_rng(0)
  shapes = {"factored": (128, 160), "small": (8, 9), "scale": (12,)}
  draw = lambda scale: {  # noqa: E731
    name: jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)
    for name, shape in shapes.items()
  }
  return draw(0.3), [draw(s) for s in (1.0, 30.0, 0.01, 3.0)]


@pytest.mark.parametrize("scaled", [True, False])
def test_adafactor_is_its_formula(problem, scaled):
  params, gradients = problem
  transform = optimizers.adafactor(0.02, multiply_by_parameter_scale=scaled)
  seen, _ = _run(transform, params, gradients)
  for name, start in params.items():
    expected = oracles.adafactor(
      np.asarray(start),
      [np.asarray(g[name]) for g in gradients],
      0.02,
      scaled,
    )
    for ours, theirs in zip(seen, expected, strict=True):
      np.testing.assert_allclose(ours[name], theirs, rtol=0, atol=1e-6)


def test_adamw_is_its_formula(problem):
  params, gradients = problem
  transform = optimizers.adamw(0.02, weight_decay=0.1)
  seen, _ = _run(transform, params, gradients)
  for name, start in params.items():
    expected = oracles.adamw(
      np.asarray(start), [np.asarray(g[name]) for g in gradients], 0.02, 0.1
    )
    for ours, theirs in zip(seen, expected, strict=True):
      np.testing.assert_allclose(ours[name], theirs, rtol=0, atol=1e-6)


def test_a_gradients_scale_does_not_move_adafactor(problem):
  """What PAPER calls the 1 : tau : tau^2 factors of IPO's forms."""
  params, gradients = problem
  transform = optimizers.adafactor(0.02)
  plain, _ = _run(transform, params, gradients)
  scaled = [jax.tree.map(lambda g: 1000 * g, g) for g in gradients]
  again, _ = _run(transform, params, scaled)
  for name in params:
    np.testing.assert_allclose(again[-1][name], plain[-1][name], atol=1e-5)


def test_global_norm_is_clipped_before_the_moments(problem):
  params, gradients = problem
  norm = float(np.sqrt(sum(float((g**2).sum()) for g in gradients[0].values())))
  clipped, _ = _run(
    optimizers.adamw(0.1, eps=1.0, clip_global_norm=norm / 4),
    params,
    gradients[:1],
  )
  quarter = [{name: g / 4 for name, g in gradients[0].items()}]
  expected, _ = _run(optimizers.adamw(0.1, eps=1.0), params, quarter)
  unclipped, _ = _run(optimizers.adamw(0.1, eps=1.0), params, gradients[:1])
  for name in params:
    np.testing.assert_allclose(clipped[0][name], expected[0][name], atol=1e-6)
  assert not np.allclose(clipped[0]["scale"], unclipped[0]["scale"], atol=1e-3)


def test_a_rate_rises_stays_and_falls():
  """T5X's warm-up changes nothing in the first update."""
  rising = configured.LearningRate(0.4, warm_up_steps=4)
  rates = [rising.at(step) for step in range(7)]
  np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
  assert configured.LearningRate(0.4).at(1000) == 0.4
  falling = configured.LearningRate(0.4, 2, decay_steps=6, final_fraction=0.5)
  rates = [falling.at(step) for step in range(2, 9)]
  np.testing.assert_allclose(rates, [0.4, 0.35, 0.3, 0.25, 0.2, 0.2, 0.2])


def _rising(rate, steps):
  return optax.schedules.linear_schedule(0.0, rate, steps)


def test_a_schedule_is_applied_at_its_step(problem):
  params, gradients = problem
  transform = optimizers.adafactor(_rising(0.4, 2))
  seen, _ = _run(transform, params, gradients[:2])
  np.testing.assert_array_equal(seen[0]["small"], params["small"])
  assert not np.allclose(seen[1]["small"], params["small"], atol=1e-2)


@pytest.mark.parametrize("make", [optimizers.adafactor, optimizers.adamw])
def test_state_survives_t5xs_leaves(problem, make):
  """Two steps, out to T5X's leaves and back, two more: the same bits."""
  params, gradients = problem
  transform = make(_rising(0.02, 3))
  seen, state = _run(transform, params, gradients[:2])
  leaves = optimizers.to_t5x(state, params)
  restored = optimizers.from_t5x(transform.init(params), params, leaves, 2)
  for a, b in zip(
    jax.tree.leaves(restored), jax.tree.leaves(state), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_t5x_state_is_read_and_written_leaf_for_leaf():
  checkpoint = checkpoints.load(reference.checkpoint("t5x_1_1"))
  transform = optimizers.adafactor(1e-3)
  state = optimizers.from_t5x(
    transform.init(checkpoint.params),
    checkpoint.params,
    checkpoint.optimizer_state,
    checkpoint.step,
  )
  assert int(optax.tree.get(state, "count")) == 1000
  written = stored.flatten(optimizers.to_t5x(state, checkpoint.params))
  expected = stored.flatten(checkpoint.optimizer_state)
  assert sorted(written) == sorted(expected)
  for name, leaf in expected.items():
    assert written[name].dtype == leaf.dtype
    np.testing.assert_array_equal(written[name], leaf, err_msg=name)


def test_another_optimizers_state_is_refused(problem):
  params, gradients = problem
  adamw, adafactor = optimizers.adamw(0.1), optimizers.adafactor(0.1)
  _, state = _run(adamw, params, gradients[:1])
  leaves = optimizers.to_t5x(state, params)
  with pytest.raises(errors.UserError, match=r"\['mu', 'nu'\].*v_row"):
    optimizers.from_t5x(adafactor.init(params), params, leaves, 1)


def test_adafactor_keeps_factored_state_for_large_matrices(problem):
  params, gradients = problem
  _, state = _run(optimizers.adafactor(0.1), params, gradients[:1])
  leaves = optimizers.to_t5x(state, params)
  shapes = {
    name: {key: value.shape for key, value in group.items()}
    for name, group in leaves.items()
  }
  assert shapes["factored"] == {
    "v_row": (128,),
    "v_col": (160,),
    "v": (1,),
    "m": (1,),
  }
  assert shapes["small"] == {
    "v_row": (1,),
    "v_col": (1,),
    "v": (8, 9),
    "m": (1,),
  }
