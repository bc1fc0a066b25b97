"""Losses as run files name them: targets, first values, lines, mistakes."""

import math
import re

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, losses
from tests.losses.cases import slope

CONFIGURED = [
  losses.Ipo(),
  *(losses.Ipo(beta=0.4, form=form) for form in losses.IPO_FORMS),
  losses.Dpo(beta=0.4),
  losses.Dpo(beta=0.4, label_smoothing=0.2),
  losses.Hinge(beta=0.4),
  losses.Slic(delta=0.7),
  losses.Gpo(beta=0.4, f=losses.squared),
]


def _name(loss):
  """Without a function's address: every process must give the same names."""
  return re.sub(r"<function (\w+)[^>]*>", r"\1", repr(loss))


every_loss = pytest.mark.parametrize("loss", CONFIGURED, ids=_name)


@every_loss
def test_starts_at_its_initial_value(loss):
  first = float(loss(jnp.zeros(1))[0])
  assert first == pytest.approx(loss.initial_value, rel=1e-6)


@pytest.mark.parametrize("loss", CONFIGURED[:-1], ids=_name)
def test_pulls_as_far_as_its_target(loss):
  target = loss.target_nats
  around = 50.0 if target is None else target
  below, above = slope(loss, [around - 0.02, around + 0.02])
  assert below < 0
  assert above < 0 if target is None else above >= 0


def test_knows_no_target_of_an_f_that_it_does_not_know():
  assert CONFIGURED[-1].target_nats is None
  assert "where f is least" in CONFIGURED[-1].describe("sum")


def test_targets_and_first_values_by_hand():
  """At beta = 0.4, 1/(2 beta) = 1.25, beta/2 = 0.2, 1/beta = 2.5."""
  targets = {
    form: losses.Ipo(beta=0.4, form=form).target_nats
    for form in losses.IPO_FORMS
  }
  assert targets == {
    "gpo": 1.25,
    "azar": 1.25,
    "calandriello": 1.25,
    "eq1_literal": 0.2,
  }
  assert losses.Hinge(beta=0.4).target_nats == 2.5
  assert losses.Slic(delta=0.7).target_nats == 0.7
  assert losses.Dpo(beta=0.4).target_nats is None
  smoothed = losses.Dpo(beta=0.4, label_smoothing=0.2)
  assert smoothed.target_nats == pytest.approx(math.log(4) / 0.4)
  assert losses.Ipo(beta=0.4, form="azar").initial_value == pytest.approx(
    1.5625
  )
  assert losses.Gpo(beta=0.4, f=losses.hinged).initial_value == 1.0


def test_only_slic_does_without_a_reference():
  without = [loss for loss in CONFIGURED if not loss.uses_reference]
  assert without == [losses.Slic(delta=0.7)]


def test_calls_the_function_of_its_name():
  rho = jnp.linspace(-4, 4, 9)
  for loss, expected in (
    (losses.Ipo(0.3, "azar"), losses.ipo(rho, beta=0.3, form="azar")),
    (losses.Dpo(0.3, 0.1), losses.dpo(rho, beta=0.3, label_smoothing=0.1)),
    (losses.Hinge(0.3), losses.hinge(rho, beta=0.3)),
    (losses.Slic(0.3), losses.slic(rho, delta=0.3)),
    (losses.Gpo(0.3, jnp.exp), losses.gpo(rho, beta=0.3, f=jnp.exp)),
  ):
    np.testing.assert_array_equal(loss(rho), expected)


def test_says_formula_beta_and_target_in_nats():
  assert losses.Ipo().describe("sum") == (
    "IPO (gpo): (beta rho - 1/2)^2, beta = 0.1; log-probabilities summed over"
    " tokens; target rho = 5 nats"
  )
  assert losses.Ipo(0.2, "eq1_literal").describe("mean") == (
    "IPO (eq1_literal): (rho - beta/2)^2, beta = 0.2; log-probabilities"
    " averaged over tokens; target rho = 0.1 nats a token"
  )
  assert losses.Dpo().describe("sum").endswith("the pull never ends")
  assert "e = 0.2" in losses.Dpo(0.4, 0.2).describe("sum")
  assert losses.Dpo(0.4, 0.2).describe("sum").endswith("rho = 3.46574 nats")
  assert "target rho = 10 nats" in losses.Hinge().describe("sum")
  assert losses.Slic().describe("mean").endswith("margin = 1 nats a token")
  assert "f = logistic" in losses.Gpo(0.1, losses.logistic).describe("sum")


@every_loss
def test_says_it_in_one_line(loss):
  for reduction in ("sum", "mean"):
    assert "\n" not in loss.describe(reduction)
  with pytest.raises(errors.UserError, match="'total'.*sum or mean"):
    loss.describe("total")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_strengths_that_mean_nothing_are_refused(value):
  for make, name in (
    (losses.Ipo, "Ipo.beta"),
    (losses.Dpo, "Dpo.beta"),
    (losses.Hinge, "Hinge.beta"),
    (losses.Slic, "Slic.delta"),
    (lambda beta: losses.Gpo(beta, losses.squared), "Gpo.beta"),
  ):
    with pytest.raises(errors.UserError, match=f"{name} = .*above 0"):
      make(value)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, math.nan])
def test_a_label_smoothing_that_turns_labels_round_is_refused(smoothing):
  with pytest.raises(errors.UserError, match="label_smoothing = .*below 0.5"):
    losses.Dpo(label_smoothing=smoothing)


def test_a_misspelt_form_is_refused_when_the_run_is_configured():
  with pytest.raises(errors.UserError, match="did you mean calandriello"):
    losses.Ipo(form="calandrielo")
