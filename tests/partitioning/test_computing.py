"""Computing on a mesh of eight CPU devices, against a single device."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as Spec

from rlhf_gap import partitioning
from rlhf_gap.models import t5

pytestmark = pytest.mark.slow

CONFIG = t5.T5Config(
  vocab_size=24,
  emb_dim=8,
  num_heads=4,
  head_dim=2,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
# Three heads do not divide: replicated along the model axis.
ODD = dataclasses.replace(CONFIG, num_heads=3)
SOURCE = np.random.default_rng(0).integers(2, 24, (8, 5)).astype(np.int32)
TARGET = np.random.default_rng(1).integers(2, 24, (8, 4)).astype(np.int32)


def _on(sizes):
  return partitioning.Mesh(**sizes).make()


@pytest.mark.parametrize(
  ("config", "sizes"),
  [
    (CONFIG, {}),
    (CONFIG, {"model": 4}),
    (CONFIG, {"fsdp": 8}),
    (CONFIG, {"fsdp": 2, "model": 2}),
    (ODD, {"model": 2}),
  ],
)
def test_logits_are_those_of_a_single_device(config, sizes):
  mesh = _on(sizes)
  params = t5.init(config, jax.random.key(0))
  expected = t5.logits(config, params, jnp.asarray(SOURCE), jnp.asarray(TARGET))
  placed = jax.device_put(params, partitioning.parameters(config, mesh))

  @jax.jit
  def run(params, source, target):
    with partitioning.computing(config):
      source, target = partitioning.constrain_rows((source, target))
      return partitioning.constrain_rows(
        t5.logits(config, params, source, target)
      )

  with partitioning.active(mesh):
    logits = run(
      placed,
      *(partitioning.place_rows(mesh, 8, rows) for rows in (SOURCE, TARGET)),
    )
  rows_each = 8 // (mesh.shape["data"] * mesh.shape["fsdp"])
  assert logits.sharding.shard_shape(logits.shape)[0] == rows_each
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_gathering_over_fsdp_keeps_values_and_the_model_axis():
  mesh = _on({"fsdp": 2, "model": 2})
  params = t5.init(CONFIG, jax.random.key(0))
  placed = jax.device_put(params, partitioning.parameters(CONFIG, mesh))
  kernel = placed["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
  assert kernel.sharding.spec == Spec("fsdp", "model")
  gather = jax.jit(lambda p: partitioning.without_fsdp(CONFIG, p))
  with partitioning.active(mesh):
    gathered = gather(placed)
  for sharding in jax.tree.leaves(jax.tree.map(lambda x: x.sharding, gathered)):
    assert "fsdp" not in jax.tree.leaves(tuple(sharding.spec))
  kernel = gathered["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
  assert kernel.sharding.shard_shape(kernel.shape) == (8, 8)
  jax.tree.map(np.testing.assert_array_equal, gathered, params)


def test_computing_restores_the_rules_of_the_trained_model():
  """After a judge with undivided heads, the policy's heads are split again."""
  mesh = _on({"model": 2})
  activations = jnp.zeros((8, 5, 4, 2))

  def constrain(x):
    axes = ("batch", "length", "heads", "kv")
    return nn.with_logical_constraint(x, axes)

  def judged(x):
    with partitioning.computing(ODD):
      inner = constrain(x)
    return inner, constrain(x)

  with partitioning.active(mesh):
    inner, outer = jax.jit(judged)(activations)
  assert inner.sharding.shard_shape(inner.shape)[2] == 4
  assert outer.sharding.shard_shape(outer.shape)[2] == 2
