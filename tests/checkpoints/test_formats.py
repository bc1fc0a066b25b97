"""Every format, compared with files that T5X and transformers wrote."""

import dataclasses
import gzip
import json
import os
import pathlib

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rlhf_gap import checkpoints
from rlhf_gap.checkpoints import hf, safetensors_file, stored, t5x
from rlhf_gap.models import precision, t5
from tests import reference

pytestmark = pytest.mark.slow

TINY = t5.T5Config(
  vocab_size=16,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=2,
  num_decoder_layers=1,
)


@pytest.fixture(scope="module")
def tiny():
  """A model in memory, with some optimizer state."""
  params = t5.init(TINY, jax.random.key(7))
  flat = stored.flatten(params)
  states = {f"{name}/v": array * 2 for name, array in flat.items()}
  states |= {f"{name}/m": np.zeros(1, np.float32) for name in flat}
  return checkpoints.Checkpoint(TINY, params, 12, stored.unflatten(states))


def _bits(array):
  return np.ascontiguousarray(array).view(np.uint8).tobytes()


def _assert_same(left, right):
  """Checks that names, types, shapes and bits are equal."""
  assert sorted(left) == sorted(right)
  for name in left:
    a, b = np.asarray(left[name]), np.asarray(right[name])
    assert (a.dtype, a.shape) == (b.dtype, b.shape), name
    assert _bits(a) == _bits(b), name


def _params(path):
  return stored.flatten(checkpoints.load(path).params)


def _read_zarr(folder):
  """An independent reader of a zarr array of a single chunk."""
  metadata = json.loads((folder / ".zarray").read_text())
  (chunk,) = (p for p in folder.iterdir() if p.name != ".zarray")
  content = gzip.decompress(chunk.read_bytes())
  array = np.frombuffer(content, np.dtype(metadata["dtype"]))
  return array.reshape(metadata["shape"])


def _index(path):
  content = (pathlib.Path(path) / t5x.INDEX).read_bytes()
  return flax.serialization.msgpack_restore(content)["optimizer"]


def _leaves(tree, prefix=""):
  """Leaves of a T5X index; a TensorStore spec is one leaf."""
  if not isinstance(tree, dict) or "driver" in tree:
    return {prefix[:-1]: tree}
  parts = [_leaves(value, f"{prefix}{key}/") for key, value in tree.items()]
  return {name: leaf for part in parts for name, leaf in part.items()}


@pytest.mark.parametrize("model", ["t5x_1_1", "t5x_1_0"])
def test_t5x_parameters_are_the_stored_bits(model):
  path = reference.checkpoint(model)
  folders = pathlib.Path(path).glob("target.*")
  expected = {
    folder.name.removeprefix("target.").replace(".", "/"): _read_zarr(folder)
    for folder in folders
  }
  _assert_same(_params(path), expected)


@pytest.mark.parametrize("variant", ["1_1", "1_0"])
def test_orbax_holds_the_same_state_as_t5x(variant):
  orbax = checkpoints.load(reference.checkpoint(f"orbax_{variant}"))
  ours = checkpoints.load(reference.checkpoint(f"t5x_{variant}"))
  _assert_same(stored.flatten(orbax.params), stored.flatten(ours.params))
  _assert_same(
    stored.flatten(orbax.optimizer_state), stored.flatten(ours.optimizer_state)
  )
  assert (orbax.config, orbax.step) == (ours.config, ours.step)


@pytest.mark.parametrize("model", ["hf_1_1", "hf_1_0"])
def test_hf_parameters_are_the_stored_bits(model):
  """Read by the format's definition: a length, JSON, then raw bytes."""
  path = reference.checkpoint(model)
  content = (pathlib.Path(path) / hf.WEIGHTS).read_bytes()
  start = 8 + int.from_bytes(content[:8], "little")
  header = json.loads(content[8:start])
  header.pop("__metadata__")
  params = _params(path)
  matched = 0
  for entry in header.values():
    low, high = entry["data_offsets"]
    array = np.frombuffer(content[start + low : start + high], np.float32)
    array = array.reshape(entry["shape"])
    matched += any(
      np.array_equal(array, p) or np.array_equal(array.T, p)
      for p in map(np.asarray, params.values())
    )
  assert matched == len(header) == len(params)


@pytest.mark.parametrize("model", ["t5x_1_1", "t5x_factored"])
def test_a_written_t5x_checkpoint_is_laid_out_as_t5xs_own(tmp_path, model):
  """Leaves, shapes, types, index entries, zarr metadata: all equal."""
  source = reference.checkpoint(model)
  path = tmp_path / "checkpoint_1000"
  loaded = checkpoints.load(source)
  checkpoints.save(path, loaded, format="t5x")
  # T5X reads only what its index names, so it ignores this folder.
  assert sorted(os.listdir(path)) == sorted(
    ["architecture", *os.listdir(source)]
  )
  theirs, ours = _leaves(_index(source)), _leaves(_index(path))
  assert sorted(ours) == sorted(theirs)
  shapes = {}
  for name, leaf in theirs.items():
    if isinstance(leaf, dict):
      assert ours[name] == leaf
      folder = name.replace("/", ".")
      metadata, expected = (
        json.loads((pathlib.Path(root) / folder / ".zarray").read_text())
        for root in (path, source)
      )
      assert metadata == expected
      shapes[name] = [metadata["shape"], leaf["dtype"]]
    else:
      inline = np.asarray(leaf)
      assert _bits(ours[name]) == _bits(inline)
      shapes[name] = [list(inline.shape), inline.dtype.name]
  assert shapes == reference.table(model, "state_shapes")


@pytest.mark.parametrize(
  ("model", "formats"),
  [
    ("t5x_1_1", ["t5x"]),
    ("t5x_1_1", ["hf", "t5x"]),
    ("t5x_1_0", ["hf", "t5x"]),
    ("t5x_1_1", ["t5x_orbax", "t5x"]),
    ("orbax_1_0", ["hf", "t5x_orbax"]),
    ("hf_1_1", ["t5x", "hf"]),
    ("hf_1_0", ["t5x", "hf"]),
    ("hf_1_0", ["t5x_orbax", "hf"]),
  ],
)
def test_round_trips_keep_every_bit(tmp_path, model, formats):
  source = reference.checkpoint(model)
  path = source
  for number, format in enumerate(formats):
    path, previous = tmp_path / str(number), path
    checkpoints.convert(previous, path, format=format)
    assert checkpoints.open(path).format == format
  _assert_same(_params(path), _params(source))
  architecture = checkpoints.open(source).config
  assert t5.param_shapes(checkpoints.open(path).config) == t5.param_shapes(
    architecture
  )


def test_a_rewritten_hf_file_has_the_same_tensors(tmp_path):
  source = pathlib.Path(reference.checkpoint("hf_1_0"))
  checkpoints.convert(source, tmp_path / "t5x", format="t5x")
  checkpoints.convert(tmp_path / "t5x", tmp_path / "hf", format="hf")
  theirs = {n: a.read_all() for n, a in hf._tensors(str(source)).items()}
  ours = hf._tensors(str(tmp_path / "hf"))
  _assert_same({n: a.read_all() for n, a in ours.items()}, theirs)
  original = json.loads((source / hf.CONFIG).read_text())
  written = json.loads((tmp_path / "hf" / hf.CONFIG).read_text())
  unequal = {k for k in written if k in original and original[k] != written[k]}
  assert unequal == set()


@pytest.mark.parametrize("format", ["t5x", "t5x_orbax"])
def test_optimizer_state_and_step_come_back(tmp_path, tiny, format):
  checkpoints.save(tmp_path / "c", tiny, format=format)
  loaded = checkpoints.load(tmp_path / "c")
  assert (loaded.step, loaded.config) == (12, TINY)
  _assert_same(
    stored.flatten(loaded.optimizer_state), stored.flatten(tiny.optimizer_state)
  )
  without = checkpoints.load(tmp_path / "c", optimizer_state=False)
  assert without.optimizer_state is None


@pytest.mark.parametrize("format", checkpoints.FORMATS)
def test_bfloat16_is_kept_and_cast(tmp_path, tiny, format):
  checkpoints.save(tmp_path / "wide", tiny, format="t5x")
  checkpoints.convert(
    tmp_path / "wide", tmp_path / "half", format=format, dtype="bfloat16"
  )
  expected = {
    name: np.asarray(array).astype(ml_dtypes.bfloat16)
    for name, array in stored.flatten(tiny.params).items()
  }
  _assert_same(_params(tmp_path / "half"), expected)
  wide = checkpoints.load(tmp_path / "half", dtype="float32").params
  widened = {name: a.astype(np.float32) for name, a in expected.items()}
  _assert_same(stored.flatten(wide), widened)


def test_what_is_only_computed_with_is_cast_as_it_is_read(tmp_path, tiny):
  path = tmp_path / "wide"
  checkpoints.save(path, tiny)
  config = dataclasses.replace(TINY, dtype="bfloat16")
  expected = stored.flatten(precision.as_computed(config, tiny.params))
  held = checkpoints.load(path, activations="bfloat16")
  assert held.config == TINY
  _assert_same(stored.flatten(held.params), expected)
  types = {array.dtype.name for array in expected.values()}
  assert types == {"bfloat16", "float32"}
  wide = checkpoints.load(path, activations="float32")
  _assert_same(stored.flatten(wide.params), stored.flatten(tiny.params))


def test_large_arrays_are_split_and_models_sharded(tmp_path, tiny, monkeypatch):
  """Several chunks per array and files per model: the same parameters."""
  monkeypatch.setattr(t5x, "_CHUNK_BYTES", 100)
  monkeypatch.setattr(hf, "MAX_FILE_BYTES", 1000)
  checkpoints.save(tmp_path / "t5x", tiny, format="t5x")
  folder = tmp_path / "t5x" / "target.token_embedder.embedding"
  assert len(list(folder.iterdir())) > 2
  checkpoints.convert(tmp_path / "t5x", tmp_path / "hf", format="hf")
  names = os.listdir(tmp_path / "hf")
  assert hf.INDEX in names
  assert sum(name.endswith(".safetensors") for name in names) > 3
  _assert_same(_params(tmp_path / "hf"), stored.flatten(tiny.params))


@pytest.mark.parametrize("at_once", [2**31, 5])
def test_a_safetensors_file_is_the_librarys_own(tmp_path, monkeypatch, at_once):
  """Byte for byte, for mixed types, odd lengths and names beyond ASCII.

  The system may write fewer bytes than given, and at most 2 GiB.
  """
  whole = os.pwrite
  monkeypatch.setattr(
    os, "pwrite", lambda file, part, at: whole(file, part[:at_once], at)
  )
  rng = np.random.default_rng(0)
  values = {
    "b.weight": rng.standard_normal((3, 5)).astype(np.float32),
    "a.half": rng.standard_normal((7,)).astype(ml_dtypes.bfloat16),
    "é.double": rng.standard_normal((2, 1, 3)),
    "a.weight": np.zeros((4, 0), np.float32),
    "c.half": rng.standard_normal((5, 2)).astype(np.float16),
    "transposed": rng.standard_normal((3, 4)).astype(np.float32).T,
  }
  arrays = {name: stored.of_array(value) for name, value in values.items()}
  metadata = {"format": "pt"}
  safetensors_file.write(str(tmp_path / "ours"), arrays, metadata)
  contiguous = {n: np.ascontiguousarray(v) for n, v in values.items()}
  theirs = safetensors.numpy.save(contiguous, metadata)
  assert (tmp_path / "ours").read_bytes() == theirs


@pytest.mark.parametrize(
  ("shape", "chunks"),
  [
    ((32128, 1024), [16064, 1024]),  # 131.6 MB: halved once
    ((4096, 10240), [4096, 2560]),  # 167.8 MB; 5120 columns are still 83.9 MB
    ((32,), [32]),
  ],
)
def test_chunks_divide_and_stay_below_64_mib(shape, chunks):
  assert t5x.chunk_shape(shape, 4) == chunks


@pytest.mark.parametrize("format", checkpoints.FORMATS)
def test_shards_are_read_once_each_and_alone(tmp_path, tiny, format):
  """Eight devices, with the vocabulary split over four and two copies."""
  checkpoints.save(tmp_path / "c", tiny, format=format)
  mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("data", "model"))
  split = NamedSharding(mesh, PartitionSpec("model"))
  whole = NamedSharding(mesh, PartitionSpec())
  shardings = jax.tree.map(lambda _: whole, tiny.params)
  shardings["token_embedder"]["embedding"] = split
  loaded = checkpoints.load(tmp_path / "c", shardings=shardings)
  embedding = loaded.params["token_embedder"]["embedding"]
  assert embedding.sharding == split
  _assert_same(stored.flatten(loaded.params), stored.flatten(tiny.params))

  array = checkpoints.open(tmp_path / "c").arrays["token_embedder/embedding"]
  parts = []

  def read(index):
    part = array.read(index)
    parts.append(part.shape)
    return part

  counted = stored.StoredArray(array.shape, array.dtype, read)
  stored.to_device(counted, split)
  assert parts == [(4, 8)] * 4


def test_opening_reads_no_array(tmp_path, tiny):
  checkpoints.save(tmp_path / "c", tiny, format="t5x")
  for chunk in (tmp_path / "c").glob("target.*/0*"):
    chunk.unlink()
  opened = checkpoints.open(tmp_path / "c")
  assert opened.config == TINY
  assert opened.arrays["decoder/logits_dense/kernel"].shape == (8, 16)


def test_a_head_equal_to_the_embedding_is_tied(tmp_path):
  """Older files of T5 1.0 contain the tied head twice."""
  source = reference.checkpoint("hf_1_0")
  checkpoints.convert(source, tmp_path / "c", format="hf")
  file = tmp_path / "c" / hf.WEIGHTS
  tensors = safetensors.numpy.load_file(file)
  tensors["lm_head.weight"] = tensors["shared.weight"].copy()
  tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].copy()
  safetensors.numpy.save_file(tensors, file)
  opened = checkpoints.open(tmp_path / "c")
  assert opened.config.logits_via_embedding
  tensors["lm_head.weight"][0, 0] += 1
  safetensors.numpy.save_file(tensors, file)
  assert not checkpoints.open(tmp_path / "c").config.logits_via_embedding
