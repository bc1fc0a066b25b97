"""Win rate and KL against enumeration: eight words, responses of two."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import stores
from rlhf_gap.evaluation import batches, kl, models, samples, win_rate
from rlhf_gap.inference import judge
from rlhf_gap.models import t5

pytestmark = pytest.mark.slow

POLICY = t5.T5Config(
  vocab_size=8,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
JUDGE = t5.T5Config(**{**POLICY.__dict__, "vocab_size": 12})
WORDS = judge.Words(response_a=(8,), response_b=(9,), a=10, b=11)
PROMPT = np.array([5, 3, 6, 1, 0], np.int32)
NUM_PROMPTS = 600
# A pad would end a response; only the arithmetic of the KL meets one.
RESPONSES = np.array(
  [
    (first, second)
    for first, second in itertools.product(range(8), repeat=2)
    if first > 1 or second == 0
  ],
  np.int32,
)


def _model(config, seed):
  # Larger than at initialisation, so that no distribution is near uniform.
  params = jax.tree.map(
    lambda x: 1.5 * x, t5.init(config, jax.random.key(seed))
  )
  return models.Model(
    config, params, stores.CheckpointIdentity("", str(seed), 0)
  )


@pytest.fixture(scope="module")
def policy():
  return _model(POLICY, 1)


@pytest.fixture(scope="module")
def opponent():
  return _model(POLICY, 8)


@pytest.fixture
def using():
  return batches.Batches(50, lambda rows: None)


_logits = jax.jit(t5.logits, static_argnums=0)


def _step_logits(model):
  """Float64 logits of the first token, and of the second after each first."""
  start = np.zeros((8, 2), np.int32)
  start[:, 1] = np.arange(8)
  prompt = np.broadcast_to(PROMPT, (8, 5))
  logits = np.asarray(
    _logits(
      model.config, model.params, jnp.asarray(prompt), jnp.asarray(start)
    ),
    np.float64,
  )
  return logits[0, 0], logits[:, 1]


def _log_softmax(logits):
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _sequence_log_probs(model, without_pads):
  """Log-probability of each of RESPONSES, by the chain rule."""
  first, second = _step_logits(model)
  if without_pads:
    first, second = first.copy(), second.copy()
    first[0] = second[:, 0] = -np.inf
  first, second = _log_softmax(first), _log_softmax(second)
  return np.array(
    [first[a] + (second[a, b] if a > 1 else 0.0) for a, b in RESPONSES]
  )


def _prompts():
  manifest = stores.Manifest(
    task="made_up",
    schema="prompts",
    columns=stores.PROMPTS,
    feature_lengths={"prompt": 5},
    vocabulary=stores.byte(),
  )
  return samples.Prompts(
    np.arange(NUM_PROMPTS),
    np.tile(PROMPT, (NUM_PROMPTS, 1)),
    np.arange(NUM_PROMPTS),
    manifest,
    "prompts",
  )


def _drawn(path, model, role, using):
  plan = samples.Plan(_prompts(), 0, 2, 50, 0, role)
  return samples.responses(
    samples.sample_missing(str(path), model, plan, using), NUM_PROMPTS
  )


def test_the_kl_along_all_responses_is_the_kl(policy, opponent, using):
  log_p, log_q = (
    _sequence_log_probs(m, without_pads=False) for m in (policy, opponent)
  )
  assert np.exp(log_p).sum() == pytest.approx(1.0)
  exact = (np.exp(log_p) * (log_p - log_q)).sum()
  # A response that is empty, or ends in a pad, has the same first step as one
  # that ends: its KL is that of the steps that were taken.
  ended = np.where(RESPONSES == 0, 1, RESPONSES)
  ended[RESPONSES[:, 0] < 2, 1] = 0
  prompt = np.tile(PROMPT, (len(ended), 1))
  along = kl.along(policy, opponent, prompt, ended, using)
  assert (np.exp(log_p) * along).sum() == pytest.approx(exact, abs=1e-5)
  assert exact > 0.1


def test_the_kl_of_samples_is_near_the_kl(tmp_path, policy, opponent, using):
  chance = np.exp(_sequence_log_probs(policy, without_pads=True))
  own = _drawn(tmp_path / "own", policy, "policy", using)
  along = kl.along(policy, opponent, _prompts().tokens, own, using)
  measured = kl.measure(along)["kl_nats"]
  place = {tuple(y): i for i, y in enumerate(RESPONSES.tolist())}
  every = kl.along(
    policy, opponent, np.tile(PROMPT, (len(RESPONSES), 1)), RESPONSES, using
  )
  assert abs(measured.value - chance @ every) < 3.5 * measured.sem
  # Each value is that of its response, whatever batch it was in.
  np.testing.assert_allclose(
    along, [every[place[tuple(y)]] for y in own.tolist()], atol=1e-5
  )


def test_the_kl_of_a_policy_from_itself_is_exactly_zero(policy, using):
  prompt = np.tile(PROMPT, (len(RESPONSES), 1))
  assert not kl.along(policy, policy, prompt, RESPONSES, using).any()


def _labels(model):
  """1, 1/2 or 0 for every pair of RESPONSES, both orders, by plain lists."""
  bare = [[t for t in y if t > 1] for y in RESPONSES.tolist()]
  count = len(bare)
  inputs = np.zeros((count * count, 12), np.int32)
  for row, (a, b) in enumerate(itertools.product(bare, repeat=2)):
    joined = [5, 3, 6, 8, *a, 9, *b, 1]
    inputs[row, : len(joined)] = joined
  logits = np.asarray(
    _logits(
      JUDGE, model.params, jnp.asarray(inputs), jnp.zeros((len(inputs), 1), int)
    )[:, 0],
    np.float64,
  )
  first = 1 / (1 + np.exp(logits[:, 11] - logits[:, 10])).reshape(count, count)
  return np.where(
    [[a == b for b in bare] for a in bare], 0.5, first > first.T
  ).astype(np.float64)


def test_the_win_rate_is_the_enumerated_one(tmp_path, policy, opponent, using):
  golden = _model(JUDGE, 3)
  labels = _labels(golden)
  assert 0.2 < labels.mean() < 0.8
  p, q = (
    np.exp(_sequence_log_probs(m, without_pads=True))
    for m in (policy, opponent)
  )
  exact, ties = p @ labels @ q, p @ (labels == 0.5) @ q
  own = _drawn(tmp_path / "own", policy, "policy", using)
  other = _drawn(tmp_path / "other", opponent, "golden_policy", using)
  by = win_rate.Judge(golden, WORDS, 12, "end")
  verdict = win_rate.compare(by, _prompts().tokens, own, other, using)
  measured = win_rate.measure(verdict)
  assert abs(measured["win_rate"].value - exact) < 3 * measured["win_rate"].sem
  assert abs(measured["tie_rate"].value - ties) < 3 * measured["tie_rate"].sem
  assert 0.02 < ties < 0.5
  place = {tuple(y): i for i, y in enumerate(RESPONSES.tolist())}
  expected = [
    labels[place[tuple(a)], place[tuple(b)]]
    for a, b in zip(own.tolist(), other.tolist(), strict=True)
  ]
  np.testing.assert_array_equal(win_rate.by_prompt(verdict), expected)


def test_a_policy_wins_half_of_the_time_against_itself(tmp_path, policy, using):
  """Its opponents' samples are its own, but not the same random bits."""
  golden = _model(JUDGE, 3)
  own = _drawn(tmp_path / "own", policy, "policy", using)
  other = _drawn(tmp_path / "other", policy, "golden_policy", using)
  by = win_rate.Judge(golden, WORDS, 12, "end")
  verdict = win_rate.compare(by, _prompts().tokens, own, other, using)
  measured = win_rate.measure(verdict)
  assert measured["win_rate"].ci95_low < 0.5 < measured["win_rate"].ci95_high
  assert measured["tie_rate"].value < 0.5
