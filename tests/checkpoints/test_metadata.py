"""What index and metadata files may declare."""

import json

import ml_dtypes
import numpy as np
import pytest

from rlhf_gap import errors
from rlhf_gap.checkpoints import metadata, stored


def _zarr2(**changes):
  fields = {"shape": [6, 4], "chunks": [3, 4], "dtype": "<f4"} | changes
  return json.dumps(fields).encode()


def _zarr3(**changes):
  grid = {
    "name": "regular",
    "configuration": {"chunk_shape": changes.pop("chunks", [3, 4])},
  }
  fields = {"shape": [6, 4], "data_type": "float32", "chunk_grid": grid}
  return json.dumps(fields | changes).encode()


@pytest.mark.parametrize(
  "content",
  [
    _zarr2(),
    _zarr2(dtype="bfloat16"),
    _zarr2(dtype="|u1"),
    _zarr2(chunks=[6, 4]),
    _zarr2(shape=[], chunks=[]),
    _zarr2(shape=[0, 4], chunks=[1, 4]),
    _zarr2(compressor={"id": "gzip"}, order="C"),  # fields that are not read
  ],
)
def test_sound_zarr_2(content):
  metadata.check_zarr(content, "zarr", "FILE")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "uint32"])
def test_sound_zarr_3(dtype):
  metadata.check_zarr(_zarr3(data_type=dtype), "zarr3", "FILE")


@pytest.mark.parametrize(
  ("content", "driver", "expected"),
  [
    (_zarr2(dtype="<M8"), "zarr", "dtype <M8"),
    (_zarr2(chunks=[7, 4]), "zarr", r"chunks of \[7, 4\] .* of \[6, 4\]"),
    (_zarr2(chunks=[3]), "zarr", "no more than the array"),
    (_zarr2(chunks=[3, 0]), "zarr", "at least 1"),
    (_zarr2(shape=[2**40, 2**20], chunks=[1, 1]), "zarr", "larger than any"),
    (_zarr2(shape=[1] * 9, chunks=[1] * 9), "zarr", "shape"),
    (_zarr2(shape=[-1, 4]), "zarr", "shape"),
    (_zarr3(data_type="string"), "zarr3", "dtype string"),
    (_zarr3(data_type="complex64"), "zarr3", "dtype complex64"),
    (_zarr3(chunks=[3, 5]), "zarr3", "no more than the array"),
    (_zarr3(chunk_grid={"name": "rectangular"}), "zarr3", "chunk_grid"),
    (b"\x00", "zarr3", "JSON"),
  ],
)
def test_unsound_zarr(content, driver, expected):
  with pytest.raises(errors.UserError, match=expected) as raised:
    metadata.check_zarr(content, driver, "FILE")
  assert str(raised.value).startswith("FILE: ")


@pytest.mark.parametrize(
  "value", [7, np.int32(7), np.int64(7), np.array(7), np.array([7], np.uint8)]
)
def test_a_step_is_a_whole_number(value):
  step = metadata.step(value, "DIR")
  assert (step, type(step)) == (7, int)


@pytest.mark.parametrize(
  "value",
  [-1, 7.0, np.float32(7), np.array([7, 8]), np.array([]), "7", None, [7]],
)
def test_no_step(value):
  with pytest.raises(errors.UserError, match="expected a whole number"):
    metadata.step(value, "DIR")


def _arrays(**arrays):
  return {
    name.replace("__", "/"): stored.of_array(array)
    for name, array in arrays.items()
  }


@pytest.mark.parametrize(
  "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
)
def test_parameters_are_floating_point(dtype):
  arrays = _arrays(a__kernel=np.ones((2, 3), dtype), a__scale=np.ones(3, dtype))
  metadata.check_parameters(arrays, "DIR")


@pytest.mark.parametrize(
  ("arrays", "expected"),
  [
    (_arrays(a__kernel=np.ones((2, 3), np.int8)), "a/kernel is int8"),
    (_arrays(a__kernel=np.ones(3, np.float32)), "expected a matrix"),
    (_arrays(embedding=np.ones((1, 2, 3), np.float32)), "expected a matrix"),
    (_arrays(a__scale=np.ones(0, np.float32)), "expected no empty axis"),
    (
      _arrays(encoder__layers_1__x=np.ones(3, np.float32)),
      "a layer 1, but only 1 parameters",
    ),
    (
      _arrays(decoder__layers_99999999__x=np.ones(3, np.float32)),
      "a layer 99999999",
    ),
  ],
)
def test_arrays_that_are_not_parameters(arrays, expected):
  with pytest.raises(errors.UserError, match=expected):
    metadata.check_parameters(arrays, "DIR")


def test_optimizer_state_may_count_but_not_be_complex():
  sound = _arrays(count=np.array(3, np.int32), m=np.ones(3, np.float32))
  metadata.check_states(sound, "DIR")
  unsound = _arrays(m=np.ones(3, np.complex64))
  with pytest.raises(errors.UserError, match="state m is complex64"):
    metadata.check_states(unsound, "DIR")


def _leaf(**changes):
  fields = {
    "driver": "zarr",
    "dtype": "float32",
    "kvstore": {"driver": "file", "path": "a.b/"},
    "metadata": {"shape": [2, 3]},
  }
  return fields | changes


def test_a_tree_is_flattened_in_order_without_empty_leaves():
  inline = np.array([0.5], np.float32)
  tree = {"b": {"c": _leaf(), "none": None}, "a": inline, "empty": {}}
  flat = metadata.leaves(tree, "DIR")
  assert list(flat) == ["a", "b/c"]
  assert flat["a"] is inline
  assert flat["b/c"].metadata.shape == [2, 3]
  assert flat["b/c"].kvstore.path == "a.b/"


@pytest.mark.parametrize(
  ("tree", "expected"),
  [
    ({"a": {"b": "text"}}, "leaf a/b of its index is a str"),
    ({"a": _leaf(driver="n5")}, "leaf a of its index does not describe"),
    ({"a": _leaf(metadata={"shape": [-2]})}, "does not describe an array"),
    ({"a/b": 1}, "the key 'a/b'"),
    ({"..": 1}, r"the key '\.\.'"),
    ({"": 1}, "the key ''"),
    ({7: 1}, "the key 7"),
    ({"a\n": 1}, "the key"),
  ],
)
def test_trees_that_are_not_a_checkpoints(tree, expected):
  with pytest.raises(errors.UserError, match=expected) as raised:
    metadata.leaves(tree, "DIR")
  assert "\n" not in str(raised.value)
