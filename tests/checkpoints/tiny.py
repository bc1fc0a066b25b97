"""The smallest checkpoints that every reader accepts."""

import pathlib

import numpy as np
import pytest

from rlhf_gap import checkpoints, errors
from rlhf_gap.checkpoints import stored
from rlhf_gap.models import t5

CONFIG = t5.T5Config(
  vocab_size=16,
  emb_dim=4,
  num_heads=2,
  head_dim=2,
  mlp_dim=4,
  num_encoder_layers=1,
  num_decoder_layers=1,
  mlp_activations=("gelu", "linear"),
  logits_via_embedding=False,
)


def save(path: pathlib.Path, format: str) -> None:
  """Saves a model of one layer per stack, with some optimizer state."""
  random = np.random.default_rng(0)
  params = {
    name: random.normal(size=leaf.shape).astype(np.float32)
    for name, leaf in stored.flatten(t5.param_shapes(CONFIG)).items()
  }
  state = {
    f"{name}/{moment}": np.full(shape, 0.5, np.float32)
    for name in ("encoder/encoder_norm/scale", "decoder/decoder_norm/scale")
    for moment, shape in {"v": 4, "v_row": 1, "v_col": 1, "m": 1}.items()
  }
  checkpoint = checkpoints.Checkpoint(
    CONFIG, stored.unflatten(params), 1000, stored.unflatten(state)
  )
  checkpoints.save(path, checkpoint, format=format)


def read_all(path: pathlib.Path) -> None:
  """Reads every array of a checkpoint."""
  for array in checkpoints.open(path).all_arrays().values():
    array.read_all()


def check_refused(path: pathlib.Path, *expected: str) -> None:
  """Checks that reading fails with one line that contains all of `expected`."""
  with pytest.raises(errors.UserError) as raised:
    read_all(path)
  message = str(raised.value)
  assert len(message.splitlines()) == 1
  for text in expected:
    assert text in message
