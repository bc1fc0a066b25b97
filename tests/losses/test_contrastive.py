"""Contrastive losses: oracle, hand values, slopes, minimisers, symmetry."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, losses
from tests.losses import oracles
from tests.losses.cases import BETA, CASES, DELTA, slope

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def _value(loss, rho):
  """Returns the loss of one pair."""
  return float(loss(jnp.array([rho], jnp.float32))[0])


@pytest.fixture(scope="module")
def rho():
  """Arguments of every size, on both sides, with 0 among them."""
  rng = np.random.default_rng(0)
  sizes = 10.0 ** rng.uniform(-3, 2.5, 63)
  signs = rng.choice([-1.0, 1.0], 63)
  return np.append(sizes * signs, 0.0).astype(np.float32)


@every_case
def test_is_its_formula(case, rho):
  values = case.loss(jnp.asarray(rho))
  expected = case.oracle(np.float64(rho))
  np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)


@every_case
def test_expects_over_a_soft_label_as_its_formula_does(case, rho):
  probability = np.linspace(0, 1, len(rho), dtype=np.float32)
  values = losses.with_label(
    case.loss, jnp.asarray(rho), jnp.asarray(probability)
  )
  expected = oracles.expected(case.oracle, np.float64(rho), probability)
  np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)


@every_case
def test_value_and_slope_where_policy_and_reference_agree(case):
  assert _value(case.loss, 0.0) == pytest.approx(case.at_zero, rel=1e-6)
  slopes = slope(case.loss, [0.0])
  assert float(slopes[0]) == pytest.approx(case.slope_at_zero, rel=1e-6)


def test_values_by_hand():
  """Each derivation is on its line."""
  ipo = functools.partial(losses.ipo, beta=0.1)
  # 0.1 x 3 - 1/2 = -0.2, squared
  assert _value(ipo, 3.0) == pytest.approx(0.04)
  # 3 - 1/(2 x 0.1) = -2, squared
  azar = functools.partial(ipo, form="azar")
  assert _value(azar, 3.0) == pytest.approx(4.0)
  # -3 + 0.1 x 9
  calandriello = functools.partial(ipo, form="calandriello")
  assert _value(calandriello, 3.0) == pytest.approx(-2.1)
  # 3 - 0.05 = 2.95, squared
  literal = functools.partial(ipo, form="eq1_literal")
  assert _value(literal, 3.0) == pytest.approx(8.7025)
  # 1/2 x 2 log 3 = log 3, of which the sigmoid is 3/4
  dpo = functools.partial(losses.dpo, beta=0.5)
  assert _value(dpo, 2 * math.log(3)) == pytest.approx(math.log(4 / 3))
  # the same, and the swapped label's sigmoid is 1/4
  conservative = functools.partial(dpo, label_smoothing=0.25)
  expected = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
  assert _value(conservative, 2 * math.log(3)) == pytest.approx(expected)
  # 1 - 0.25 x 3, and nothing beyond rho = 4
  hinge = functools.partial(losses.hinge, beta=0.25)
  assert _value(hinge, 3.0) == pytest.approx(0.25)
  assert _value(hinge, 4.5) == 0.0
  # 2 - 1/4 and 2 + 3, and nothing beyond margin 2
  slic = functools.partial(losses.slic, delta=2.0)
  assert _value(slic, 0.25) == pytest.approx(1.75)
  assert _value(slic, -3.0) == pytest.approx(5.0)
  assert _value(slic, 2.5) == 0.0


@every_case
@pytest.mark.parametrize("probability", [1.0, 0.9, 0.6])
def test_falls_as_far_as_its_minimiser_and_then_rises(case, probability):
  least = case.minimiser(probability)
  endless = math.isinf(least)
  least = 500.0 if endless else least
  at = np.array([least - 2.0, least - 0.01, least + 0.01, least + 2.0])

  def loss(x):
    return losses.with_label(case.loss, x, probability)

  slopes = np.asarray(slope(loss, at))
  assert (slopes[:2] < 0).all()
  if endless:
    assert (slopes < 0).all()
  elif case in (CASES["hinge"], CASES["slic"]) and probability == 1:
    assert (slopes[2:] == 0).all()
  else:
    assert (slopes[2:] > 0).all()


@every_case
def test_swapping_the_responses_and_the_label_changes_nothing(case, rho):
  rho = jnp.asarray(rho)
  probability = jnp.linspace(0, 1, len(rho), dtype=jnp.float32)
  values = losses.with_label(case.loss, rho, probability)
  swapped = losses.with_label(case.loss, -rho, 1 - probability)
  np.testing.assert_allclose(swapped, values, rtol=1e-6, atol=1e-6)
  unswapped = losses.with_label(case.loss, rho, 1 - probability)
  assert not np.allclose(unswapped, values, rtol=1e-2)


@every_case
def test_a_certain_label_is_a_hard_label_bit_for_bit(case, rho):
  rho = jnp.asarray(rho)
  hard = losses.with_label(case.loss, rho, 1.0)
  np.testing.assert_array_equal(hard, case.loss(rho))


@every_case
def test_a_tie_does_not_pull(case):
  slopes = slope(lambda x: losses.with_label(case.loss, x, 0.5), [0.0])
  np.testing.assert_allclose(slopes, [0.0], atol=1e-7)


@every_case
def test_a_pair_does_not_see_its_neighbours(case, rho):
  order = np.random.default_rng(1).permutation(len(rho))
  together = np.asarray(case.loss(jnp.asarray(rho)))
  permuted = case.loss(jnp.asarray(rho[order]))
  np.testing.assert_array_equal(permuted, together[order])


def test_a_soft_label_makes_ipo_a_regression_on_its_probability(rho):
  """With T the target it is (h - (2 p - 1) T)^2 + 4 p (1 - p) T^2."""
  p, target = 0.7, 5.0
  loss = functools.partial(losses.ipo, beta=0.1, form="azar")
  values = losses.with_label(loss, jnp.asarray(rho), p)
  expected = (np.float64(rho) - 0.4 * target) ** 2 + 4 * p * 0.3 * target**2
  np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_three_forms_of_ipo_pull_alike_but_for_a_factor(beta, rho):
  """tau^2 : 1 : tau; the printed Eq. 1 is Azar's form with tau = 1/beta."""
  slopes = {
    form: np.float64(
      slope(functools.partial(losses.ipo, beta=beta, form=form), rho)
    )
    for form in losses.IPO_FORMS
  }
  for form, factor in (("gpo", beta**2), ("calandriello", beta)):
    np.testing.assert_allclose(
      slopes[form], factor * slopes["azar"], rtol=1e-5, atol=1e-5
    )
  inverted = functools.partial(losses.ipo, beta=1 / beta, form="azar")
  np.testing.assert_allclose(
    slopes["eq1_literal"], slope(inverted, rho), rtol=1e-5, atol=1e-5
  )


def test_ipo_dpo_and_hinge_are_gpo(rho):
  rho = jnp.asarray(rho)
  for f, instance in (
    (losses.squared, losses.ipo),
    (losses.logistic, losses.dpo),
    (losses.hinged, losses.hinge),
  ):
    general = losses.gpo(rho, beta=BETA, f=f)
    np.testing.assert_array_equal(general, instance(rho, beta=BETA))


def test_gpo_takes_any_f(rho):
  """GPO's exponential loss: f(z) = exp(-z)."""
  rho = np.clip(rho, -50, 50)
  values = losses.gpo(jnp.asarray(rho), beta=0.3, f=lambda z: jnp.exp(-z))
  np.testing.assert_allclose(values, np.exp(-0.3 * np.float64(rho)), rtol=1e-5)


def test_slic_is_a_scaled_hinge(rho):
  """That is, delta max(0, 1 - margin / delta)."""
  rho = jnp.asarray(rho)
  scaled = DELTA * losses.hinge(rho, beta=1 / DELTA)
  values = losses.slic(rho, delta=DELTA)
  np.testing.assert_allclose(values, scaled, rtol=1e-5, atol=1e-6)


def test_dpo_neither_overflows_nor_loses_its_slope_far_out():
  far = [-1e6, -1e4, 1e4, 1e6]
  loss = functools.partial(losses.dpo, beta=1.0)
  values = loss(jnp.array(far, jnp.float32))
  np.testing.assert_allclose(values, [1e6, 1e4, 0, 0], rtol=1e-6)
  np.testing.assert_allclose(slope(loss, far), [-1, -1, 0, 0], atol=1e-6)


def test_a_misspelt_form_is_told_with_the_nearest():
  with pytest.raises(errors.UserError, match="'azarr' .did you mean azar"):
    losses.ipo(jnp.zeros(2), beta=0.1, form="azarr")
