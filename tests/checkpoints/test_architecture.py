"""Inferring a T5 from names and shapes, and refusing what is not one."""

import dataclasses

import pytest

from rlhf_gap import errors
from rlhf_gap.checkpoints import architecture, stored
from rlhf_gap.models import t5

T5_1_1 = t5.T5Config(
  vocab_size=32,
  emb_dim=8,
  num_heads=4,
  head_dim=6,  # not emb_dim / num_heads, as in T5 11B
  mlp_dim=12,
  num_encoder_layers=3,
  num_decoder_layers=2,
  mlp_activations=("gelu", "linear"),
  logits_via_embedding=False,
  num_buckets=16,
)
T5_1_0 = dataclasses.replace(
  T5_1_1, mlp_activations=("relu",), logits_via_embedding=True, num_buckets=32
)
_QUERY = "encoder/layers_0/attention/query/kernel"
_RELATIVE = "encoder/relpos_bias/rel_embedding"


def _shapes(config=T5_1_1):
  flat = stored.flatten(t5.param_shapes(config))
  return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def _check_refused(shapes, *expected):
  with pytest.raises(errors.UserError) as raised:
    architecture.infer(shapes, "DIR")
  message = str(raised.value)
  assert message.startswith("DIR: ")
  for text in expected:
    assert text in message


@pytest.mark.parametrize("config", [T5_1_1, T5_1_0], ids=["1_1", "1_0"])
def test_every_size_is_inferred(config):
  assert architecture.infer(_shapes(config), "DIR") == config


def test_layers_are_counted_numerically():
  """Sorted as text, layers_10 comes before layers_2."""
  config = dataclasses.replace(T5_1_1, num_encoder_layers=12)
  inferred = architecture.infer(_shapes(config), "DIR")
  assert inferred.num_encoder_layers == 12


@pytest.mark.parametrize(
  "name", ["token_embedder/embedding", _RELATIVE, _QUERY]
)
def test_a_missing_parameter_that_sizes_depend_on(name):
  shapes = _shapes()
  del shapes[name]
  _check_refused(shapes, f"holds no {name} among its {len(shapes)} parameters")


def test_any_other_missing_parameter():
  shapes = _shapes()
  name = "decoder/layers_1/self_attention/key/kernel"
  del shapes[name]
  _check_refused(shapes, f"{name} is missing; expected shape (8, 24)")


def test_a_missing_layer():
  shapes = {n: s for n, s in _shapes().items() if "encoder/layers_1/" not in n}
  _check_refused(shapes, "2 encoder layers but no encoder/layers_1")


def test_an_unknown_parameter_suggests_the_known_one():
  shapes = _shapes()
  name = "encoder/encoder_norm/scale"
  shapes["encoder/encoder_norms/scale"] = shapes[name]
  _check_refused(
    shapes,
    "encoder/encoder_norms/scale is not a parameter of T5",
    f"did you mean {name}?",
  )


@pytest.mark.parametrize(
  ("name", "shape", "expected"),
  [
    ("encoder/layers_2/mlp/wo/kernel", (8, 12), "(8, 12), expected (12, 8)"),
    ("decoder/decoder_norm/scale", (9,), "(9,), expected (8,)"),
    ("decoder/relpos_bias/rel_embedding", (4, 8), "expected (4, 16)"),
    (_QUERY, (8, 25), "25 columns, not divisible by the 4 heads"),
    (_QUERY, (8,), "expected a matrix"),
    ("token_embedder/embedding", (0, 8), "expected a matrix"),
    ("token_embedder/embedding", (2**40, 8), "expected a matrix"),
  ],
)
def test_a_shape_that_contradicts_the_others(name, shape, expected):
  _check_refused(_shapes() | {name: shape}, name, expected)


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("encoder/layers_0/relpos_bias/rel_embedding", "umT5"),
    ("encoder/encoder/attention/query/kernel", "scalable_t5"),
  ],
)
def test_relatives_of_t5_are_named(name, expected):
  """Neither has the one table per stack that T5 has."""
  _check_refused({"token_embedder/embedding": (32, 8), name: (4, 16)}, expected)


@pytest.mark.parametrize(
  ("buckets", "distance"), [(2, 128), (32, 16), (64, 32)]
)
def test_buckets_that_leave_no_room_for_distances(buckets, distance):
  config = dataclasses.replace(
    T5_1_1, num_buckets=buckets, max_distance=distance
  )
  with pytest.raises(errors.UserError, match=f"num_buckets={buckets} with"):
    architecture.check(config, _shapes(), "DIR")


def test_the_smallest_distance_of_the_buckets():
  config = dataclasses.replace(T5_1_1, num_buckets=32, max_distance=17)
  architecture.check(config, _shapes(config), "DIR")


def test_a_vocabulary_may_be_smaller_than_the_embedding_only():
  for size in (1, 31, 32):
    architecture.check_vocabulary(T5_1_1, size, "DIR")
  with pytest.raises(errors.UserError, match="has 32 rows, .* has 33 ids"):
    architecture.check_vocabulary(T5_1_1, 33, "DIR")
