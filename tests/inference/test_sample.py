"""Sampling against T5X's greedy decoding and exact enumeration."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rlhf_gap import checkpoints, errors
from rlhf_gap.benchmarks import timing
from rlhf_gap.inference import next_token, sample, score
from rlhf_gap.models import t5
from rlhf_gap.token_ids import EOS_ID, PAD_ID
from tests import reference

pytestmark = pytest.mark.slow

TINY = t5.T5Config(
  vocab_size=7,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=2,
)
PROMPTS = jnp.array(
  [[5, 6, 2, 1, 0], [3, 4, 1, 0, 0], [6, 6, 6, 6, 1], [2, 1, 0, 0, 0]],
  jnp.int32,
)
KEY = jax.random.key(11)

_logits = jax.jit(t5.logits, static_argnums=0)
_response_log_probs = jax.jit(score.response_log_probs, static_argnums=0)


@pytest.fixture(scope="module")
def params():
  return t5.init(TINY, jax.random.key(0))


@pytest.fixture(scope="module")
def other():
  return t5.init(TINY, jax.random.key(1))


@pytest.mark.parametrize("model", ["t5x_1_1", "t5x_1_0"])
def test_greedy_decoding_matches_t5x(model):
  checkpoint = checkpoints.load(reference.checkpoint(model))
  expected = reference.expected(model)
  samples = sample.sample(
    checkpoint.config,
    checkpoint.params,
    jnp.asarray(expected["encoder_input_tokens"]),
    KEY,
    num_samples=1,
    max_length=expected["greedy_tokens"].shape[1],
    temperature=0.0,
  )
  np.testing.assert_array_equal(samples.tokens[:, 0], expected["greedy_tokens"])


@pytest.mark.parametrize(
  "settings",
  [{}, {"temperature": 0.5, "top_k": 3, "top_p": 0.8}, {"temperature": 0.0}],
)
def test_log_probs_are_at_temperature_1_without_truncation(params, settings):
  """They equal teacher-forced scores, whatever the sampling settings."""
  samples = sample.sample(TINY, params, PROMPTS, KEY, max_length=9, **settings)
  scored = _response_log_probs(TINY, params, PROMPTS, samples.tokens)
  np.testing.assert_allclose(samples.log_probs, scored, rtol=0, atol=1e-4)
  assert int(samples.first_bad_step) == -1


def test_eos_ends_a_response_and_padding_follows(params):
  samples = sample.sample(
    TINY, params, PROMPTS, KEY, num_samples=64, max_length=6
  )
  tokens, log_probs = np.asarray(samples.tokens), np.asarray(samples.log_probs)
  ended = (tokens == EOS_ID).any(-1)
  assert 0 < ended.mean() < 1
  for row, scores in zip(
    tokens.reshape(-1, 6), log_probs.reshape(-1, 6), strict=True
  ):
    ends = np.flatnonzero(row == EOS_ID)
    length = ends[0] + 1 if ends.size else 6
    assert (row[:length] != PAD_ID).all()
    assert (row[length:] == PAD_ID).all()
    assert (scores[:length] < 0).all()
    assert (scores[length:] == 0).all()


def test_no_response_ends_before_the_minimum(params):
  samples = sample.sample(
    TINY, params, PROMPTS, KEY, num_samples=32, max_length=5, min_length=3
  )
  tokens = np.asarray(samples.tokens)
  assert (tokens[..., :3] > EOS_ID).all()
  assert (tokens[..., 3] == EOS_ID).any()


def _next_token_probabilities(params, prefix):
  target = jnp.array([[0, *prefix]], jnp.int32)
  logits = _logits(TINY, params, PROMPTS[:1], target)[0, -1]
  return np.asarray(logits, np.float64)


def _softmax(x):
  weights = np.exp(x - x.max())
  return weights / weights.sum()


def _truncated(logits, temperature, top_k, top_p):
  """The definition, by sorting; padding is never sampled."""
  logits = logits / temperature
  logits[PAD_ID] = -np.inf
  order = np.argsort(-logits)
  keep = np.zeros(len(logits), bool)
  if top_k:
    logits[order[top_k:]] = -np.inf
  reached = np.cumsum(_softmax(logits)[order])
  keep[order[: int(np.argmax(reached >= top_p - 1e-12)) + 1]] = True
  return _softmax(np.where(keep, logits, -np.inf))


@pytest.mark.parametrize(
  ("temperature", "top_k", "top_p", "weight"),
  [
    (1.0, 0, 1.0, 0.0),
    (0.6, 0, 1.0, 0.0),
    (1.5, 3, 1.0, 0.0),
    (1.0, 0, 0.7, 0.0),
    (1.3, 4, 0.85, 0.0),
    (1.0, 0, 1.0, 0.4),
  ],
)
def test_frequencies_match_the_exact_probabilities(
  params, other, temperature, top_k, top_p, weight
):
  """A chi-square test over all responses of up to two tokens."""
  count = 6000
  samples = sample.sample(
    TINY,
    params,
    PROMPTS[:1],
    KEY,
    num_samples=count,
    max_length=2,
    temperature=temperature,
    top_k=top_k,
    top_p=top_p,
    mixture=sample.Mixture(other, weight) if weight else None,
  )

  def exact(prefix):
    logits = _next_token_probabilities(params, prefix)
    if weight:
      mixed = _next_token_probabilities(other, prefix)
      logits = (1 - weight) * logits + weight * mixed
    return _truncated(logits, temperature, top_k, top_p)

  first = exact([])
  expected = {(EOS_ID, PAD_ID): first[EOS_ID]}
  for a in range(2, TINY.vocab_size):
    second = exact([a])
    for b in range(1, TINY.vocab_size):
      expected[a, b] = first[a] * second[b]
  assert sum(expected.values()) == pytest.approx(1)
  sampled = [tuple(row) for row in np.asarray(samples.tokens[0]).tolist()]
  assert all(expected[row] > 0 for row in sampled)
  likely = [row for row, p in expected.items() if p * count >= 5]
  observed = [sampled.count(row) for row in likely]
  rest = count - sum(observed)
  probabilities = np.array([expected[row] for row in likely])
  left = 1 - probabilities.sum()
  if left * count >= 1:
    observed, probabilities = [*observed, rest], [*probabilities, left]
  probabilities = np.asarray(probabilities) / np.sum(probabilities)
  frequencies = probabilities * np.sum(observed)
  assert scipy.stats.chisquare(observed, frequencies).pvalue > 1e-3


def test_the_samples_of_a_prompt_differ(params):
  samples = sample.sample(
    TINY, params, PROMPTS, KEY, num_samples=4, max_length=8, min_length=8
  )
  rows = np.asarray(samples.tokens).reshape(16, 8)
  assert len({tuple(row) for row in rows.tolist()}) > 12


def test_a_sample_depends_only_on_its_prompt_and_row_id(params):
  """Not on batch size, position, padding, `num_samples` or `max_length`."""
  ids = jnp.array([40, 41, 42, 43])

  def run(prompts, row_ids, num_samples=3, max_length=6):
    samples = sample.sample(
      TINY,
      params,
      prompts,
      KEY,
      row_ids=row_ids,
      num_samples=num_samples,
      max_length=max_length,
    )
    return np.asarray(samples.tokens)

  base = run(PROMPTS, ids)
  np.testing.assert_array_equal(run(PROMPTS[::-1], ids[::-1])[::-1], base)
  np.testing.assert_array_equal(run(PROMPTS[1:3], ids[1:3]), base[1:3])
  padded = jnp.pad(PROMPTS, ((0, 0), (0, 4)))
  np.testing.assert_array_equal(run(padded, ids), base)
  np.testing.assert_array_equal(run(PROMPTS, ids, num_samples=2), base[:, :2])
  np.testing.assert_array_equal(run(PROMPTS, ids, max_length=4), base[..., :4])
  assert (run(PROMPTS, ids + 4) != base).any()


def test_eight_devices_sample_the_same_responses_as_one(params):
  prompts = jnp.tile(PROMPTS, (2, 1))
  base = sample.sample(TINY, params, prompts, KEY, max_length=6)
  mesh = Mesh(np.array(jax.devices()), ("data",))
  rows = NamedSharding(mesh, PartitionSpec("data"))
  whole = NamedSharding(mesh, PartitionSpec())
  spread = sample.sample(
    TINY,
    jax.device_put(params, whole),
    jax.device_put(prompts, rows),
    KEY,
    max_length=6,
  )
  assert len(spread.tokens.sharding.device_set) == 8
  np.testing.assert_array_equal(spread.tokens, base.tokens)
  np.testing.assert_allclose(spread.log_probs, base.log_probs, atol=1e-5)


def test_new_parameters_and_keys_do_not_recompile(params, other):
  policies = itertools.cycle([params, other])
  steps = itertools.count()

  def call():
    key = jax.random.fold_in(KEY, next(steps))
    policy = next(policies)
    return sample.sample(
      TINY, policy, PROMPTS, key, max_length=7, temperature=0.77
    )

  timed = timing.alternate({"sample": call}, 3)["sample"]
  assert timed.compilations > 0
  assert timed.recompilations == 0


def test_the_first_non_finite_step_is_reported(params):
  flat = jax.tree.map(lambda x: x, params)
  table = flat["decoder"]["relpos_bias"]["rel_embedding"]
  flat["decoder"]["relpos_bias"]["rel_embedding"] = table.at[:, 3].set(jnp.nan)
  samples = sample.sample(TINY, flat, PROMPTS, KEY, max_length=6, min_length=6)
  assert int(samples.first_bad_step) == 3  # where distance 3 first occurs


@pytest.mark.parametrize("vocab_size", [7, 128, 300])
def test_truncation_matches_sorting(vocab_size):
  rng = np.random.default_rng(vocab_size)
  logits = rng.standard_normal((5, vocab_size)).astype(np.float32) * 4
  logits[3, 2:5] = logits[3].max() + 1  # ties at the top
  for k in (1, 2, 5, vocab_size):
    kept = np.isfinite(next_token.keep_top_k(jnp.asarray(logits), k))
    threshold = np.sort(logits, -1)[:, -k][:, None]
    np.testing.assert_array_equal(kept, logits >= threshold)
  for p in (0.05, 0.5, 0.9, 0.999):
    kept = np.isfinite(next_token.keep_top_p(jnp.asarray(logits), p))
    for row, logit in zip(kept, logits.astype(np.float64), strict=True):
      probabilities = _softmax(logit)
      least = probabilities[row].min()
      assert probabilities[row].sum() >= p - 1e-6
      assert probabilities[probabilities > least].sum() < p


def test_inverse_cdf_sampling_by_hand():
  """Weights 1, 2, 1 of 4: [0, 1/4) is 0, [1/4, 3/4) is 1, [3/4, 1) is 2."""
  logits = jnp.log(jnp.array([1.0, 2.0, 1.0]))
  uniforms = jnp.array([0.0, 0.24, 0.26, 0.5, 0.74, 0.76, 0.999])
  pairs = jnp.stack([jnp.full(7, 0.3), uniforms], axis=-1)
  rows = jnp.broadcast_to(logits, (7, 3))
  assert next_token.inverse_cdf(rows, pairs).tolist() == [0, 0, 1, 1, 1, 2, 2]
  # Two blocks of 128: the first number selects the block.
  wide = jnp.full((2, 256), -jnp.inf).at[:, 5].set(0.0).at[:, 200].set(0.0)
  chosen = next_token.inverse_cdf(wide, jnp.array([[0.49, 0.9], [0.51, 0.9]]))
  assert chosen.tolist() == [5, 200]


@pytest.mark.parametrize(
  ("setting", "value"),
  list(
    itertools.chain(
      [("temperature", -0.1), ("top_k", -1), ("min_length", -1)],
      [("top_p", 0.0), ("top_p", 1.1), ("max_length", 0), ("num_samples", 0)],
    )
  ),
)
def test_a_setting_out_of_range_is_named(params, setting, value):
  with pytest.raises(errors.UserError, match=f"{setting}={value}; expected"):
    sample.sample(TINY, params, PROMPTS, KEY, **{setting: value})


def test_sampling_with_bfloat16_activations(params):
  config = dataclasses.replace(TINY, dtype="bfloat16")
  samples = sample.sample(config, params, PROMPTS, KEY, max_length=5)
  scored = _response_log_probs(config, params, PROMPTS, samples.tokens)
  assert samples.log_probs.dtype == jnp.float32
  np.testing.assert_allclose(samples.log_probs, scored, rtol=0, atol=0.1)
