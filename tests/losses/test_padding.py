"""From token log-probabilities to losses: what padding must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import losses
from rlhf_gap.ops import logprobs
from tests.losses import oracles
from tests.losses.cases import CASES

LENGTHS = np.array([[3, 5], [1, 4], [5, 2]])  # of (chosen, rejected)
_GARBAGE = 7.0
_REDUCTIONS = {"sum": logprobs.sequence_sum, "mean": logprobs.sequence_mean}

reductions = pytest.mark.parametrize("reduction", _REDUCTIONS)


@pytest.fixture(scope="module")
def pairs():
  """Token log-probabilities of policy and reference, [2, pair, 2, token]."""
  draws = np.random.default_rng(3).uniform(-4, 0, (2, 3, 2, 5))
  return draws.astype(np.float32)


def _padded(tokens, width):
  """Puts garbage into the pads and widens by `width` more of them."""
  wider = np.pad(tokens, ((0, 0),) * 3 + ((0, width),))
  mask = np.arange(wider.shape[-1]) < LENGTHS[..., None]
  return jnp.asarray(np.where(mask, wider, _GARBAGE)), jnp.asarray(mask)


def _losses(policy, reference, mask, loss, reduction):
  reduce = _REDUCTIONS[reduction]
  policy, reference = (reduce(x, mask) for x in (policy, reference))
  rho = (policy - reference)[:, 0] - (policy - reference)[:, 1]
  return loss(rho)


@reductions
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pads_change_neither_losses_nor_slopes(pairs, case, reduction):
  expected_rho = 0.0
  for side, sign in ((0, 1), (1, -1)):
    policy, reference = (
      oracles.reduced(x[:, side], LENGTHS[:, side], reduction) for x in pairs
    )
    expected_rho = expected_rho + sign * (policy - reference)
  slopes = []
  for width in (0, 4):
    (policy, reference), mask = _padded(pairs, width)
    value, slope = jax.value_and_grad(
      lambda p, r=reference, m=mask: _losses(
        p, r, m, case.loss, reduction
      ).sum()
    )(policy)
    expected = case.oracle(expected_rho).sum()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert (np.asarray(slope)[~np.asarray(mask)] == 0).all()
    slopes.append(np.asarray(slope)[..., :5])
  np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-6, atol=1e-7)


@reductions
@pytest.mark.parametrize("loss", [losses.sft, losses.best_of_two])
def test_pads_are_not_imitated(pairs, loss, reduction):
  expected = -oracles.reduced(pairs[0][:, 0], LENGTHS[:, 0], reduction)
  for width in (0, 4):
    (policy, _), mask = _padded(pairs, width)

    def of_chosen(x, m=mask):
      return loss(_REDUCTIONS[reduction](x[:, 0], m[:, 0]))

    np.testing.assert_allclose(of_chosen(policy), expected, rtol=1e-6)
    slope = jax.grad(lambda x, f=of_chosen: f(x).sum())(policy)
    per_token = 1 / LENGTHS[:, :1] if reduction == "mean" else 1.0
    of_tokens = np.where(mask[:, 0], -per_token, 0.0)
    np.testing.assert_allclose(slope[:, 0], of_tokens, rtol=1e-6)


@reductions
def test_the_target_margin_is_in_nats_or_nats_a_token(reduction):
  """Chosen and rejected of n tokens, each 5/(2 n) or 5/2 from the reference.

  At beta = 0.1 the target of IPO, 5 nats or 5 nats a token, is then met.
  """
  each = 2.5 / LENGTHS if reduction == "sum" else np.full((3, 2), 2.5)
  sides = each * np.array([[1.0, -1.0]])
  policy = np.broadcast_to(sides[..., None], (3, 2, 5)).astype(np.float32)
  (policy, reference), mask = _padded(np.stack([policy, 0 * policy]), 1)
  loss = losses.Ipo(beta=0.1)
  assert loss.target_nats == 5.0
  values = _losses(policy, reference, mask, loss, reduction)
  np.testing.assert_allclose(values, np.zeros(3), atol=1e-6)
