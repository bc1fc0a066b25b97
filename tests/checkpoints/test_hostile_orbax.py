"""Damaged or malicious Orbax checkpoints: one line each."""

import json
import os
import shutil

import pytest

from rlhf_gap.checkpoints import t5x_orbax
from tests.checkpoints import tiny


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  path = tmp_path_factory.mktemp("sound") / "checkpoint_1000"
  tiny.save(path, "t5x_orbax")
  return path


@pytest.fixture
def copy(sound, tmp_path):
  path = tmp_path / "checkpoint_1000"
  shutil.copytree(sound, path)
  return path


def _index(path):
  return path / t5x_orbax.ITEM / t5x_orbax.INDEX


def _first(index):
  return next(iter(index["tree_metadata"].values()))


@pytest.mark.parametrize(
  ("edit", "expected"),
  [
    (lambda i: i.update(tree_metadata=[1]), "tree_metadata"),
    (lambda i: i.update(tree_metadata={}), "tree_metadata"),
    (lambda i: i.pop("tree_metadata"), "tree_metadata"),
    (lambda i: i.update(use_ocdbt="yes"), "use_ocdbt"),
    (lambda i: i.update(use_ocdbt=False), "cannot be opened"),
    (lambda i: i.update(use_zarr3=True), "cannot be opened"),
    (lambda i: i.update(use_zarr3=7), "use_zarr3"),
    (lambda i: _first(i).pop("key_metadata"), "key_metadata"),
    (lambda i: _first(i).update(key_metadata=[]), "key_metadata"),
    (lambda i: _first(i).update(key_metadata=[{"key": None}]), "key"),
    (lambda i: _first(i).update(key_metadata=[{"key": ".."}]), "'..'"),
    (lambda i: _first(i).update(key_metadata=[{"key": "a/b"}]), "'a/b'"),
    (lambda i: _first(i).update(key_metadata=[{"key": "a"}] * 99), "length"),
    (lambda i: _first(i).update(key_metadata="target"), "key_metadata"),
  ],
)
def test_metadata_of_another_type(copy, edit, expected):
  index = json.loads(_index(copy).read_text())
  edit(index)
  _index(copy).write_text(json.dumps(index))
  tiny.check_refused(copy, str(copy), expected)


@pytest.mark.parametrize("content", ["[]", "null", "7", "[" * 9000, '"', "\0"])
def test_metadata_that_is_no_object(copy, content):
  _index(copy).write_text(content)
  tiny.check_refused(copy, str(copy), "_METADATA")


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
def test_files_cut_anywhere(copy, name):
  file = copy / t5x_orbax.ITEM / name
  content = file.read_bytes()
  step = max(1, len(content) // 60)
  for kept in range(0, len(content) - 1, step):
    file.write_bytes(content[:kept])
    tiny.check_refused(copy, str(copy))


def _data_files(path):
  """Returns OCDBT's data files, which hold arrays, largest first."""
  files = [p for p in path.rglob("d/*") if p.is_file()]
  return sorted(files, key=lambda p: -p.stat().st_size)


def _data_file(path):
  return _data_files(path)[0]


def test_damaged_data_files(copy):
  # Some belong to the databases of single processes and are never read.
  for file in _data_files(copy):
    file.write_bytes(file.read_bytes()[:50])
  tiny.check_refused(copy, str(copy), "copy")


def test_fifos_in_place_of_files(sound, tmp_path):
  for number, choose in enumerate(
    [_index, _data_file, lambda p: p / t5x_orbax.ITEM / "manifest.ocdbt"]
  ):
    path = tmp_path / str(number) / "checkpoint_1000"
    shutil.copytree(sound, path)
    file = choose(path)
    file.unlink()
    os.mkfifo(file)
    tiny.check_refused(path, str(file), "FIFO, socket or device")
