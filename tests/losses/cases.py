"""Every contrastive loss with what the papers' algebra says of it."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rlhf_gap import losses
from tests.losses import oracles

BETA = 0.1
SMOOTHING = 0.2
DELTA = 3.0


@dataclasses.dataclass(frozen=True)
class Case:
  """A loss, its oracle, and facts derived by hand.

  Attributes:
    loss: of rho (of the policy's margin, for slic).
    oracle: the same in NumPy float64.
    at_zero: the loss at rho = 0.
    slope_at_zero: its derivative there, for a hard label.
    minimiser: q -> the rho at which the loss expected under a label of
      probability q is least.
  """

  loss: Callable
  oracle: Callable
  at_zero: float
  slope_at_zero: float
  minimiser: Callable


def _ipo(form, at_zero, slope, target):
  # Expected over the label, q (rho - T)^2 + (1 - q) (rho + T)^2 is
  # (rho - (2 q - 1) T)^2 and a constant.
  return Case(
    functools.partial(losses.ipo, beta=BETA, form=form),
    functools.partial(getattr(oracles, f"ipo_{form}"), beta=BETA),
    at_zero,
    slope,
    lambda q: (2 * q - 1) * target,
  )


def _logit(q):
  return math.log(q / (1 - q)) if q < 1 else math.inf


CASES = {
  # (0 - 1/2)^2; derivative 2 beta (0 - 1/2).
  "gpo": _ipo("gpo", 1 / 4, -BETA, 1 / (2 * BETA)),
  # (0 - 5)^2; derivative 2 (0 - 5) = -1/beta.
  "azar": _ipo("azar", 25.0, -10.0, 1 / (2 * BETA)),
  "calandriello": _ipo("calandriello", 0.0, -1.0, 1 / (2 * BETA)),
  # (0 - 0.05)^2; derivative 2 (0 - 0.05) = -beta.
  "eq1_literal": _ipo("eq1_literal", 0.0025, -BETA, BETA / 2),
  # -log(1/2); derivative -beta sigmoid(0). Least where
  # q sigmoid(-z) = (1 - q) sigmoid(z): at z = logit q.
  "dpo": Case(
    functools.partial(losses.dpo, beta=BETA),
    functools.partial(oracles.dpo, beta=BETA),
    math.log(2),
    -BETA / 2,
    lambda q: _logit(q) / BETA,
  ),
  # A label right with probability 1 - e, said to be so with probability q, is
  # right with q (1 - e) + (1 - q) e.
  "cdpo": Case(
    functools.partial(losses.dpo, beta=BETA, label_smoothing=SMOOTHING),
    functools.partial(oracles.dpo, beta=BETA, label_smoothing=SMOOTHING),
    math.log(2),
    -BETA / 2 * (1 - 2 * SMOOTHING),
    lambda q: _logit(q * (1 - SMOOTHING) + (1 - q) * SMOOTHING) / BETA,
  ),
  # 1 - 0; derivative -beta. Under q > 1/2 it falls by (2 q - 1) beta as far as
  # 1/beta and rises from there, or is flat if q = 1.
  "hinge": Case(
    functools.partial(losses.hinge, beta=BETA),
    functools.partial(oracles.hinge, beta=BETA),
    1.0,
    -BETA,
    lambda q: 1 / BETA,
  ),
  "slic": Case(
    functools.partial(losses.slic, delta=DELTA),
    functools.partial(oracles.slic, delta=DELTA),
    DELTA,
    -1.0,
    lambda q: DELTA,
  ),
}


def slope(loss, *arguments):
  """Returns the derivative of each pair's loss by its first argument."""
  arguments = [jnp.asarray(x, jnp.float32) for x in arguments]
  return jax.grad(lambda *x: loss(*x).sum())(*arguments)
