"""T5 against T5X and transformers, and the properties it must have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import checkpoints
from rlhf_gap.models import attention, layers, t5
from tests import reference

pytestmark = pytest.mark.slow

TINY = t5.T5Config(
  vocab_size=32,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
SOURCE = jnp.array([[5, 6, 7, 1, 0, 0], [9, 8, 1, 0, 0, 0]], jnp.int32)
TARGET = jnp.array([[0, 11, 12, 13], [0, 14, 1, 0]], jnp.int32)


@pytest.fixture(scope="module")
def params():
  return t5.init(TINY, jax.random.key(0))


def _logits(config, params, source=SOURCE, target=TARGET, **kwargs):
  compiled = jax.jit(t5.logits, static_argnums=0)
  return np.asarray(compiled(config, params, source, target, **kwargs))


@pytest.mark.parametrize("model", reference.MODELS)
def test_logits_and_likelihoods_are_the_other_implementations(model):
  checkpoint = checkpoints.load(reference.checkpoint(model))
  expected = reference.expected(model)
  target = expected["decoder_target_tokens"]
  logits = _logits(
    checkpoint.config,
    checkpoint.params,
    expected["encoder_input_tokens"],
    expected["decoder_input_tokens"],
  )
  real = target > 0
  difference = np.abs(logits - expected["logits"])[real]
  assert difference.max() <= 1e-4
  if "sequence_log_likelihood" in expected:
    wide = logits.astype(np.float64)
    log_probs = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_probs, target[..., None], -1)[..., 0]
    likelihood = (chosen * real).sum(-1)
    np.testing.assert_allclose(
      likelihood, expected["sequence_log_likelihood"], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("model", ["t5x_1_1", "t5x_1_0"])
def test_names_shapes_and_logical_axes_are_t5x(model):
  sizes = reference.table(model, "config")
  del sizes["vocabulary"], sizes["step"]
  activations = tuple(sizes.pop("mlp_activations"))
  config = t5.T5Config(**sizes, mlp_activations=activations)
  shapes = {
    f"target/{name}": [list(leaf.shape), leaf.dtype.name]
    for name, leaf in _flat(t5.param_shapes(config)).items()
  }
  axes = {
    f"{name}_axes": list(spec)
    for name, spec in _flat(t5.logical_axes(config)).items()
  }
  leaves = reference.table(model, "state_shapes").items()
  assert shapes == {k: v for k, v in leaves if k.startswith("target/")}
  assert axes == reference.table(model, "logical_axes")


def _flat(tree, prefix=""):
  if not isinstance(tree, dict):
    return {prefix[:-1]: tree}
  parts = [_flat(value, f"{prefix}{key}/") for key, value in tree.items()]
  return {name: leaf for part in parts for name, leaf in part.items()}


def test_a_position_sees_earlier_targets_and_the_whole_prompt(params):
  """Changing target j moves logits at positions >= j, and no others."""
  base = _logits(TINY, params)
  for j in range(TARGET.shape[1]):
    changed = np.array(TARGET)
    changed[:, j] = 20
    moved = np.abs(_logits(TINY, params, target=changed) - base).max((0, 2))
    assert (moved[:j] == 0).all()
    assert (moved[j:] > 0).all()
  changed = np.array(SOURCE)
  changed[0, 3] = 20
  moved = np.abs(_logits(TINY, params, source=changed) - base).max((1, 2))
  assert moved[0] > 0
  assert moved[1] == 0


def test_padding_and_batch_order_change_nothing(params):
  base = _logits(TINY, params)
  padded = np.pad(SOURCE, ((0, 0), (0, 3)))
  longer = np.pad(TARGET, ((0, 0), (0, 2)))
  wide = _logits(TINY, params, source=padded, target=longer)
  np.testing.assert_allclose(wide[:, :4], base, rtol=0, atol=1e-5)
  swapped = _logits(TINY, params, source=SOURCE[::-1], target=TARGET[::-1])
  np.testing.assert_allclose(swapped[::-1], base, rtol=0, atol=1e-6)


def test_bfloat16_activations_give_float32_logits_nearby(params):
  config = dataclasses.replace(TINY, dtype="bfloat16")
  logits = _logits(config, params)
  base = _logits(TINY, params)
  assert logits.dtype == np.float32
  difference = np.abs(logits - base).max()
  assert 0 < difference < 0.1 * np.abs(base).max()


def test_dropout_acts_with_a_key_and_never_without(params):
  config = dataclasses.replace(TINY, dropout_rate=0.5)
  base = _logits(TINY, params)
  np.testing.assert_array_equal(_logits(config, params), base)
  first = _logits(config, params, dropout_key=jax.random.key(1))
  again = _logits(config, params, dropout_key=jax.random.key(1))
  other = _logits(config, params, dropout_key=jax.random.key(2))
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, base)
  assert not np.allclose(first, other)


def test_dropout_shares_its_mask_along_the_length():
  x = jnp.ones((2, 5, 64))
  dropped = layers.Dropout(0.25).apply(
    {}, x, rngs={"dropout": jax.random.key(0)}
  )
  np.testing.assert_array_equal(dropped, dropped[:, :1].repeat(5, axis=1))
  kept = np.asarray(dropped) > 0
  np.testing.assert_allclose(np.asarray(dropped)[kept], 1 / 0.75, rtol=1e-6)
  assert 0.6 < kept.mean() < 0.9


@pytest.mark.parametrize("policy", ["minimal", "full"])
def test_remat_recomputes_and_keeps_the_gradient(params, policy):
  def gradient(config):
    def loss(p):
      return jnp.square(t5.logits(config, p, SOURCE, TARGET)).mean()

    return jax.jit(jax.grad(loss))

  rematted = dataclasses.replace(TINY, remat_policy=policy)
  plain, again = gradient(TINY)(params), gradient(rematted)(params)
  for name, leaf in _flat(plain).items():
    np.testing.assert_allclose(
      _flat(again)[name], leaf, rtol=1e-4, atol=1e-6, err_msg=name
    )
  jaxpr = str(gradient(rematted).trace(params).jaxpr)
  assert "checkpoint" in jaxpr or "remat" in jaxpr
  assert "remat" not in str(gradient(TINY).trace(params).jaxpr)


def test_relative_position_buckets_by_hand():
  """32 buckets to distance 128: worked out from the definition.

  Decoder: exact below 16, then 16 + floor(16 ln(d/16) / ln 8): d = 32 gives
  16 + floor(5.33) = 21, d = 128 gives 32, clipped to 31. Encoder: half as many
  each way; exact below 8, then 8 + floor(8 ln(d/8) / ln 16); later keys + 16.
  """

  def buckets(positions, bidirectional):
    return attention.relative_position_buckets(
      np.array(positions),
      bidirectional=bidirectional,
      num_buckets=32,
      max_distance=128,
    ).tolist()

  causal = [5, 0, -1, -15, -16, -32, -64, -127, -128, -5000]
  assert buckets(causal, False) == [0, 0, 1, 15, 16, 21, 26, 31, 31, 31]
  both = [0, -7, -8, -16, -32, -64, -200, 1, 7, 8, 16, 64, 200]
  expected = [0, 7, 8, 10, 12, 14, 15, 17, 23, 24, 26, 30, 31]
  assert buckets(both, True) == expected


def test_initial_scales_are_t5x():
  config = dataclasses.replace(TINY, emb_dim=64, head_dim=16, mlp_dim=256)
  flat = _flat(t5.init(config, jax.random.key(3)))
  expected = {
    "token_embedder/embedding": 1.0,
    "encoder/layers_0/attention/query/kernel": 1 / np.sqrt(64 * 16),
    "encoder/layers_0/attention/key/kernel": 1 / np.sqrt(64),
    "encoder/layers_0/mlp/wo/kernel": 1 / np.sqrt(256),
    "decoder/logits_dense/kernel": 1 / np.sqrt(64),
    "decoder/relpos_bias/rel_embedding": np.sqrt(2 / (2 + 32)),
  }
  for name, deviation in expected.items():
    assert np.std(flat[name]) == pytest.approx(deviation, rel=0.15), name


@pytest.mark.parametrize(
  "field",
  [
    {"dtype": "float16"},
    {"remat_policy": "some"},
    {"dropout_rate": 1.0},
    {"mlp_activations": ("swish",)},
  ],
)
def test_an_impossible_configuration_is_named(field):
  with pytest.raises(ValueError, match=next(iter(field))):
    dataclasses.replace(TINY, **field)
