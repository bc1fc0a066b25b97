"""Log-probabilities and KL against NumPy float64 and exact enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.inference import score
from rlhf_gap.models import t5
from rlhf_gap.ops import logprobs
from tests.inference.test_sample import PROMPTS, TINY

pytestmark = pytest.mark.slow

_logits = jax.jit(t5.logits, static_argnums=0)
_response_log_probs = jax.jit(score.response_log_probs, static_argnums=0)
_token_log_probs = jax.jit(score.token_log_probs, static_argnums=0)
_per_step_kl = jax.jit(score.per_step_kl, static_argnums=0)

RESPONSES = jnp.array(
  [
    [[3, 4, 1, 0], [2, 1, 0, 0]],
    [[5, 5, 5, 5], [6, 2, 3, 1]],
    [[1, 0, 0, 0], [4, 1, 0, 0]],
    [[2, 2, 1, 0], [0, 0, 0, 0]],
  ],
  jnp.int32,
)


@pytest.fixture(scope="module")
def params():
  return t5.init(TINY, jax.random.key(0))


@pytest.fixture(scope="module")
def reference_params(params):
  noise = t5.init(TINY, jax.random.key(5))
  return jax.tree.map(lambda a, b: a + 0.3 * b, params, noise)


def _oracle(params, prompts, responses):
  """Scores each response separately, from its logits, in float64."""
  rows = []
  for prompt, response in zip(prompts, responses, strict=True):
    target = jnp.concatenate([jnp.zeros(1, jnp.int32), response[:-1]])
    logits = _logits(TINY, params, prompt[None], target[None])[0]
    wide = np.asarray(logits, np.float64)
    log_p = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    picked = log_p[np.arange(len(response)), np.asarray(response)]
    rows.append(np.where(np.asarray(response) > 0, picked, 0.0))
  return np.stack(rows)


def test_responses_that_share_an_encoding_do_not_interact(params):
  scores = _response_log_probs(TINY, params, PROMPTS, RESPONSES)
  for number in range(2):
    alone = _token_log_probs(TINY, params, PROMPTS, RESPONSES[:, number])
    expected = _oracle(params, PROMPTS, RESPONSES[:, number])
    np.testing.assert_allclose(scores[:, number], expected, atol=1e-5)
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)


def test_eos_is_scored_and_padding_is_not(params):
  scores = _response_log_probs(TINY, params, PROMPTS, RESPONSES)
  mask = np.asarray(RESPONSES) > 0
  assert (np.asarray(scores)[~mask] == 0).all()
  assert (np.asarray(scores)[mask] < 0).all()
  longer = jnp.pad(RESPONSES, ((0, 0), (0, 0), (0, 3)))
  padded = _response_log_probs(TINY, params, PROMPTS, longer)
  np.testing.assert_allclose(padded[..., :4], scores, rtol=0, atol=1e-5)


def test_sum_and_mean_exclude_padding():
  log_probs = jnp.array([[-1.0, -2.0, -4.0], [-3.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
  mask = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
  sums = logprobs.sequence_sum(log_probs, mask)
  means = logprobs.sequence_mean(log_probs, mask)
  np.testing.assert_allclose(sums, [-7.0, -3.0, 0.0])
  np.testing.assert_allclose(means, [-7.0 / 3, -3.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("limit", [7 * 4 * 8, 7 * 4 * 3])
def test_chunking_preserves_scores_and_gradients(params, monkeypatch, limit):
  def total(p):
    scores = score.response_log_probs(TINY, p, PROMPTS, RESPONSES)
    return (scores * jnp.arange(1.0, 5.0)[None, None]).sum()

  whole = jax.jit(jax.value_and_grad(total))(params)
  monkeypatch.setattr(score, "MAX_LOGIT_BYTES", limit)
  parts = jax.jit(jax.value_and_grad(lambda p: total(p)))(params)
  for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jaxpr = str(jax.make_jaxpr(total)(params))
  assert "scan" in jaxpr


def test_the_gradient_is_onehot_minus_softmax():
  rng = np.random.default_rng(0)
  logits = rng.standard_normal((6, 5)).astype(np.float32)
  tokens = jnp.array([0, 4, 2, 2, 1, 3])
  cotangent = jnp.asarray(rng.standard_normal(6), jnp.float32)
  _, pull = jax.vjp(
    lambda x: logprobs.from_logits(x, tokens), jnp.asarray(logits)
  )
  wide = np.exp(logits.astype(np.float64))
  softmax = wide / wide.sum(-1, keepdims=True)
  expected = (np.eye(5)[np.asarray(tokens)] - softmax) * cotangent[:, None]
  np.testing.assert_allclose(pull(cotangent)[0], expected, rtol=0, atol=1e-6)


def _log_softmax(params, prefix):
  target = jnp.array([[0, *prefix]], jnp.int32)
  logits = _logits(TINY, params, PROMPTS[:1], target)[0, -1]
  wide = np.asarray(logits, np.float64)
  return wide - np.log(np.exp(wide).sum())


def test_kl_matches_an_enumeration_of_all_responses(params, reference_params):
  """E_p[sum_t KL_t] = sum_y p(y) log(p(y) / q(y)) over responses of 2 tokens.

  The enumeration includes padding as an ordinary token, so that probabilities
  sum to 1; `per_step_kl` masks what follows it.
  """
  words = range(TINY.vocab_size)
  first = {
    name: _log_softmax(p, []) for name, p in _both(params, reference_params)
  }
  exact = expected = 0.0
  pairs = jnp.array(list(itertools.product(words, words)), jnp.int32)[None]
  steps = np.asarray(
    _per_step_kl(TINY, params, reference_params, PROMPTS[:1], pairs)[0],
    np.float64,
  ).reshape(TINY.vocab_size, TINY.vocab_size, 2)
  for a in words:
    second = {
      n: _log_softmax(p, [a]) for n, p in _both(params, reference_params)
    }
    log_p = first["policy"][a] + second["policy"]
    log_q = first["reference"][a] + second["reference"]
    if a == 0:  # steps after padding are masked: count only the first
      exact += np.exp(first["policy"][0]) * (
        first["policy"][0] - first["reference"][0]
      )
      continue
    exact += (np.exp(log_p) * (log_p - log_q)).sum()
    # Neither step's divergence depends on the last token, unless it is padding.
    expected += np.exp(first["policy"][a]) * steps[a, 1].sum()
  expected += np.exp(first["policy"][0]) * steps[1, 1, 0]
  assert expected == pytest.approx(exact, abs=1e-5)
  assert exact > 0.01


def _both(params, reference_params):
  return (("policy", params), ("reference", reference_params))


def test_kl_of_a_policy_with_itself_is_exactly_zero(params):
  steps = _per_step_kl(TINY, params, params, PROMPTS, RESPONSES)
  assert (np.asarray(steps) == 0).all()
