"""Damaged or malicious T5X checkpoints: one line each."""

import json
import os
import shutil
import socket
import subprocess
import sys

import flax.serialization
import numpy as np
import pytest

from rlhf_gap import checkpoints, errors, files
from rlhf_gap.checkpoints import t5x
from rlhf_gap.cli import main
from tests.checkpoints import tiny

pytestmark = pytest.mark.slow

_LEAF = "target.encoder.layers_0.mlp.wi_0.kernel"
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  path = tmp_path_factory.mktemp("sound") / "checkpoint_1000"
  tiny.save(path, "t5x")
  return path


@pytest.fixture
def copy(sound, tmp_path):
  path = tmp_path / "checkpoint_1000"
  shutil.copytree(sound, path)
  return path


def _edit_index(path, edit):
  index = flax.serialization.msgpack_restore((path / t5x.INDEX).read_bytes())
  edited = edit(index["optimizer"]) or index
  (path / t5x.INDEX).write_bytes(
    flax.serialization.msgpack_serialize(edited, in_place=True)
  )


def _wi_0(optimizer):
  return optimizer["target"]["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]


def _edit_zarray(path, leaf=_LEAF, **changes):
  file = path / leaf / ".zarray"
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({"kvstore": 7}, "kvstore"),
    ({"kvstore": {"driver": "file", "path": 7}}, "path"),
    ({"metadata": [4, 4]}, "metadata"),
    ({"metadata": {"shape": "4"}}, "shape"),
    ({"metadata": {"shape": [4.5, 4]}}, "shape"),
    ({"metadata": {"shape": [-4, 4]}}, "shape"),
    ({"metadata": {"shape": [2**40, 2**40]}}, "larger than any checkpoint"),
    ({"metadata": {"shape": [4]}}, "expected a matrix"),
    ({"metadata": {"shape": [0, 4]}}, "expected a matrix"),
    ({"dtype": 7}, "dtype"),
    ({"dtype": "float31"}, "unknown type 'float31'"),
    ({"dtype": "int64"}, "mlp/wi_0/kernel is int64"),
    ({"dtype": "int4"}, "mlp/wi_0/kernel is int4"),
    ({"driver": "n5"}, "driver"),
    ({"kvstore": {"driver": "file", "path": ".."}}, "'..'"),
    ({"kvstore": {"driver": "file", "path": ""}}, "''"),
  ],
)
def test_a_leaf_of_another_type(copy, change, expected):
  _edit_index(copy, lambda optimizer: _wi_0(optimizer).update(change))
  tiny.check_refused(copy, str(copy), expected)


def _one_string(optimizer):
  optimizer["target"]["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"] = "float"


def _many_layers(optimizer):
  encoder = optimizer["target"]["encoder"]
  encoder["layers_999999999999"] = encoder["layers_0"]


def _deep(optimizer):
  tree = {}
  optimizer["target"]["encoder"]["deep"] = tree
  for _ in range(300):
    tree["deep"] = tree = {}


@pytest.mark.parametrize(
  ("edit", "expected"),
  [
    (lambda o: {"optimizer": [o]}, "optimizer"),
    (lambda o: {"optimizer": {"target": [1], "state": {"step": 1}}}, "target"),
    (lambda o: o.update(state=3), "state"),
    (lambda o: o["state"].pop("step"), "step"),
    (lambda o: o["state"].update(step=-1), "step is '-1'"),
    (lambda o: o["state"].update(step="7"), "step is '7'"),
    (lambda o: o["state"].update(step=np.ones(3)), "step is"),
    (lambda o: o["state"].update(step={"driver": "zarr"}), "step is"),
    (lambda o: o["state"].update(param_states=[1]), "param_states"),
    (lambda o: o["target"].update({"a/../b": np.ones(1)}), "'a/../b'"),
    (lambda o: o["target"].update({"a\x1b[31m\n": np.ones(1)}), r"a\x1b[31m"),
    (_one_string, "wi_0/kernel of its index is a str"),
    (_many_layers, "layer 999999999999"),
    (_deep, "is a dict"),
  ],
)
def test_an_index_of_another_shape(copy, edit, expected):
  def edited(index):
    # An edit in place does not return the index.
    result = edit(index)
    is_index = isinstance(result, dict) and "optimizer" in result
    return result if is_index else None

  _edit_index(copy, edited)
  tiny.check_refused(copy, str(copy), expected)


def test_an_index_cut_anywhere(copy):
  content = (copy / t5x.INDEX).read_bytes()
  for kept in range(0, len(content), 7):
    (copy / t5x.INDEX).write_bytes(content[:kept])
    tiny.check_refused(copy, str(copy))


def test_array_metadata_cut_anywhere(copy):
  file = copy / _LEAF / ".zarray"
  content = file.read_bytes().rstrip()
  for kept in range(len(content)):
    file.write_bytes(content[:kept])
    tiny.check_refused(copy, "wi_0")


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({"chunks": [2**38, 1]}, "no more than the array"),
    ({"chunks": [4, 5]}, "no more than the array"),
    ({"chunks": [0, 4]}, "at least 1"),
    ({"chunks": [4]}, "no more than the array"),
    ({"chunks": "all"}, "chunks"),
    ({"shape": [2**39, 2**39], "chunks": [4, 4]}, "larger than any"),
    ({"dtype": "|O"}, "dtype |O"),
    ({"dtype": "int4"}, "dtype int4"),
    ({"dtype": "<c8"}, "dtype <c8"),
    ({"dtype": [["a", "<f4"]]}, "dtype"),
    ({"dtype": "<i8"}, "wi_0"),
    ({"compressor": {"id": "gzip", "level": "high"}}, "wi_0"),
    ({"compressor": 3}, "wi_0"),
  ],
)
def test_array_metadata_that_disagrees(copy, changes, expected):
  _edit_zarray(copy, **changes)
  tiny.check_refused(copy, expected)


def test_an_array_larger_than_the_memory(copy):
  """Index and array agree, but one chunk exceeds any memory."""
  shape = [2**21, 2**21]
  _edit_zarray(copy, shape=shape, chunks=shape)
  _edit_index(copy, lambda o: _wi_0(o)["metadata"].update(shape=shape))
  tiny.check_refused(copy, "wi_0")
  leaf = "state.param_states.encoder.encoder_norm.scale.v"
  _edit_zarray(copy, leaf, shape=[2**38], chunks=[2**38])
  _edit_index(copy, lambda o: _wi_0(o)["metadata"].update(shape=[4, 4]))
  _edit_zarray(copy, shape=[4, 4], chunks=[4, 4])

  def grow(optimizer):
    states = optimizer["state"]["param_states"]["encoder"]
    states["encoder_norm"]["scale"]["v"]["metadata"]["shape"] = [2**38]

  _edit_index(copy, grow)
  tiny.check_refused(copy, "bytes of memory")


def test_an_index_written_elsewhere_is_read_here(copy, sound):
  """T5X's index may name the bucket or folder that it was written to."""
  for kvstore in (
    {"driver": "gcs", "bucket": "b", "path": f"models/checkpoint_1/{_LEAF}/"},
    {"driver": "file", "path": f"/nowhere/checkpoint_1000/{_LEAF}"},
  ):
    _edit_index(copy, lambda o, k=kvstore: _wi_0(o).update(kvstore=k))
    tiny.read_all(copy)
    assert checkpoints.fingerprint(copy) == checkpoints.fingerprint(sound)


_SPECIAL = ["checkpoint", f"{_LEAF}/.zarray", f"{_LEAF}/0.0", "beside"]


@pytest.mark.parametrize("name", _SPECIAL)
def test_a_fifo_in_place_of_a_file(copy, name):
  file = copy / name
  file.unlink(missing_ok=True)
  os.mkfifo(file)
  tiny.check_refused(copy, str(file), "FIFO, socket or device")


def test_devices_and_sockets_in_place_of_files(copy, monkeypatch):
  file = copy / _LEAF / "0.0"
  file.unlink()
  file.symlink_to("/dev/zero")
  tiny.check_refused(copy, str(file), "FIFO, socket or device")
  file.unlink()
  monkeypatch.chdir(file.parent)  # a socket's path is short
  with socket.socket(socket.AF_UNIX) as server:
    server.bind("0.0")
    tiny.check_refused(copy, str(file), "FIFO, socket or device")


def test_links_to_folders_end(copy):
  (copy / "loop").symlink_to("..")
  files.check_tree(copy)
  tiny.read_all(copy)


def test_a_chunk_that_would_abort_the_process(copy):
  """In a child process, because std::bad_alloc ends it without traceback."""
  _edit_zarray(copy, shape=[2**34, 4], chunks=[2**34, 4])
  command = [sys.executable, "-m", "rlhf_gap.cli.main", "convert", str(copy)]
  done = subprocess.run(
    [*command, str(copy.parent / "out"), "--format=hf"],
    capture_output=True,
    text=True,
    cwd=_ROOT,
  )
  assert done.returncode == 2
  assert len(done.stderr.strip().splitlines()) == 1


def test_names_from_an_index_reach_the_terminal_escaped(copy, capsys):
  def rename(optimizer):
    states = optimizer["state"]["param_states"]["encoder"]["encoder_norm"]
    states["scale"]["\x1b[31m"] = states["scale"].pop("m")

  _edit_index(copy, rename)
  assert main.main(["inspect", str(copy)]) == 2
  captured = capsys.readouterr()
  assert "\x1b" not in captured.out + captured.err


def test_float64_is_refused_where_jax_would_shorten_it(copy, tmp_path):
  path = copy / _LEAF
  value = np.ones((4, 4), "<f8")
  _edit_zarray(copy, dtype="<f8", compressor=None)
  (path / "0.0").write_bytes(value.tobytes())
  _edit_index(copy, lambda o: _wi_0(o).update(dtype="float64"))
  tiny.read_all(copy)
  out = tmp_path / "out"
  with pytest.raises(errors.UserError, match=r"wi_0/kernel is float64"):
    checkpoints.convert(copy, out, format="t5x_orbax")
  assert not out.exists()
  checkpoints.convert(copy, out, format="t5x_orbax", dtype="float32")
  array = checkpoints.open(out).arrays["encoder/layers_0/mlp/wi_0/kernel"]
  np.testing.assert_array_equal(array.read_all(), value.astype(np.float32))
