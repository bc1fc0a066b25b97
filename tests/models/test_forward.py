"""The forward pass against NumPy float64, and incremental decoding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.models import attention, decode, layers, t5
from tests.models import float64

pytestmark = pytest.mark.slow

# Few buckets and a short maximum distance, so that short sequences reach all.
T5_1_1 = t5.T5Config(
  vocab_size=24,
  emb_dim=8,
  num_heads=2,
  head_dim=3,
  mlp_dim=10,
  num_encoder_layers=2,
  num_decoder_layers=2,
  num_buckets=8,
  max_distance=6,
)
T5_1_0 = dataclasses.replace(
  T5_1_1, mlp_activations=("relu",), logits_via_embedding=True
)
SOURCE = jnp.array(
  [[5, 6, 7, 8, 9, 10, 11, 12, 1], [9, 8, 1, 0, 0, 0, 0, 0, 0]], jnp.int32
)
TARGET = jnp.array(
  [[0, 11, 12, 13, 14, 15, 16, 17, 18], [0, 14, 3, 20, 1, 0, 0, 0, 0]],
  jnp.int32,
)

_logits = jax.jit(t5.logits, static_argnums=0)


@pytest.fixture(scope="module", params=[T5_1_1, T5_1_0], ids=["1.1", "1.0"])
def model(request):
  """An architecture, and parameters whose every bias and scale matters."""
  config = request.param
  params = t5.init(config, jax.random.key(0))
  leaves, treedef = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  noisy = [
    x + 0.3 * jax.random.normal(key, x.shape)
    for x, key in zip(leaves, keys, strict=True)
  ]
  return config, jax.tree.unflatten(treedef, noisy)


def test_logits_match_float64(model):
  config, params = model
  computed = np.asarray(_logits(config, params, SOURCE, TARGET))
  for row in range(len(SOURCE)):
    source, target = np.asarray(SOURCE[row]), np.asarray(TARGET[row])
    expected = float64.logits(config, params, source, target)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(computed[row], expected, rtol=0, atol=1e-4)


def test_the_float64_model_ignores_padding(model):
  """So that the comparison above also covers the padding masks."""
  config, params = model
  target = np.asarray(TARGET[1])[:5]
  padded = float64.logits(config, params, np.asarray(SOURCE[1]), target)
  alone = float64.logits(config, params, np.asarray(SOURCE[1])[:3], target)
  np.testing.assert_allclose(padded, alone, rtol=0, atol=1e-12)


def test_incremental_decoding_equals_teacher_forcing(model):
  """Two responses per prompt, token by token, from their caches."""
  config, params = model
  responses = jnp.stack([TARGET, TARGET[::-1]], axis=1)
  encoded = decode.prompts(config, params, SOURCE)
  caches = decode.empty_caches(config, 2, 2, responses.shape[2])
  step = jax.jit(decode.step, static_argnums=0)
  for position in range(responses.shape[2]):
    logits, caches = step(
      config,
      params,
      responses[..., position],
      caches,
      encoded,
      jnp.int32(position),
    )
    for number in range(2):
      expected = _logits(config, params, SOURCE, responses[:, number])
      np.testing.assert_allclose(
        logits[:, number], expected[:, position], rtol=0, atol=1e-4
      )


def test_responses_of_a_prompt_do_not_attend_to_each_other(model):
  config, params = model
  encoded = t5.encode(config, params, SOURCE)

  def hidden(responses):
    return t5.decode(config, params, encoded, SOURCE, responses)

  responses = jnp.stack([TARGET, TARGET[::-1]], axis=1)
  changed = responses.at[:, 1, 1:].set(21)
  before, after = hidden(responses), hidden(changed)
  np.testing.assert_array_equal(before[:, 0], after[:, 0])
  assert (before[:, 1, 1:] != after[:, 1, 1:]).any(-1).all()


def test_gradients_are_causal(model):
  """A position's logits depend on the whole prompt and on earlier targets."""
  config, params = model
  position = 3

  def output(source_shift, target_shift):
    # A shift per position, through the embeddings of distinct token ids.
    table = params["token_embedder"]["embedding"]
    table = table.at[SOURCE[0]].add(source_shift)
    table = table.at[TARGET[0]].add(target_shift)
    tree = {**params, "token_embedder": {"embedding": table}}
    if config.logits_via_embedding:  # keep the tied head out of the gradient
      tied = dataclasses.replace(config, logits_via_embedding=False)
      head = {"kernel": params["token_embedder"]["embedding"].T}
      decoder = {**params["decoder"], "logits_dense": head}
      tree = {**tree, "decoder": decoder}
      return t5.logits(tied, tree, SOURCE[:1], TARGET[:1])[0, position].sum()
    return t5.logits(config, tree, SOURCE[:1], TARGET[:1])[0, position].sum()

  size = (SOURCE.shape[1], config.emb_dim)
  zeros = jnp.zeros(size), jnp.zeros(size)
  source, target = map(np.asarray, jax.grad(output, (0, 1))(*zeros))
  assert (np.abs(source).max(1) > 0).all()
  assert (np.abs(target[: position + 1]).max(1) > 0).all()
  assert (target[position + 1 :] == 0).all()


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20)])
def test_buckets_match_the_published_rule(
  bidirectional, num_buckets, max_distance
):
  """Every distance up to three times the maximum, in both directions."""
  positions = np.arange(-3 * max_distance, 3 * max_distance + 1)
  buckets = attention.relative_position_buckets(
    positions,
    bidirectional=bidirectional,
    num_buckets=num_buckets,
    max_distance=max_distance,
  )
  expected = [
    float64.bucket(int(p), bidirectional, num_buckets, max_distance)
    for p in positions
  ]
  np.testing.assert_array_equal(buckets, expected)
  assert set(expected) <= set(range(num_buckets))


def test_one_row_of_the_bias_is_a_row_of_the_whole():
  """Incremental decoding slices the same causal bias, one query at a time."""
  length = 11
  module = attention.RelativePositionBias(2, 8, 6)
  variables = module.init(
    jax.random.key(0), length, length, bidirectional=False
  )
  whole = module.apply(variables, length, length, bidirectional=False)[0]
  for position in range(length):
    row = module.apply(variables, jnp.int32(position), length, method="row")
    visible = slice(0, position + 1)
    np.testing.assert_array_equal(row[:, visible], whole[:, position, visible])
    assert (np.asarray(row)[:, position + 1 :] <= -1e9).all()


def test_dense_layers_compute_in_their_dtype():
  layer = layers.Dense(3, ("embed", "mlp"), jnp.dtype("bfloat16"))
  x = jnp.ones((2, 4), jnp.float32)
  variables = layer.init(jax.random.key(0), x)
  kernel = variables["params"]["kernel"].unbox()
  assert kernel.dtype == jnp.float32
  assert layer.apply(variables, x).dtype == jnp.bfloat16


def test_layer_norm_is_computed_in_float32():
  """A mean of 256 squares in bfloat16 would lose most of its precision."""
  x = np.linspace(1.0, 300.0, 256).astype(np.float32)[None]
  layer = layers.LayerNorm(jnp.dtype("bfloat16"))
  variables = layer.init(jax.random.key(0), jnp.asarray(x))
  normed = np.asarray(layer.apply(variables, jnp.asarray(x)), np.float64)
  wide = x.astype(np.float64)
  expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6)
  # One rounding to bfloat16's 8 bits, and no more.
  np.testing.assert_allclose(normed, expected, rtol=2**-8)
