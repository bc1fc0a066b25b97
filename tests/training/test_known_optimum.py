"""Tabular policies find the optima of theory, through the real training step.

A policy over 200 arms, each a response of one token and EOS; the judge always
prefers the arm of higher quality. IPO's regression of rho on (p - 1/2)/beta
gives pi* ~ pi_ref exp(p(y > mu)/beta), with p(y > mu) the probability that y
beats a draw from mu: the reference offline, pi* itself online (Azar et al.
2023; Calandriello et al. 2024, Prop. 4.1). With u the reference's quantile of
quality, uniform on [0, 1], both have closed forms (`_continuous`).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import losses
from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.training import objectives, optimizers, step

pytestmark = pytest.mark.slow

ARMS = 200
EOS, FIRST_ARM = 1, 2

# Uneven, so that a policy trained without the reference goes elsewhere.
REFERENCE = np.random.default_rng(0).dirichlet(np.full(ARMS, 4.0))
# All pairs of arms, the better one (of the higher number) first.
REJECTED, CHOSEN = np.triu_indices(ARMS, k=1)


def _continuous(beta):
  """Returns KL offline, KL online and the win rate of both, closed forms.

  Offline the density of u is exp(u/beta)/Z with Z = beta (exp(1/beta) - 1).
  Online it is f = exp(F/beta)/Z with F its own distribution function, which
  solves to Z = (1/beta)/(1 - exp(-1/beta)); F is uniform under f.
  """
  win_rate = 1 / (1 - math.exp(-1 / beta)) - beta
  offline = win_rate / beta - math.log(beta * math.expm1(1 / beta))
  online = 1 / (2 * beta) - math.log(1 / beta / -math.expm1(-1 / beta))
  return offline, online, win_rate


def _beats(policy):
  """Returns p(y > mu) of each arm y against mu = `policy`; a tie is half."""
  return np.cumsum(policy) - policy / 2


def _tilted(exponent):
  """Returns pi_ref exp(exponent), normalised, float64."""
  weights = REFERENCE * np.exp(exponent)
  return weights / weights.sum()


def _optimum(beta, *, online):
  """Returns pi* ~ pi_ref exp(p(y > mu)/beta), by damped iteration if online."""
  policy = _tilted(_beats(REFERENCE) / beta)
  damping = min(0.05, beta / 10)
  for _ in range(5000 if online else 0):
    tilted = _tilted(_beats(policy) / beta)
    policy = policy ** (1 - damping) * tilted**damping
    policy = policy / policy.sum()
  return policy


def _kl(policy):
  return float((policy * np.log(policy / REFERENCE)).sum())


def _win_rate(policy):
  """Against the reference."""
  return float((policy * _beats(REFERENCE)).sum())


def _distance(policy, other):
  """Half the sum of absolute differences: 0 for equal, 1 for disjoint."""
  return float(np.abs(policy - other).sum() / 2)


def _score(params, prompt, responses, key):
  """The table's log-probability at the arm's token; EOS is certain."""
  del prompt, key
  table = jax.nn.log_softmax(params["logits"])
  arms = jnp.maximum(responses[..., 0] - FIRST_ARM, 0)
  return jnp.pad(table[arms][..., None], ((0, 0), (0, 0), (0, 2)))


def _responses(arms):
  ends = np.broadcast_to([EOS, 0], (len(arms), 2))
  return jnp.asarray(np.column_stack([arms + FIRST_ARM, ends]), jnp.int32)


def _pairs(policy, r12=1.0, r21=0.0):
  """Returns all pairs, weighted by the chance that `policy` draws them."""
  log_reference = jnp.log(jnp.asarray(REFERENCE, jnp.float32))
  rows = len(CHOSEN)
  return PreferenceBatch(
    prompt=jnp.full((rows, 1), EOS),
    chosen=_responses(CHOSEN),
    rejected=_responses(REJECTED),
    chosen_reference=log_reference[CHOSEN],
    rejected_reference=log_reference[REJECTED],
    judge_r12=jnp.broadcast_to(jnp.float32(r12), (rows,)),
    judge_r21=jnp.broadcast_to(jnp.float32(r21), (rows,)),
    weight=policy[CHOSEN] * policy[REJECTED],
  )


_pairs_of_table = jax.jit(lambda logits: _pairs(jax.nn.softmax(logits)))


def _train(loss, source, steps, labels="hard"):
  """Trains the table; `source` gives the pairs that a table is to learn from.

  Offline and online differ in `source` alone.
  """
  spec = objectives.Contrastive(loss, reduction="sum", labels=labels)
  optimizer = optimizers.adamw(
    lambda count: 0.3 * 0.002 ** (count / steps), b1=0.5, b2=0.9, eps=1e-14
  )
  one = step.compiled(objectives.contrastive(_score, spec), optimizer)
  start = jnp.log(jnp.asarray(REFERENCE, jnp.float32))
  state = step.init({"logits": start}, optimizer)
  for number in range(steps):
    state, metrics = one(state, source(state.params["logits"]))
    assert bool(metrics.is_finite)
    if number == 0:
      first = float(metrics.means["loss"])
      assert first == pytest.approx(loss.initial_value, rel=1e-4, abs=1e-6)
  return np.float64(jax.nn.softmax(state.params["logits"]))


def _offline(**verdict):
  batch = _pairs(jnp.asarray(REFERENCE, jnp.float32), **verdict)
  return lambda _: batch


@pytest.mark.parametrize(
  ("beta", "offline", "online", "win_rate"),
  [(0.1, 1.30, 2.70, 0.900), (1.0, 0.0407, 0.0413, 0.582)],
)
def test_ipo_finds_the_optimum_offline_and_online(
  beta, offline, online, win_rate
):
  printed = pytest.approx((offline, online, win_rate), rel=0.005)
  assert _continuous(beta) == printed
  for kl, source, is_online in (
    (offline, _offline(), False),
    (online, _pairs_of_table, True),
  ):
    policy = _train(losses.Ipo(beta), source, 300)
    assert _kl(policy) == pytest.approx(kl, rel=0.02)
    assert _win_rate(policy) == pytest.approx(win_rate, rel=0.02)
    optimum = _optimum(beta, online=is_online)
    assert _distance(policy, optimum) < 1e-3


@pytest.mark.parametrize(
  ("form", "beta_of_gpo"),
  [("azar", 0.1), ("calandriello", 0.1), ("eq1_literal", 10.0)],
)
def test_forms_of_ipo_by_their_optimum(form, beta_of_gpo):
  """The three agree; the printed Eq. 1 means 1/beta and hardly moves."""
  policy = _train(losses.Ipo(0.1, form), _offline(), 200)
  kl, _, win_rate = _continuous(beta_of_gpo)
  assert _kl(policy) == pytest.approx(kl, rel=0.02)
  assert _win_rate(policy) == pytest.approx(win_rate, rel=0.02)


def test_soft_labels_are_the_judges_debiased_probability():
  """A judge that gives what it reads first 0.1 more, in either order."""
  quality = 3 * _beats(REFERENCE)
  wins = 1 / (1 + np.exp(quality[None] - quality[:, None]))
  q = wins[CHOSEN, REJECTED]
  source = _offline(r12=q + 0.1, r21=1 - q + 0.1)
  policy = _train(losses.Ipo(0.1), source, 200, labels="soft")
  optimum = _tilted(wins @ REFERENCE / 0.1)
  assert _distance(policy, optimum) < 1e-3
  assert _distance(policy, _optimum(0.1, online=False)) > 0.1


def test_dpo_recovers_the_reward_behind_bradley_terry_labels():
  """pi* ~ pi_ref exp(r/beta) (Rafailov et al. 2023, Eq. 4)."""
  reward = np.sin(np.arange(ARMS))
  q = 1 / (1 + np.exp(reward[REJECTED] - reward[CHOSEN]))
  source = _offline(r12=q, r21=1 - q)
  policy = _train(losses.Dpo(0.5), source, 300, labels="soft")
  assert _distance(policy, _tilted(reward / 0.5)) < 1e-3
