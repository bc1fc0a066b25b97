"""Shardings of parameters, optimizer state and batches; compiles nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as Spec

from rlhf_gap import errors, partitioning
from rlhf_gap.models import t5
from rlhf_gap.training import configured, step

CONFIG = t5.T5Config(
  vocab_size=256,
  emb_dim=128,
  num_heads=4,
  head_dim=8,
  mlp_dim=256,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
LAYER = "layers_0"


@pytest.fixture(scope="module")
def mesh():
  return partitioning.Mesh(model=2, fsdp=2).make()


def _specs(shardings):
  return jax.tree.map(lambda sharding: sharding.spec, shardings)


def test_remaining_devices_form_the_data_axis(mesh):
  assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "model": 2}
  assert partitioning.Mesh().shape(8) == (8, 1, 1)
  assert partitioning.Mesh(model=4, data=2).shape(8) == (2, 1, 4)


@pytest.mark.parametrize(
  ("sizes", "message"),
  [
    ({"model": 3}, "data=auto x fsdp=1 x model=3 .* 8 devices"),
    ({"model": 2, "data": 2}, "data=2 x fsdp=1 x model=2 .* 8 devices"),
    ({"model": 16}, "does not multiply out"),
  ],
)
def test_a_mesh_that_does_not_multiply_out_is_reported_in_one_line(
  sizes, message
):
  with pytest.raises(errors.UserError, match=message) as raised:
    partitioning.Mesh(**sizes).make()
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_rejected(size):
  with pytest.raises(errors.UserError, match=f"fsdp={size}; expected a whole"):
    partitioning.Mesh(**{"fsdp": size})


def test_parameters_follow_the_rules_of_t5x(mesh):
  specs = _specs(partitioning.parameters(CONFIG, mesh))
  decoder = specs["decoder"][LAYER]
  assert decoder["self_attention"]["query"]["kernel"] == Spec("fsdp", "model")
  assert decoder["self_attention"]["out"]["kernel"] == Spec("model", "fsdp")
  assert decoder["mlp"]["wi_0"]["kernel"] == Spec("fsdp", "model")
  assert decoder["mlp"]["wo"]["kernel"] == Spec("model", "fsdp")
  assert decoder["pre_mlp_layer_norm"]["scale"] == Spec("fsdp")
  assert specs["token_embedder"]["embedding"] == Spec("model", "fsdp")
  bias = specs["encoder"]["relpos_bias"]["rel_embedding"]
  assert bias == Spec("model", None)


def test_kernels_are_split_over_fsdp_and_model(mesh):
  shardings = partitioning.parameters(CONFIG, mesh)
  shapes = t5.param_shapes(CONFIG)
  fractions = jax.tree.map(
    lambda sharding, x: np.prod(sharding.shard_shape(x.shape)) / x.size,
    shardings,
    shapes,
  )
  kernels = [share for share in jax.tree.leaves(fractions) if share < 0.5]
  assert set(kernels) == {0.25}
  assert len(kernels) == 4 + 8 + 2 * 3 + 2  # attention, mlp, embedding, head


def test_dimensions_that_do_not_divide_are_replicated(mesh):
  odd = dataclasses.replace(CONFIG, vocab_size=255)
  specs = _specs(partitioning.parameters(odd, mesh))
  assert specs["token_embedder"]["embedding"] == Spec(None, "fsdp")


@pytest.mark.parametrize(
  ("field", "size", "message"),
  [
    ("num_heads", 3, "model=2 does not divide the model's 3 attention heads"),
    ("mlp_dim", 255, "model=2 does not divide the model's 255 feed-forward"),
  ],
)
def test_a_trained_model_must_be_divided(mesh, field, size, message):
  config = dataclasses.replace(CONFIG, **{field: size})
  with pytest.raises(errors.UserError, match=message):
    partitioning.checked_parameters_on(mesh)(config)
  optimizer = configured.AdamW(configured.LearningRate(1.0)).make()
  with pytest.raises(errors.UserError, match=message):
    step.shardings_of(config, optimizer, mesh)


def test_undivided_layers_of_a_judge_are_replicated(mesh):
  """The query kernel of 3 heads of 8 would divide, but only through a head."""
  config = dataclasses.replace(CONFIG, num_heads=3)
  assert partitioning.undivided(CONFIG, mesh) == []
  assert partitioning.undivided(config, mesh) == ["3 attention heads"]
  decoder = _specs(partitioning.parameters(config, mesh))["decoder"][LAYER]
  assert decoder["self_attention"]["query"]["kernel"] == Spec("fsdp", None)
  assert decoder["self_attention"]["out"]["kernel"] == Spec(None, "fsdp")
  assert decoder["mlp"]["wi_0"]["kernel"] == Spec("fsdp", "model")
  narrow = dataclasses.replace(CONFIG, mlp_dim=255)
  decoder = _specs(partitioning.parameters(narrow, mesh))["decoder"][LAYER]
  assert decoder["self_attention"]["query"]["kernel"] == Spec("fsdp", "model")
  assert decoder["mlp"]["wi_0"]["kernel"] == Spec("fsdp", None)


def test_a_batch_that_does_not_divide_is_rejected(mesh):
  partitioning.check_batch(8, 2, mesh)
  with pytest.raises(errors.UserError, match="batch of 8 rows in 4 microb"):
    partitioning.check_batch(8, 4, mesh)
  with pytest.raises(errors.UserError, match="data=2 x fsdp=2"):
    partitioning.check_batch(6, 1, mesh)


@pytest.mark.parametrize("kind", [configured.Adafactor, configured.AdamW])
def test_moments_are_sharded_like_their_parameter(mesh, kind):
  optimizer = kind(configured.LearningRate(1e-3), clip_global_norm=1.0).make()
  shapes = t5.param_shapes(CONFIG)
  state = jax.eval_shape(optimizer.init, shapes)
  shardings = partitioning.optimizer_state(
    state, partitioning.parameters(CONFIG, mesh)
  )
  large = 0
  for leaf, sharding in zip(
    jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True
  ):
    sharding.shard_shape(leaf.shape)  # raises if it does not divide
    if leaf.size > 1024:
      large += 1
      assert not sharding.is_fully_replicated
  # AdamW has two moments per matrix; Adafactor factors those of 128 x 128.
  assert large == {configured.Adafactor: 12, configured.AdamW: 40}[kind]


def test_without_a_mesh_arrays_are_unchanged():
  params = {"x": jnp.ones(3)}
  with partitioning.active(None):
    assert partitioning.without_fsdp(CONFIG, params) is params
    assert partitioning.constrain_rows(params)["x"] is params["x"]


def _halves(mesh):
  """The devices of two simulated processes: the first four, and the rest."""
  devices = sorted(mesh.devices.flat, key=lambda device: device.id)
  return devices[:4], devices[4:]


@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ({}, ([0, 1, 2, 3], [4, 5, 6, 7])),
    ({"model": 2, "fsdp": 2}, ([0, 1, 2, 3], [4, 5, 6, 7])),
    # The model axis spans both processes, so each needs every row.
    ({"model": 8}, (range(8), range(8))),
  ],
)
def test_a_process_reads_the_rows_of_its_devices(sizes, expected):
  mesh = partitioning.Mesh(**sizes).make()
  for devices, rows in zip(_halves(mesh), expected, strict=True):
    held = partitioning.rows_held(mesh, 8, devices)
    np.testing.assert_array_equal(held, rows)
  np.testing.assert_array_equal(partitioning.rows_held(mesh, 8), np.arange(8))


def test_a_global_batch_is_assembled_from_local_rows(mesh):
  values = np.arange(24).reshape(8, 3)
  placed = partitioning.place_rows(mesh, 8, values)
  np.testing.assert_array_equal(placed, values)
  assert placed.sharding == partitioning.rows(mesh)
