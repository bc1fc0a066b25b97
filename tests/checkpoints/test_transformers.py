"""Models that transformers wrote, against the log-probabilities it computed.

`tools/check_transformers.py` made the files; it compares many more with
transformers itself.
"""

import json
import pathlib
import shutil
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from rlhf_gap import checkpoints, errors
from rlhf_gap.models import t5

pytestmark = pytest.mark.slow

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
VARIANTS = sorted((GOLDEN / "hf_variants").iterdir())
TOLERANCE = 1e-4  # nats


def _log_probs(folder, expected):
  loaded = checkpoints.load(folder, dtype="float32")
  logits = jax.jit(t5.logits, static_argnums=0)(
    loaded.config,
    loaded.params,
    jnp.asarray(expected["prompts"]),
    jnp.asarray(expected["targets"]),
  )
  return np.asarray(jax.nn.log_softmax(logits))


def _assert_computes(folder, expected):
  difference = np.abs(_log_probs(folder, expected) - expected["log_probs"])
  assert difference.max() < TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda path: path.name)
def test_log_probs_are_those_of_transformers(variant, tmp_path):
  expected = dict(np.load(variant / "expected.npz"))
  _assert_computes(variant, expected)
  # And after a detour, which must be written as what is computed.
  checkpoints.convert(variant, tmp_path / "t5x", format="t5x")
  checkpoints.convert(tmp_path / "t5x", tmp_path / "hf", format="hf")
  _assert_computes(tmp_path / "hf", expected)


@pytest.fixture
def copy(tmp_path):
  """A copy of a small model, untied, to be changed."""
  folder = tmp_path / "model"
  shutil.copytree(
    GOLDEN / "hf_variants" / "t5_tie_drop_scale_drop_head_own", folder
  )
  return folder


def _edit(folder, name="config.json", **changes):
  path = folder / name
  content = json.loads(path.read_text()) | changes
  path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("decoder_start_token_id", 2),
    ("eos_token_id", 2),
    ("eos_token_id", [1, 2]),
    ("pad_token_id", 3),
  ],
)
def test_other_special_ids_are_refused_by_name(copy, name, field, value):
  _edit(copy, name, **{field: value})
  with pytest.raises(errors.UserError) as raised:
    checkpoints.open(copy)
  assert f"{name} says {field}={value}" in str(raised.value)


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("model_type", "umt5", "position table in every layer"),
    ("model_type", "longt5", "attends locally"),
    ("model_type", "bart", "model_type='bart'; expected t5 or mt5"),
    ("feed_forward_proj", "gated-tanh", "feed_forward_proj=gated-tanh"),
    ("feed_forward_proj", 3, "feed_forward_proj"),
    ("dense_act_fn", "relu", "dense_act_fn=relu"),
    ("is_gated_act", False, "is_gated_act=False"),
    ("layer_norm_epsilon", 1e-5, "layer_norm_epsilon=1e-05"),
    ("relative_attention_max_distance", "far", "max_distance"),
    ("tie_word_embeddings", "yes", "tie_word_embeddings"),
    ("scale_decoder_outputs", 1, "scale_decoder_outputs"),
    ("dropout_rate", -0.5, "dropout_rate"),
    ("num_layers", 300_000, "num_layers"),
    ("quantization_config", {"bits": 8}, "quantization_config"),
    ("pruned_heads", {"1": [0]}, "pruned_heads"),
  ],
)
def test_fields_that_change_what_is_computed(copy, field, value, expected):
  _edit(copy, **{field: value})
  with pytest.raises(errors.UserError) as raised:
    checkpoints.open(copy)
  assert expected in str(raised.value)
  assert "\n" not in str(raised.value)


def test_an_own_head_equal_to_the_embedding_is_kept_apart(copy):
  path = copy / "model.safetensors"
  tensors = safetensors.numpy.load_file(path)
  tensors["lm_head.weight"] = tensors["shared.weight"].copy()
  safetensors.numpy.save_file(tensors, path, {"format": "pt"})
  _edit(copy, tie_word_embeddings=False)
  opened = checkpoints.open(copy)
  assert not opened.config.logits_via_embedding
  assert not opened.notes


@pytest.mark.parametrize(
  "name",
  ["../elsewhere.safetensors", "/etc/hostname", "a/../../b.safetensors", ""],
)
def test_an_index_names_only_files_of_its_folder(copy, name):
  tensors = safetensors.numpy.load_file(copy / "model.safetensors")
  (copy / "model.safetensors").rename(copy.parent / "elsewhere.safetensors")
  index = {"weight_map": dict.fromkeys(tensors, name)}
  (copy / "model.safetensors.index.json").write_text(json.dumps(index))
  with pytest.raises(errors.UserError, match=r"index\.json"):
    checkpoints.open(copy)


def test_sharded_pytorch_weights_get_the_advice_that_one_file_gets(copy):
  (copy / "model.safetensors").unlink()
  (copy / "pytorch_model.bin.index.json").write_text("{}")
  with pytest.raises(errors.UserError, match="safetensors"):
    checkpoints.open(copy)


def test_overlapping_tensors_are_refused(copy):
  path = copy / "model.safetensors"
  content = path.read_bytes()
  (size,) = struct.unpack("<Q", content[:8])
  header = json.loads(content[8 : 8 + size])
  first, second = [n for n in header if n != "__metadata__"][:2]
  header[second] = header[first]
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
  with pytest.raises(errors.UserError):
    checkpoints.open(copy)


def test_a_gate_that_names_cannot_tell_is_assumed_aloud_and_may_be_given(
  tmp_path,
):
  """T5X writes the same names and shapes for GELU and SiLU gates."""
  variant = GOLDEN / "hf_variants" / "t5_1_1_silu"
  expected = dict(np.load(variant / "expected.npz"))
  checkpoints.convert(variant, tmp_path / "t5x", format="t5x")
  shutil.rmtree(tmp_path / "t5x" / "architecture")
  bare = checkpoints.open(tmp_path / "t5x")
  assert bare.config.mlp_activations == ("gelu", "linear")
  assert "mlp_activations=gelu,linear" in " ".join(bare.notes)
  checkpoints.convert(
    tmp_path / "t5x",
    tmp_path / "given",
    format="t5x",
    mlp_activations=("silu", "linear"),
  )
  _assert_computes(tmp_path / "given", expected)
