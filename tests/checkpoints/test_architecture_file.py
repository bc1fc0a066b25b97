"""The recorded activations and distance: kept, contradicted, damaged."""

import dataclasses
import json

import numpy as np
import pytest

from rlhf_gap import checkpoints, errors
from rlhf_gap.checkpoints import architecture_file, hf, stored
from rlhf_gap.cli import main
from rlhf_gap.models import t5
from tests.checkpoints import tiny

pytestmark = pytest.mark.slow

SILU = dataclasses.replace(
  tiny.CONFIG, mlp_activations=("silu", "linear"), max_distance=64
)


def _checkpoint(config=SILU):
  random = np.random.default_rng(3)
  params = {
    name: random.normal(size=leaf.shape).astype(np.float32)
    for name, leaf in stored.flatten(t5.param_shapes(config)).items()
  }
  return checkpoints.Checkpoint(config, stored.unflatten(params), 7)


@pytest.fixture(params=["t5x", "t5x_orbax"])
def path(request, tmp_path):
  """A checkpoint whose activations are not T5's defaults."""
  checkpoints.save(tmp_path / "c", _checkpoint(), format=request.param)
  return tmp_path / "c"


def _edit(path, **changes):
  file = path / architecture_file.FILE
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_activations_and_distance_are_read_back(path):
  opened = checkpoints.open(path)
  assert opened.config == SILU
  assert opened.notes == ()


def test_every_field_that_changes_the_output_is_recorded(path):
  recorded = json.loads((path / architecture_file.FILE).read_text())
  not_computed = {"dropout_rate", "dtype", "remat_policy"}
  fields = {field.name for field in dataclasses.fields(t5.T5Config)}
  assert set(recorded) == fields - not_computed
  assert recorded["mlp_activations"] == ["silu", "linear"]
  assert recorded["max_distance"] == 64


def test_without_the_file_t5s_defaults_are_assumed_and_noted(path, capsys):
  (path / architecture_file.FILE).unlink()
  opened = checkpoints.open(path)
  assert opened.config.mlp_activations == ("gelu", "linear")
  assert opened.config.max_distance == 128
  (note,) = opened.notes
  assert "mlp_activations=gelu,linear and max_distance=128" in note
  assert "--mlp_activations or --max_distance" in note
  assert main.main(["inspect", str(path)]) == 0
  assert note in capsys.readouterr().out


def test_the_users_settings_replace_the_assumption(path):
  (path / architecture_file.FILE).unlink()
  opened = checkpoints.open(
    path, mlp_activations=("silu", "linear"), max_distance=64
  )
  assert (opened.config, opened.notes) == (SILU, ())
  (note,) = checkpoints.open(path, max_distance=64).notes
  assert "mlp_activations=gelu,linear" in note
  assert "max_distance" not in note


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ({"mlp_activations": ("gelu", "linear")}, "silu,linear, not gelu,linear"),
    ({"max_distance": 128}, "max_distance=64, not 128"),
  ],
)
def test_the_users_settings_may_not_contradict_the_file(path, given, expected):
  with pytest.raises(errors.UserError, match=expected):
    checkpoints.open(path, **given)


def test_the_users_activations_must_fit_the_kernels(path):
  (path / architecture_file.FILE).unlink()
  with pytest.raises(errors.UserError, match="relu, but its arrays have 2"):
    checkpoints.open(path, mlp_activations=("relu",))


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({"emb_dim": 8}, "says emb_dim=8, but the arrays have 4"),
    ({"logits_via_embedding": True}, "logits_via_embedding=True, but"),
    ({"num_decoder_layers": 2}, "num_decoder_layers=2, but the arrays have 1"),
    ({"mlp_activations": ["relu"]}, "but its arrays have 2 input kernels"),
    ({"mlp_activations": ["sine", "linear"]}, "sine"),
    ({"mlp_activations": "gelu"}, "mlp_activations"),
    ({"max_distance": 0}, "max_distance"),
    ({"max_distance": 16}, "distance of more than half"),
    ({"max_distance": 2**31}, "max_distance"),
    ({"vocab_size": "16"}, "vocab_size"),
    ({"colour": 3}, "colour"),
  ],
)
def test_a_file_of_another_model_or_damaged(path, changes, expected):
  _edit(path, **changes)
  with pytest.raises(errors.UserError, match=expected) as raised:
    checkpoints.open(path)
  assert "\n" not in str(raised.value)


def test_a_file_cut_anywhere(tmp_path):
  checkpoints.save(tmp_path / "c", _checkpoint())
  file = tmp_path / "c" / architecture_file.FILE
  content = file.read_bytes().rstrip()
  for kept in range(0, len(content), 9):
    file.write_bytes(content[:kept])
    with pytest.raises(errors.UserError, match=r"architecture/config\.json"):
      checkpoints.open(tmp_path / "c")


def test_a_conversion_from_hugging_face_records_the_activations(tmp_path):
  checkpoints.save(tmp_path / "hf", _checkpoint(), format="hf")
  described = json.loads((tmp_path / "hf" / hf.CONFIG).read_text())
  assert described["feed_forward_proj"] == "gated-silu"
  checkpoints.convert(tmp_path / "hf", tmp_path / "t5x", format="t5x")
  again = checkpoints.open(tmp_path / "t5x")
  assert again.config == SILU
  assert again.notes == ()


def test_activations_given_to_convert_are_recorded(tmp_path, capsys):
  """The way out for a T5X checkpoint, whose gin file is not read."""
  checkpoints.save(tmp_path / "bare", _checkpoint())
  (tmp_path / "bare" / architecture_file.FILE).unlink()
  argv = ["convert", str(tmp_path / "bare"), str(tmp_path / "out")]
  flags = ["--mlp_activations=silu,linear", "--max_distance=64"]
  assert main.main([*argv, "--format=t5x_orbax", *flags]) == 0
  assert "assumed" not in capsys.readouterr().out
  assert checkpoints.open(tmp_path / "out").config == SILU


def test_activations_that_hugging_face_lacks(tmp_path):
  """No layer of transformers gates silu with gelu."""
  config = dataclasses.replace(SILU, mlp_activations=("silu", "gelu"))
  checkpoints.save(tmp_path / "t5x", _checkpoint(config))
  with pytest.raises(errors.UserError, match="no counterpart in transformers"):
    checkpoints.convert(tmp_path / "t5x", tmp_path / "hf", format="hf")
  assert not (tmp_path / "hf").exists()
