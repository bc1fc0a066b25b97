"""Objectives against NumPy float64: sums, slopes, and what leaves them alone.

The policy is the array of its tokens' log-probabilities itself, so that slopes
are those by every token.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, losses
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.inference import judge
from rlhf_gap.ops import logprobs
from rlhf_gap.training import batch_metrics, objectives
from tests.losses import oracles

BETA = 0.1
TOKENS = np.array(  # [pair, (chosen, rejected), token]
  [
    [[5, 6, 1, 0], [7, 1, 0, 0]],
    [[8, 1, 0, 0], [9, 9, 9, 9]],  # the rejected one was cut
    [[4, 4, 4, 1], [3, 5, 1, 0]],
    [[6, 1, 0, 0], [6, 1, 0, 0]],  # a tie
  ],
  np.int32,
)
MASK = TOKENS > 0
LENGTHS = MASK.sum(-1)
WEIGHT = np.array([1.0, 0.5, 2.0, 0.0])
R12 = np.array([0.9, 0.6, 0.8, 0.5])
R21 = np.array([0.2, 0.5, 0.1, 0.5])

reductions = pytest.mark.parametrize("reduction", ["sum", "mean"])


@pytest.fixture(scope="module")
def log_probs():
  """Policy's and reference's tokens, [2, pair, 2, token]; 0 at pads."""
  draws = np.random.default_rng(0).uniform(-4, -0.1, (2, *TOKENS.shape))
  return np.where(MASK, draws, 0).astype(np.float32)


@pytest.fixture(scope="module")
def batch(log_probs):
  reference = log_probs[1].sum(-1)
  single = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
  return PreferenceBatch(
    prompt=jnp.ones((4, 1), jnp.int32),
    chosen=jnp.asarray(TOKENS[:, 0]),
    rejected=jnp.asarray(TOKENS[:, 1]),
    chosen_reference=single(reference[:, 0]),
    rejected_reference=single(reference[:, 1]),
    judge_r12=single(R12),
    judge_r21=single(R21),
    weight=single(WEIGHT),
  )


def _score(params, prompt, responses, key):
  """Returns the parameters, after a look at what is to be scored."""
  del prompt, key
  mask = logprobs.response_mask(responses)
  return jnp.where(mask, params["log_probs"], 0.0)


def _value(objective, log_probs, batch):
  """Returns the sums and the slope by every token's log-probability."""
  params = {"log_probs": jnp.asarray(log_probs)}
  (loss, sums), slope = jax.jit(
    jax.value_and_grad(objective, has_aux=True), static_argnums=2
  )(params, batch, None)
  assert float(loss) == float(sums["loss"])
  return {k: float(v) for k, v in sums.items()}, np.asarray(slope["log_probs"])


def _reduced(tokens, reduction):
  sides = [
    oracles.reduced(tokens[:, s], LENGTHS[:, s], reduction) for s in (0, 1)
  ]
  return np.stack(sides, axis=1)


def _rho(log_probs, reduction):
  policy, reference = (_reduced(x, reduction) for x in log_probs)
  ratio = policy - reference
  return ratio[:, 0] - ratio[:, 1]


@reductions
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_contrastive_is_its_formula(log_probs, batch, reduction, labels):
  spec = objectives.Contrastive(losses.Ipo(BETA), reduction, labels)
  objective = objectives.contrastive(_score, spec)
  sums, slope = _value(objective, log_probs[0], batch)
  rho = _rho(log_probs, reduction)
  q = 0.5 * (R12 + 1 - R21) if labels == "soft" else np.ones(4)
  values = oracles.expected(lambda x: oracles.ipo_gpo(x, BETA), rho, q)
  assert sums["loss"] == pytest.approx(WEIGHT @ values, rel=1e-5)
  assert sums["rho_nats"] == pytest.approx(WEIGHT @ rho, rel=1e-5)
  assert sums["weight"] == 3.5
  # d/d rho of q (beta rho - 1/2)^2 + (1 - q) (beta rho + 1/2)^2.
  by_rho = WEIGHT * 2 * BETA * (BETA * rho - (q - 0.5))
  per_token = 1 / LENGTHS if reduction == "mean" else np.ones((4, 2))
  by_token = by_rho[:, None] * per_token * np.array([[1, -1]])
  expected = np.where(MASK, by_token[..., None], 0)
  np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-7)


def test_contrastive_reports_pairs_in_nats_summed_over_tokens(log_probs, batch):
  spec = objectives.Contrastive(losses.Ipo(BETA), "mean")
  objective = objectives.contrastive(_score, spec)
  sums, _ = _value(objective, log_probs[0], batch)
  ratio = (np.float64(log_probs[0]) - log_probs[1]).sum(-1)
  expected = {
    "chosen_log_ratio_nats": WEIGHT @ ratio[:, 0],
    "rejected_log_ratio_nats": WEIGHT @ ratio[:, 1],
    "log_ratio_nats": WEIGHT @ ratio.mean(1),
    "accuracy": WEIGHT @ (ratio[:, 0] > ratio[:, 1]),
    # Of all four rows: a tie's responses were sampled like any others.
    "response_length_tokens": 2.5 + 3 + 3.5 + 2,
    "eos_rate": 1 + 0.5 + 1 + 1,
    "rows": 4,
  }
  for name, value in expected.items():
    assert sums[name] == pytest.approx(value, rel=1e-5), name


def test_means_are_over_the_weight_but_for_the_responses():
  sums = {"loss": 6.0, "eos_rate": 3.0, "weight": 2.0, "rows": 4.0}
  means, weight = batch_metrics.means(
    {k: jnp.float32(v) for k, v in sums.items()}
  )
  assert (float(weight), means) == (2, {"loss": 3, "eos_rate": 0.75})


def test_ties_alone_have_no_weight_but_responses(log_probs, batch):
  objective = objectives.contrastive(_score, objectives.Contrastive())
  ties = batch._replace(weight=jnp.zeros(4))
  sums, slope = _value(objective, log_probs[0], ties)
  sums = {name: jnp.float32(value) for name, value in sums.items()}
  means, weight = batch_metrics.means(sums)
  assert weight == means["loss"] == 0
  assert means["response_length_tokens"] == pytest.approx(LENGTHS.mean())
  assert means["eos_rate"] == pytest.approx(3.5 / 4)
  assert not np.any(slope)


@reductions
def test_a_policy_that_is_its_reference_starts_at_the_initial_value(
  log_probs, batch, reduction
):
  spec = objectives.Contrastive(losses.Dpo(BETA), reduction)
  objective = objectives.contrastive(_score, spec)
  sums, slope = _value(objective, log_probs[1], batch)
  mean = sums["loss"] / sums["weight"]
  assert mean == pytest.approx(spec.initial_value, rel=1e-6)
  assert abs(sums["rho_nats"]) < 1e-6
  # Downhill the chosen get likelier and the rejected less so.
  heavy = WEIGHT > 0
  assert (slope[heavy, 0][MASK[heavy, 0]] < 0).all()
  assert (slope[heavy, 1][MASK[heavy, 1]] > 0).all()


def test_a_tie_is_half_accurate(log_probs, batch):
  zeros = np.zeros_like(log_probs[0])
  none = jnp.zeros(4)
  batch = batch._replace(chosen_reference=none, rejected_reference=none)
  objective = objectives.contrastive(_score, objectives.Contrastive())
  sums, _ = _value(objective, zeros, batch)
  assert sums["accuracy"] == 0.5 * WEIGHT.sum()


@reductions
def test_slic_does_without_the_reference(log_probs, batch, reduction):
  spec = objectives.Contrastive(losses.Slic(2.0), reduction)
  assert spec.initial_value is None
  assert spec.needs_reference  # for what is reported
  objective = objectives.contrastive(_score, spec)
  sums, _ = _value(objective, log_probs[0], batch)
  policy = _reduced(log_probs[0], reduction)
  values = oracles.slic(policy[:, 0] - policy[:, 1], 2.0)
  assert sums["loss"] == pytest.approx(WEIGHT @ values, rel=1e-5)


@reductions
def test_best_of_two_imitates_the_winner_alone(log_probs, batch, reduction):
  spec = objectives.BestOfTwo(reduction)
  objective = objectives.best_of_two(_score, spec)
  sums, slope = _value(objective, log_probs[0], batch)
  chosen = _reduced(log_probs[0], reduction)[:, 0]
  assert sums["loss"] == pytest.approx(WEIGHT @ -chosen, rel=1e-5)
  assert sums["rho_nats"] == pytest.approx(
    WEIGHT @ _rho(log_probs, "sum"), rel=1e-5
  )
  per_token = 1 / LENGTHS[:, :1] if reduction == "mean" else np.ones((4, 1))
  expected = np.where(MASK[:, 0], -WEIGHT[:, None] * per_token, 0)
  np.testing.assert_allclose(slope[:, 0], expected, rtol=1e-6)
  assert (slope[:, 1] == 0).all()


def test_sft_is_the_mean_over_the_batchs_tokens(log_probs):
  response = jnp.asarray(TOKENS[:, 0])
  batch = ResponseBatch(
    jnp.ones((4, 1), jnp.int32), response, jnp.asarray(WEIGHT, jnp.float32)
  )
  tokens = log_probs[0][:, :1]
  sums, slope = _value(objectives.sft(_score), tokens, batch)
  lengths = LENGTHS[:, 0]
  assert sums["weight"] == WEIGHT @ lengths
  expected = -WEIGHT @ np.float64(tokens).sum((1, 2))
  assert sums["loss"] == pytest.approx(expected, rel=1e-5)
  by_token = np.where(MASK[:, 0], -WEIGHT[:, None], 0)
  np.testing.assert_array_equal(slope[:, 0], by_token)


WORDS = judge.Words(response_a=(20,), response_b=(21, 22), a=2, b=3)


def _assembled(pair, chosen_first):
  """Prompt 30 31, then the pair without EOS and pads, as the judge reads."""
  sides = [row[row > 1].tolist() for row in pair]
  first, second = sides if chosen_first else sides[::-1]
  return [30, 31, 20, *first, 21, 22, *second, 1]


def _log_odds(params, inputs, key):
  """Weighs every token by what it is and where it stands."""
  del key
  tokens = inputs.astype(jnp.float32) % 7
  return (tokens * params["log_probs"][None, : inputs.shape[1]]).sum(-1)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_preference_model_reads_both_orders(batch, labels):
  batch = batch._replace(prompt=jnp.array([[30, 31, 1]] * 4, jnp.int32))
  weights = np.random.default_rng(1).normal(0, 0.2, 20).astype(np.float32)
  objective = objectives.preference_model(
    _log_odds, WORDS, objectives.PreferenceModel(labels=labels)
  )
  sums, slope = _value(objective, weights, batch)

  def logits(chosen_first):
    inputs = [np.array(_assembled(pair, chosen_first)) % 7 for pair in TOKENS]
    return np.array([x @ np.float64(weights[: len(x)]) for x in inputs])

  q = 0.5 * (R12 + 1 - R21) if labels == "soft" else np.ones(4)
  chosen_first, rejected_first = logits(True), logits(False)
  values = oracles.preference_model(chosen_first, rejected_first, q)
  assert sums["loss"] == pytest.approx(WEIGHT @ values, rel=1e-5)
  r12, r21 = (1 / (1 + np.exp(-x)) for x in (chosen_first, rejected_first))
  for name, expected in (
    ("accuracy", WEIGHT @ (r12 > r21)),
    ("probability_margin", WEIGHT @ (r12 - r21)),
    ("position_bias", WEIGHT @ (r12 + r21 - 1) / 2),
    ("weight", WEIGHT.sum()),
  ):
    assert sums[name] == pytest.approx(expected, rel=1e-5), name
  assert np.abs(slope).max() > 0.1


@pytest.mark.parametrize("name", ["Contrastive", "BestOfTwo"])
def test_a_reduction_that_is_none_is_refused(name):
  with pytest.raises(errors.UserError, match="reduction='total'.*sum, mean"):
    getattr(objectives, name)(reduction="total")


def test_labels_and_ends_that_are_none_are_refused():
  with pytest.raises(errors.UserError, match="labels='firm'.*hard, soft"):
    objectives.Contrastive(labels="firm")
  with pytest.raises(errors.UserError, match="labels='firm'.*hard, soft"):
    objectives.PreferenceModel(labels="firm")
  with pytest.raises(errors.UserError, match="keep='middle'.*end, start"):
    objectives.PreferenceModel(keep="middle")


def test_the_run_log_tells_the_target_and_the_labels():
  line = objectives.Contrastive(losses.Ipo(BETA), "mean", "soft").describe()
  assert "target rho = 5 nats a token" in line
  assert line.endswith("soft labels")
