"""Models held in the types that they compute with: the same, bit for bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap.inference import sample
from rlhf_gap.models import precision, t5

pytestmark = pytest.mark.slow

OWN_HEAD = t5.T5Config(
  vocab_size=128,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
  dtype="bfloat16",
)
TIED = dataclasses.replace(
  OWN_HEAD, mlp_activations=("relu",), logits_via_embedding=True
)
PROMPT = jnp.array([[5, 6, 7, 1], [9, 8, 1, 0]], jnp.int32)


@pytest.mark.parametrize("config", [OWN_HEAD, TIED], ids=["own", "tied"])
def test_narrowed_parameters_change_no_bit_of_what_is_computed(config):
  params = t5.init(config, jax.random.key(0))
  narrowed = precision.as_computed(config, params)

  @jax.jit
  def outcome(params):
    drawn = sample.sample(
      config, params, PROMPT, jax.random.key(1), num_samples=2, max_length=6
    )
    targets = jnp.array([[0, 5, 1], [0, 9, 8]])
    return *drawn, t5.logits(config, params, PROMPT, targets)

  for one, other in zip(outcome(params), outcome(narrowed), strict=True):
    np.testing.assert_array_equal(one, other)


def test_all_but_what_is_read_in_float32_is_halved():
  for config, wide in (
    (OWN_HEAD, {"logits_dense", "relpos_bias"}),
    (TIED, {"token_embedder", "relpos_bias"}),
  ):
    params = t5.init(config, jax.random.key(0))
    narrowed = precision.as_computed(config, params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(narrowed):
      kept = wide & {key.key for key in path}
      assert leaf.dtype == (jnp.float32 if kept else jnp.bfloat16)


def test_a_model_of_float32_stays_as_it_is():
  config = dataclasses.replace(OWN_HEAD, dtype="float32")
  for params in (
    t5.init(config, jax.random.key(0)),
    precision.as_computed(OWN_HEAD, t5.init(config, jax.random.key(0))),
  ):
    held = precision.as_computed(config, params)
    same = jax.tree.map(lambda a, b: a is b, params, held)
    assert all(jax.tree.leaves(same))
