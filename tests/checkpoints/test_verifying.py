"""A converted checkpoint is compared with its source in three ways."""

import dataclasses

import numpy as np
import pytest

from rlhf_gap import checkpoints, errors
from rlhf_gap.checkpoints import stored, verifying
from rlhf_gap.models import t5
from tests.checkpoints import tiny

_KERNEL = "decoder/layers_0/mlp/wo/kernel"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  """A stored checkpoint with optimizer state."""
  path = tmp_path_factory.mktemp("original") / "checkpoint_1000"
  tiny.save(path, "t5x")
  return checkpoints.open(path)


def _digests(checkpoint):
  return {
    name: stored.digest(array.read_all())
    for name, array in checkpoint.all_arrays().items()
  }


def _changed(checkpoint, name, change):
  """The checkpoint with `change` applied to one parameter."""
  value = np.array(checkpoint.arrays[name].read_all())
  arrays = {**checkpoint.arrays, name: stored.of_array(change(value))}
  return dataclasses.replace(checkpoint, arrays=arrays)


def _flip_last_bit(value):
  bits = value.view(np.uint32)
  bits[-1, -1] ^= 1
  return value


def test_one_flipped_bit_is_caught_and_none_is_not(original):
  verifying.verify(original, _digests(original), original, "DIR")
  written = _changed(original, _KERNEL, _flip_last_bit)
  with pytest.raises(errors.UserError, match=rf"DIR: target/{_KERNEL} reads"):
    verifying.verify(original, _digests(original), written, "DIR")


@pytest.mark.parametrize(
  "change",
  [lambda v: v.T.copy(), lambda v: v.astype(np.float64)],
  ids=["transposed", "widened"],
)
def test_equal_numbers_of_another_layout_or_type_are_caught(original, change):
  written = _changed(original, _KERNEL, change)
  with pytest.raises(errors.UserError, match="reads back differently"):
    verifying.verify(original, _digests(original), written, "DIR")


@pytest.mark.parametrize("kind", ["arrays", "optimizer_arrays"])
def test_an_array_that_was_lost_or_added_is_caught(original, kind):
  arrays = dict(getattr(original, kind))
  lost = min(arrays)
  del arrays[lost]
  fewer = dataclasses.replace(original, **{kind: arrays})
  for source, copy in ((original, fewer), (fewer, original)):
    with pytest.raises(errors.UserError, match=f"{lost} reads back"):
      verifying.verify(source, _digests(source), copy, "DIR")


@pytest.mark.parametrize(
  ("field", "value"),
  [("max_distance", 64), ("mlp_activations", ("silu", "linear"))],
)
def test_a_field_that_the_format_dropped_is_caught(original, field, value):
  """Neither changes a name or a shape, but both change the logits."""
  config = dataclasses.replace(original.config, **{field: value})
  source = dataclasses.replace(original, config=config)
  with pytest.raises(errors.UserError, match=f"{field} was .* reads back as"):
    verifying.verify(source, _digests(source), original, "DIR")


def test_other_logits_are_caught(original):
  """The writer wrote faithfully what it read, but it read something else."""
  source = _changed(original, _KERNEL, lambda value: 2 * value)
  with pytest.raises(errors.UserError, match="logits differ .* by up to") as e:
    verifying.verify(source, _digests(original), original, "DIR")
  difference = float(str(e.value).split("up to ")[1].split(";")[0])
  assert difference > 1e-3


def test_logits_that_are_not_a_number_equal_themselves(original):
  """A checkpoint of a diverged run converts like any other."""
  broken = _changed(original, _KERNEL, lambda value: value * np.nan)
  verifying.verify(broken, _digests(broken), broken, "DIR")
  with pytest.raises(errors.UserError, match="logits differ"):
    verifying.verify(original, _digests(broken), broken, "DIR")


@pytest.mark.parametrize("extra", [0, 1])
def test_large_models_are_not_computed_with(extra):
  def unread(_):
    raise AssertionError("a large array was read")

  shape = (verifying.MAX_PROBED_PARAMETERS + extra, 1)
  array = stored.StoredArray(shape, np.dtype(np.float32), unread)
  checkpoint = stored.StoredCheckpoint("t5x", tiny.CONFIG, 0, {"x": array})
  assert verifying.is_probed(checkpoint) == (extra == 0)


def test_a_source_that_changes_during_a_conversion(tmp_path, original):
  """Nothing is kept of a copy whose array was replaced after it was read."""
  values = iter(range(100))

  def read(index):
    return np.full((4, 4), next(values), np.float32)[index]

  kernel = stored.StoredArray((4, 4), np.dtype(np.float32), read)
  arrays = {**original.arrays, _KERNEL: kernel}
  changing = dataclasses.replace(original, arrays=arrays)
  noted, digests = stored.with_digests(changing)
  for array in noted.all_arrays().values():
    array.read_all()
  with pytest.raises(errors.UserError, match=f"{_KERNEL} reads back"):
    verifying.verify(changing, digests, changing, str(tmp_path))


def test_digests_are_those_of_whole_arrays(original):
  noted, digests = stored.with_digests(original)
  kernel = noted.arrays[_KERNEL]
  kernel.read((slice(0, 1), slice(None)))
  assert digests == {}
  kernel.read_all()
  assert digests == {
    f"target/{_KERNEL}": stored.digest(original.arrays[_KERNEL].read_all())
  }


def test_digests_differ_by_type_shape_and_bits():
  zeros = np.zeros((2, 3), np.float32)
  negative = zeros.copy()
  negative[0, 0] = -0.0  # equal to 0.0, but of other bits
  others = [negative, zeros.T, zeros.ravel(), zeros.view(np.int32)]
  digests = {stored.digest(array) for array in [zeros, *others]}
  assert len(digests) == 5
  wide = np.zeros((2, 6), np.float32)[:, ::2]
  assert stored.digest(wide) == stored.digest(zeros)


def test_a_conversion_of_every_kind_of_model_passes(tmp_path):
  """Tied and separate heads, gated and plain layers, both formats and back."""
  for number, changes in enumerate(
    (
      {"logits_via_embedding": True},
      {"mlp_activations": ("relu",)},
      {"num_encoder_layers": 2, "max_distance": 32, "num_buckets": 8},
    )
  ):
    config = dataclasses.replace(tiny.CONFIG, **changes)
    random = np.random.default_rng(number)
    flat = {
      name: random.normal(size=leaf.shape).astype(np.float32)
      for name, leaf in stored.flatten(t5.param_shapes(config)).items()
    }
    source = tmp_path / f"{number}"
    checkpoint = checkpoints.Checkpoint(config, stored.unflatten(flat), 5)
    checkpoints.save(source, checkpoint)
    middle, end = tmp_path / f"{number}_hf", tmp_path / f"{number}_orbax"
    checkpoints.convert(source, middle, format="hf")
    checkpoints.convert(middle, end, format="t5x_orbax")
    assert checkpoints.open(end).config == config
    assert checkpoints.fingerprint(end) == checkpoints.fingerprint(source)
