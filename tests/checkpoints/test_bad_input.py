"""Mistakes and damage: one clear line, exit code 2, nothing left behind."""

import json
import os
import pathlib
import shutil
import signal
import subprocess

import orbax.checkpoint as ocp
import pytest
import safetensors.numpy

from rlhf_gap.checkpoints import hf, t5x, t5x_orbax
from rlhf_gap.cli import main
from tests import reference

pytestmark = pytest.mark.slow


@pytest.fixture
def t5x_copy(tmp_path):
  """A T5X checkpoint to damage."""
  path = tmp_path / "checkpoint_1000"
  shutil.copytree(reference.checkpoint("t5x_1_1"), path)
  return path


@pytest.fixture
def hf_copy(tmp_path):
  """A Hugging Face folder to damage."""
  path = tmp_path / "hf"
  shutil.copytree(reference.checkpoint("hf_1_1"), path)
  return path


def _tree(path):
  root = pathlib.Path(path)
  return {
    str(p.relative_to(root)): p.read_bytes() if p.is_file() else None
    for p in root.rglob("*")
  }


def _check_refused(capsys, argv, *expected):
  """Checks for exit code 2 and one line that contains all of `expected`."""
  assert main.main([str(word) for word in argv]) == 2
  captured = capsys.readouterr()
  lines = captured.err.strip().splitlines()
  assert len(lines) == 1, captured.err
  for text in expected:
    assert text in lines[0]
  assert "Traceback" not in captured.err
  return lines[0]


def _check_convert_refused(capsys, source, destination, *expected):
  """As above; also the source is unchanged and nothing new is left."""
  before = _tree(source) if os.path.isdir(source) else None
  beside = set(os.listdir(destination.parent))
  argv = ["convert", source, destination, "--format=t5x"]
  _check_refused(capsys, argv, *expected)
  assert set(os.listdir(destination.parent)) == beside
  assert before is None or _tree(source) == before


def test_a_missing_directory(capsys, tmp_path):
  _check_convert_refused(
    capsys, tmp_path / "typo", tmp_path / "out", "no such directory", "typo"
  )


def test_a_file_instead_of_a_folder(capsys, hf_copy, tmp_path):
  _check_convert_refused(
    capsys, hf_copy / hf.WEIGHTS, tmp_path / "out", "is a file", str(hf_copy)
  )


def test_an_empty_folder(capsys, tmp_path):
  (tmp_path / "empty").mkdir()
  _check_refused(
    capsys, ["inspect", tmp_path / "empty"], "not a checkpoint", "nothing"
  )


def test_a_folder_of_checkpoints_names_the_latest(capsys, t5x_copy):
  (t5x_copy.parent / "checkpoint_200").mkdir()
  _check_refused(
    capsys, ["inspect", t5x_copy.parent], "2 checkpoints", str(t5x_copy)
  )


@pytest.mark.parametrize("suffix", [".tmp-1700000000", ".orbax-checkpoint-tmp"])
def test_a_half_written_checkpoint(capsys, t5x_copy, tmp_path, suffix):
  path = t5x_copy.with_name(t5x_copy.name + suffix)
  t5x_copy.rename(path)
  _check_convert_refused(capsys, path, tmp_path / "out", "half-written")


def test_a_checkpoint_without_its_index(capsys, t5x_copy, tmp_path):
  (t5x_copy / t5x.INDEX).unlink()
  _check_convert_refused(
    capsys, t5x_copy, tmp_path / "out", "not its index", "interrupted"
  )


def test_an_index_cut_short(capsys, t5x_copy, tmp_path):
  index = t5x_copy / t5x.INDEX
  index.write_bytes(index.read_bytes()[:1000])
  _check_convert_refused(
    capsys, t5x_copy, tmp_path / "out", "index", "1,000 bytes", "cut short"
  )


def test_a_tensorflow_checkpoint(capsys, tmp_path):
  (tmp_path / "tf").mkdir()
  (tmp_path / "tf" / t5x.INDEX).write_text('model_checkpoint_path: "model.0"')
  _check_refused(capsys, ["inspect", tmp_path / "tf"], "TensorFlow checkpoint")


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_zarr_chunk(capsys, t5x_copy, tmp_path, damage):
  chunk = t5x_copy / "target.decoder.logits_dense.kernel" / "0.0"
  if damage == "cut":
    chunk.write_bytes(chunk.read_bytes()[:-50])
  else:
    chunk.unlink()
  _check_convert_refused(
    capsys, t5x_copy, tmp_path / "out", "decoder/logits_dense/kernel", "damaged"
  )


def test_arrays_of_two_checkpoints_mixed(capsys, t5x_copy, tmp_path):
  replaced = t5x_copy / "target.decoder.layers_0.mlp.wi_0.kernel"
  other = t5x_copy / "target.decoder.layers_0.mlp.wo.kernel"
  shutil.rmtree(replaced)
  shutil.copytree(other, replaced)
  _check_convert_refused(
    capsys, t5x_copy, tmp_path / "out", "wi_0", "(64, 32)", "mixed"
  )


def test_an_orbax_checkpoint_without_metadata(capsys, tmp_path):
  path = tmp_path / "checkpoint_1000"
  shutil.copytree(reference.checkpoint("orbax_1_1"), path)
  metadata = path / t5x_orbax.ITEM / t5x_orbax.INDEX
  content = metadata.read_bytes()
  metadata.write_bytes(content[:500])
  _check_refused(capsys, ["inspect", path], "_METADATA", "cut short")
  metadata.unlink()
  _check_refused(capsys, ["inspect", path], "_METADATA", "interrupted")


def test_a_safetensors_file_cut_short(capsys, hf_copy, tmp_path):
  file = hf_copy / hf.WEIGHTS
  file.write_bytes(file.read_bytes()[:-1000])
  _check_convert_refused(
    capsys, hf_copy, tmp_path / "out", hf.WEIGHTS, "cut short"
  )


def test_a_missing_part_of_a_sharded_model(capsys, hf_copy, tmp_path):
  (hf_copy / hf.WEIGHTS).rename(hf_copy / "model-00001-of-00002.safetensors")
  weight_map = {"shared.weight": "model-00002-of-00002.safetensors"}
  (hf_copy / hf.INDEX).write_text(json.dumps({"weight_map": weight_map}))
  _check_convert_refused(
    capsys, hf_copy, tmp_path / "out", "00002-of-00002", "incomplete"
  )


def test_pytorch_weights_get_a_command_that_converts_them(
  capsys, hf_copy, tmp_path
):
  (hf_copy / hf.WEIGHTS).rename(hf_copy / "pytorch_model.bin")
  _check_convert_refused(
    capsys, hf_copy, tmp_path / "out", "pytorch_model.bin", "save_pretrained"
  )


def test_weights_that_are_missing(capsys, hf_copy):
  (hf_copy / hf.WEIGHTS).unlink()
  _check_refused(capsys, ["inspect", hf_copy], hf.WEIGHTS, "incomplete")


@pytest.mark.parametrize(
  ("field", "value", "found"),
  [
    ("num_heads", 8, "4"),
    ("d_ff", 128, "64"),
    ("vocab_size", 512, "384"),
    ("num_layers", 3, "2"),
    ("feed_forward_proj", "relu", "gated-gelu"),
    ("feed_forward_proj", "gated-swish", "gated-gelu"),
    ("model_type", "bart", "t5 or mt5"),
    ("layer_norm_epsilon", 1e-5, "1e-6"),
  ],
)
def test_a_config_that_disagrees(
  capsys, hf_copy, tmp_path, field, value, found
):
  config = json.loads((hf_copy / hf.CONFIG).read_text())
  config[field] = value
  (hf_copy / hf.CONFIG).write_text(json.dumps(config))
  _check_convert_refused(
    capsys, hf_copy, tmp_path / "out", "config.json", str(value), found
  )


def test_a_config_that_is_not_json(capsys, hf_copy):
  (hf_copy / hf.CONFIG).write_text("{")
  _check_refused(capsys, ["inspect", hf_copy], "config.json", "not valid JSON")


def test_a_tensor_that_is_no_part_of_t5(capsys, hf_copy):
  file = hf_copy / hf.WEIGHTS
  tensors = safetensors.numpy.load_file(file)
  tensors["pooler.weight"] = tensors.pop("encoder.final_layer_norm.weight")
  safetensors.numpy.save_file(tensors, file)
  _check_refused(
    capsys, ["inspect", hf_copy], "pooler.weight", "not a parameter"
  )


def test_a_vocabulary_larger_than_the_embedding(capsys, tmp_path):
  vocabulary = reference.path("t5_vocabulary/sentencepiece.model")
  argv = ["convert", reference.checkpoint("hf_1_1"), tmp_path / "out"]
  flags = ["--format=t5x", f"--vocabulary={vocabulary}"]
  _check_refused(capsys, [*argv, *flags], "384 rows", "32,100 ids")
  assert os.listdir(tmp_path) == []


def test_a_vocabulary_that_is_none(capsys, hf_copy):
  flag = f"--vocabulary={hf_copy / hf.CONFIG}"
  _check_refused(capsys, ["inspect", hf_copy, flag], "not a SentencePiece")


def test_an_unknown_format(capsys, hf_copy, tmp_path):
  argv = ["convert", hf_copy, tmp_path / "out", "--format=t5"]
  _check_refused(capsys, argv, "'t5'", "did you mean t5x?", "t5x_orbax, hf")


def test_a_destination_that_exists(capsys, hf_copy, t5x_copy):
  before = _tree(t5x_copy)
  argv = ["convert", hf_copy, t5x_copy, "--format=t5x"]
  _check_refused(capsys, argv, "exists already", "not overwritten")
  assert _tree(t5x_copy) == before


def test_a_remote_destination(capsys, hf_copy):
  argv = ["convert", hf_copy, "gs://bucket/model", "--format=t5x"]
  _check_refused(capsys, argv, "gs://bucket/model", "local folders")


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 200 kB, if mounting one is allowed."""
  path = tmp_path / "disk"
  path.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(path)]
  if (
    not shutil.which("mount")
    or subprocess.run(mount, capture_output=True, check=False).returncode
  ):
    pytest.skip("this test mounts a small file system, which needs root")
  yield path
  subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("format", ["t5x", "t5x_orbax", "hf"])
def test_a_full_disk(capsys, small_disk, format):
  argv = ["convert", reference.checkpoint("t5x_1_1"), small_disk / "a/out"]
  _check_refused(capsys, [*argv, f"--format={format}"], "no space", "GB")
  assert os.listdir(small_disk) == []


def test_a_read_only_destination(capsys, small_disk):
  remount = ["mount", "-o", "remount,ro", str(small_disk)]
  subprocess.run(remount, check=True)
  argv = ["convert", reference.checkpoint("t5x_1_1"), small_disk / "out"]
  _check_refused(capsys, [*argv, "--format=hf"], "no permission to write")


def test_an_interrupted_conversion_leaves_nothing(
  capsys, hf_copy, tmp_path, monkeypatch
):
  """Ctrl-C while the last file is written."""

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(hf, "_write_json", interrupt)
  beside = set(os.listdir(tmp_path))
  argv = ["convert", str(hf_copy), str(tmp_path / "a/b/out"), "--format=hf"]
  assert main.main(argv) == 130
  assert "interrupted" in capsys.readouterr().err
  assert set(os.listdir(tmp_path)) == beside


def test_an_interrupt_waits_for_orbax(capsys, hf_copy, tmp_path, monkeypatch):
  """Its threads must not write into the folder after its removal."""
  done = []
  save = ocp.Checkpointer.save

  def interrupted_save(*args, **kwargs):
    signal.raise_signal(signal.SIGINT)
    save(*args, **kwargs)
    done.append("saved")

  monkeypatch.setattr(ocp.Checkpointer, "save", interrupted_save)
  beside = set(os.listdir(tmp_path))
  argv = ["convert", str(hf_copy), str(tmp_path / "out"), "--format=t5x_orbax"]
  assert main.main(argv) == 130
  assert done == ["saved"]
  assert "interrupted" in capsys.readouterr().err
  assert set(os.listdir(tmp_path)) == beside
