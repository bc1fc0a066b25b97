"""The policy as a classifier, against NumPy float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, stores
from rlhf_gap.evaluation import batches, classification, models
from rlhf_gap.models import t5

CONFIG = t5.T5Config(
  vocab_size=16,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
USING = batches.Batches(16, lambda rows: None)


def _model(seed):
  params = t5.init(CONFIG, jax.random.key(seed))
  return models.Model(
    CONFIG, params, stores.CheckpointIdentity("", str(seed), 0)
  )


@pytest.fixture(scope="module")
def policy():
  return _model(0)


@pytest.fixture(scope="module")
def reference():
  return _model(1)


@pytest.fixture(scope="module")
def pairs():
  """40 pairs of responses of 0 to 6 tokens, some of them without EOS."""
  rng = np.random.default_rng(0)

  def ragged(rows, width):
    tokens = rng.integers(2, 16, (rows, width))
    lengths = rng.integers(0, width + 1, (rows, 1))
    place = np.arange(width)
    ended = np.where(place == lengths, 1, tokens)
    return np.where(place <= lengths, ended, 0).astype(np.int32)

  responses = ragged(80, 6).reshape(40, 2, 6)
  return classification.Pairs(ragged(40, 9), responses)


def _log_probs(model, prompt, response):
  """Log-probabilities of a response's tokens, float64."""
  inputs = np.concatenate(
    [np.zeros_like(response[:, :1]), response[:, :-1]], axis=1
  )
  logits = np.asarray(
    _logits(CONFIG, model.params, jnp.asarray(prompt), jnp.asarray(inputs)),
    np.float64,
  )
  wide = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  return np.take_along_axis(wide, response[..., None], axis=-1)[..., 0]


_logits = jax.jit(t5.logits, static_argnums=0)


def _oracle(model, pairs):
  """Sums and means of every response, one token after another."""
  sums, means = np.zeros((40, 2)), np.zeros((40, 2))
  for side in (0, 1):
    response = pairs.responses[:, side]
    scores = _log_probs(model, pairs.prompt, response)
    for row in range(40):
      kept = [s for s, t in zip(scores[row], response[row], strict=True) if t]
      sums[row, side], means[row, side] = sum(kept), sum(kept) / len(kept)
  return sums, means


def test_accuracies_and_ratios(policy, reference, pairs):
  found = classification.measure(
    *(
      classification.score(model, pairs.prompt, pairs.responses, USING)
      for model in (policy, reference)
    )
  )
  (sums, means), (sums_0, means_0) = (
    _oracle(model, pairs) for model in (policy, reference)
  )
  ratio, mean_ratio = sums - sums_0, means - means_0
  by_sum, by_mean = (r[:, 0] > r[:, 1] for r in (ratio, mean_ratio))
  assert (by_sum != by_mean).any()  # the two reductions are not the same
  assert found["pair_accuracy_sum"].value == by_sum.mean()
  assert found["pair_accuracy_mean"].value == by_mean.mean()
  for name, expected in (
    ("chosen_log_ratio_nats", ratio[:, 0]),
    ("rejected_log_ratio_nats", ratio[:, 1]),
    ("margin_nats", ratio[:, 0] - ratio[:, 1]),
  ):
    assert found[name].value == pytest.approx(expected.mean(), abs=1e-5)
    sem = expected.std(ddof=1) / np.sqrt(40)
    assert found[name].sem == pytest.approx(sem, abs=1e-5)
  assert all(m.n == 40 for m in found.values())


def test_at_the_start_nothing_is_preferred(reference, pairs):
  """The policy is the reference: every rho is exactly 0, a tie."""
  scores = [
    classification.score(reference, pairs.prompt, pairs.responses, USING)
    for _ in range(2)
  ]
  found = classification.measure(*scores)
  assert found["pair_accuracy_sum"].value == 0.5
  assert found["pair_accuracy_sum"].sem == 0.0
  assert found["pair_accuracy_mean"].value == 0.5
  assert found["chosen_log_ratio_nats"].value == 0.0
  assert found["margin_nats"].sem == 0.0


def _scores(rho):
  """Scores whose rho is given, by sum; by mean it is the opposite."""
  rho = np.asarray(rho, np.float32)
  zero = np.zeros_like(rho)
  return classification.Scores(
    np.stack([rho, zero], axis=1), np.stack([-rho, zero], axis=1)
  )


def test_own_samples_are_compared_with_the_judges_order():
  policy, reference = _scores([1, 1, -1, 0, -2, 5, -5]), _scores([0] * 7)
  label = np.array([1, 1, 0, 1, 1, 0.5, 0.5], np.float32)
  found = classification.measure_own(policy, reference, label)
  # Three right, one undecided, one wrong; the judge's two ties are left out.
  assert found["own_pair_accuracy_sum"].value == 3.5 / 5
  assert found["own_pair_accuracy_mean"].value == 1.5 / 5
  assert found["own_pair_accuracy_sum"].n == 5


def test_own_samples_that_are_all_the_same_say_nothing():
  scores = _scores([0, 0])
  label = np.array([0.5, 0.5], np.float32)
  assert classification.measure_own(scores, scores, label) == {}


@pytest.fixture
def store(tmp_path):
  """Ten pairs that a judge labelled; 3 and 7 are ties."""
  path = str(tmp_path / "store")
  manifest = stores.Manifest(
    task="made_up",
    schema="pairs",
    columns=stores.PAIRS,
    feature_lengths={"prompt": 2, "response": 2},
    vocabulary=stores.byte(),
    label=stores.Label("judge", stores.CheckpointIdentity("golden", "ab", 1)),
  )
  values = {}
  for spec in stores.PAIRS:
    shape = (10, *spec.row_shape(manifest.feature_lengths))
    values[spec.name] = np.ones(shape, spec.dtype)
  values["prompt_tokens"][:, 0] = np.arange(2, 12)
  values["chosen_tokens"][:, 0] = np.arange(20, 30)
  values["rejected_tokens"][:, 0] = np.arange(40, 50)
  values["weight"][[3, 7]] = 0
  writer = stores.create(path, manifest)
  writer.append(0, values)
  writer.finish()
  return stores.open(path)


def test_pairs_are_chosen_by_seed_and_ties_left_out(store):
  eight = classification.choose_pairs(store, 8, 0)
  rows = eight.prompt[:, 0] - 2
  assert sorted(rows) == [0, 1, 2, 4, 5, 6, 8, 9]
  np.testing.assert_array_equal(eight.responses[:, 0, 0], rows + 20)
  np.testing.assert_array_equal(eight.responses[:, 1, 0], rows + 40)
  four = classification.choose_pairs(store, 4, 0)
  np.testing.assert_array_equal(four.prompt, eight.prompt[:4])
  others = [classification.choose_pairs(store, 8, seed) for seed in (1, 2, 3)]
  assert any((o.prompt != eight.prompt).any() for o in others)
  assert four.fingerprint != eight.fingerprint
  again = classification.choose_pairs(store, 8, 0)
  assert again.fingerprint == eight.fingerprint


@pytest.mark.parametrize("num_pairs", [0, 1, 9])
def test_too_many_pairs_asked_for(store, num_pairs):
  with pytest.raises(errors.UserError, match="8 pairs that are not ties"):
    classification.choose_pairs(store, num_pairs, 0)


def test_pairs_without_a_label(store):
  manifest = dataclasses.replace(store.manifest, label=stores.Label("none"))
  unlabelled = dataclasses.replace(store, manifest=manifest)
  with pytest.raises(errors.UserError, match="expected labelled pairs"):
    classification.choose_pairs(unlabelled, 4, 0)
