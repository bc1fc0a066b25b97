"""Hugging Face's output heads and settings: read as transformers computes."""

import json

import numpy as np
import pytest
import safetensors.numpy

from rlhf_gap import checkpoints, errors
from rlhf_gap.checkpoints import hf, hf_config
from tests.checkpoints import tiny

_HEAD = "decoder/logits_dense/kernel"


@pytest.fixture
def folder(tmp_path):
  """A Hugging Face folder with a separate head, not scaled."""
  tiny.save(tmp_path / "hf", "hf")
  return tmp_path / "hf"


def _edit(folder, removed=(), **changes):
  config = json.loads((folder / hf.CONFIG).read_text()) | changes
  for name in removed:
    del config[name]
  (folder / hf.CONFIG).write_text(json.dumps(config))


def _edit_tensors(folder, edit):
  tensors = dict(safetensors.numpy.load_file(folder / hf.WEIGHTS))
  edit(tensors)
  safetensors.numpy.save_file(tensors, folder / hf.WEIGHTS)
  return tensors


def _head(folder):
  """The head's kernel, or None for the scaled embedding, and the notes."""
  opened = checkpoints.open(folder)
  array = opened.arrays.get(_HEAD)
  assert opened.config.logits_via_embedding == (array is None)
  return None if array is None else array.read_all(), " ".join(opened.notes)


def test_a_separate_head_is_read_as_it_is(folder):
  tensors = safetensors.numpy.load_file(folder / hf.WEIGHTS)
  head, notes = _head(folder)
  np.testing.assert_array_equal(head, tensors["lm_head.weight"].T)
  assert notes == ""


def test_the_scale_of_a_separate_head_is_multiplied_into_it(folder):
  """That is, (x d^-1/2) W = x (d^-1/2 W), with d_model = 4."""
  _edit(folder, scale_decoder_outputs=True)
  tensors = safetensors.numpy.load_file(folder / hf.WEIGHTS)
  head, notes = _head(folder)
  np.testing.assert_array_equal(head, tensors["lm_head.weight"].T * 0.5)
  assert "the scale is multiplied into the kernel" in notes


def test_an_unscaled_embedding_becomes_a_separate_head(folder):
  tensors = _edit_tensors(folder, lambda t: t.pop("lm_head.weight"))
  head, notes = _head(folder)
  np.testing.assert_array_equal(head, tensors["shared.weight"].T)
  assert "the head is the unscaled embedding" in notes


def test_a_tied_head_is_the_scaled_embedding(folder):
  _edit_tensors(folder, lambda t: t.pop("lm_head.weight"))
  _edit(folder, tie_word_embeddings=True, scale_decoder_outputs=True)
  assert _head(folder) == (None, "")


def test_mt5_never_scales(folder):
  _edit(folder, model_type="mt5", scale_decoder_outputs=True)
  head, notes = _head(folder)
  tensors = safetensors.numpy.load_file(folder / hf.WEIGHTS)
  np.testing.assert_array_equal(head, tensors["lm_head.weight"].T)
  assert "scale_decoder_outputs=true is ignored" in notes


def test_a_tied_model_with_another_head_is_noted(folder):
  """Transformers 4 ignores that head, 5 uses it."""
  _edit(folder, ["scale_decoder_outputs"], tie_word_embeddings=True)
  _, notes = _head(folder)
  assert "with lm_head.weight as head, scaled by d_model**-0.5" in notes
  assert "transformers 4 computes with the embedding, scaled" in notes


def test_an_untied_model_without_a_head_is_noted(folder):
  _edit_tensors(folder, lambda t: t.pop("lm_head.weight"))
  _edit(folder, ["scale_decoder_outputs"], tie_word_embeddings=False)
  _, notes = _head(folder)
  assert "transformers 4 initializes such a head at random" in notes


def test_a_copy_of_the_embedding_may_not_differ(folder):
  def add(tensors):
    tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"] + 1

  _edit_tensors(folder, add)
  with pytest.raises(errors.UserError, match="differs from shared.weight"):
    checkpoints.open(folder)


def test_a_file_may_hold_the_embedding_under_another_name(folder):
  """Any copy will do."""

  def rename(tensors):
    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")

  expected = checkpoints.fingerprint(folder)
  _edit_tensors(folder, rename)
  assert checkpoints.fingerprint(folder) == expected


def test_a_folder_without_config_is_read_with_notes(folder):
  (folder / hf.CONFIG).unlink()
  opened = checkpoints.open(folder, mlp_activations=("gelu", "linear"))
  assert opened.config == tiny.CONFIG
  assert any("max_distance=128" in note for note in opened.notes)
  assert any("special ids are 0, 0 and 1" in note for note in opened.notes)


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({"pad_token_id": 3}, "pad_token_id=3; expected pad_token_id=0"),
    ({"eos_token_id": [1, 2]}, r"eos_token_id=\[1, 2\]"),
    ({"decoder_start_token_id": 1}, "decoder_start_token_id=1"),
    ({"tie_encoder_decoder": True}, "sets tie_encoder_decoder"),
    ({"pruned_heads": {"0": [1]}}, "sets pruned_heads"),
    ({"quantization_config": {"bits": 8}}, "sets quantization_config"),
    ({"model_type": "umt5"}, "only one per stack"),
    ({"model_type": "longt5"}, "attends locally"),
    ({"feed_forward_proj": "gated-gelu-new"}, "expected relu, gated-gelu"),
    ({"feed_forward_proj": "gated-selu"}, "expected relu, gated-gelu"),
    ({"dense_act_fn": "relu"}, "which mean gated-relu; correct the wrong one"),
    ({"is_gated_act": False}, "which mean gelu; correct the wrong one"),
    ({"dropout_rate": 1.5}, "dropout_rate"),
    ({"d_model": 4.0}, "d_model"),
  ],
)
def test_settings_that_change_the_output_are_refused(folder, changes, expected):
  _edit(folder, **changes)
  with pytest.raises(errors.UserError, match=expected) as raised:
    checkpoints.open(folder)
  assert str(raised.value).startswith(str(folder))


def test_special_ids_of_generation_count_too(folder):
  ids = {"eos_token_id": 5}
  (folder / hf_config.GENERATION).write_text(json.dumps(ids))
  with pytest.raises(errors.UserError, match=r"generation_config.*=5; expect"):
    checkpoints.open(folder)
  (folder / hf_config.GENERATION).write_text('{"eos_token_id": [1]}')
  checkpoints.open(folder)


@pytest.mark.parametrize(
  ("projection", "activations"),
  [
    ("gated-gelu", ("gelu", "linear")),
    ("gated-silu", ("silu", "linear")),
    ("gated-swish", ("silu", "linear")),
    ("gated-relu", ("relu", "linear")),
  ],
)
def test_feed_forward_layers_of_config(folder, projection, activations):
  removed = ["dense_act_fn", "is_gated_act"]
  _edit(folder, removed, feed_forward_proj=projection)
  assert checkpoints.open(folder).config.mlp_activations == activations
