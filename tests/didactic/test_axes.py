"""Bandit and lengths: distributions, losses, training."""

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.didactic import bandit, lengths, training
from rlhf_gap.didactic.problem import DidacticClaim, over_seeds


def test_reference_is_a_squashed_cauchy():
  probabilities = bandit.reference()
  samples = np.tanh(
    -0.7 + 0.4 * np.random.default_rng(0).standard_cauchy(10**6)
  )
  counts, _ = np.histogram(samples, bins=100, range=(-1, 1))
  assert probabilities.sum() == pytest.approx(1, abs=1e-12)
  np.testing.assert_allclose(probabilities, counts / 10**6, atol=1.5e-3)


def test_peaks_of_the_rewards_are_off_and_on_the_reference():
  probabilities = bandit.reference()
  assert bandit.reward(70.0).argmax() == 70
  assert bandit.reward(20.0)[30] == pytest.approx(np.exp(-1))
  assert probabilities @ bandit.reward(20.0) > 5 * (
    probabilities @ bandit.reward(70.0)
  )


def test_length_policy_inverts_its_stop_logits():
  expected = lengths.reference()
  logits = jnp.asarray(lengths.stop_logits(expected), jnp.float32)
  actual = np.exp(np.asarray(lengths.log_policy(logits)))
  np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_skewed_data_are_long():
  base = lengths.reference()
  is_long = np.cumsum(base) >= 0.5
  skewed = lengths.skewed(base)
  assert skewed.sum() == pytest.approx(1)
  assert skewed[is_long].sum() == pytest.approx(0.95)
  assert base @ lengths.share_of_gain(-np.arange(1, 65.0)) == pytest.approx(0)


def test_ipo_of_all_pairs_enumerates_them():
  rng = np.random.default_rng(1)
  ratio, reward = rng.normal(size=(3, 4)), rng.integers(0, 3, size=(3, 4))
  values = [
    (ratio[s, i] - ratio[s, j] - 1 / (2 * 0.2)) ** 2
    for s in range(3)
    for i in range(4)
    for j in range(4)
    if reward[s, i] > reward[s, j]
  ]
  actual = training.ipo_of_all_pairs(
    jnp.asarray(ratio, jnp.float32), jnp.asarray(reward, jnp.float32), 0.2
  )
  assert float(actual) == pytest.approx(np.mean(values), rel=1e-5)


def test_ties_teach_nothing():
  zeros = jnp.zeros((2, 3))
  assert float(training.ipo_of_all_pairs(zeros, zeros, 0.2)) == 0


def test_best_of_all_takes_the_best():
  log_prob = jnp.array([[-1.0, -2.0], [-3.0, -4.0]])
  reward = jnp.array([[0.0, 1.0], [1.0, 0.0]])
  assert float(training.best_of_all(log_prob, reward)) == pytest.approx(2.5)


def test_training_reaches_the_peak_and_repeats():
  start = jnp.log(jnp.asarray(bandit.reference(), jnp.float32))
  task = training.Task(
    lambda x: x - jnp.log(jnp.exp(x).sum()),
    start,
    start,
    jnp.asarray(bandit.reward(20.0), jnp.float32),
    0.05,
  )
  arm = training.arms()["IPO, on-policy"]
  two = training.train({"R2": task}, arm, 2)["R2"]
  three = training.train({"R2": task}, arm, 3)["R2"]
  assert two.shape == (2, training.STEPS + 1)
  assert two[0, 0] == pytest.approx(
    bandit.reference() @ bandit.reward(20.0), rel=1e-5
  )
  assert (two[:, -1] > 0.98).all()
  assert two[0, 100] != two[1, 100]
  np.testing.assert_allclose(three[:2, 100], two[:, 100], atol=1e-3)


@pytest.mark.parametrize(
  ("shift", "verdict"),
  [
    (0.5, Verdict.SUPPORTED),
    (-0.5, Verdict.CONTRADICTED),
    (0.01, Verdict.UNDERPOWERED),
  ],
)
def test_claims_follow_the_difference(shift, verdict):
  noise = np.random.default_rng(2).normal(0, 0.05, 10)
  curves = {}
  for arm in training.arms():
    for task in ("R1", "R2"):
      value = np.zeros(10)
      if task == "R1" and arm.endswith(", on-policy"):
        value = shift + noise
      curves[f"{task}: {arm}"] = value[:, None]
  claim = bandit.BANDIT.claims[0]
  assert isinstance(claim, DidacticClaim)
  assert claim.answer(curves).verdict is verdict


def test_one_seed_decides_nothing():
  estimate = over_seeds(np.array([1.0]))
  assert estimate.num_seeds == 1
  assert estimate.ci95_high == np.inf
