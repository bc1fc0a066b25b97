"""A miniature's prompts and pairs, and models of a few hundred numbers."""

import jax
import numpy as np

from rlhf_gap import checkpoints, stores
from rlhf_gap.data import mini
from rlhf_gap.models import t5

CORPUS = "mini_helpfulness"
LENGTHS = {"prompt": 48, "response": 8}
CONFIG = t5.T5Config(
  vocab_size=256,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)


def params(seed, config=CONFIG):
  return t5.init(config, jax.random.key(seed))


def save(path, parameters, step=0, config=CONFIG):
  """Saves a checkpoint and returns its path."""
  checkpoints.save(path, checkpoints.Checkpoint(config, parameters, step))
  return str(path)


def moved(start, towards, fraction):
  """Parameters on the way from some to others."""
  return jax.tree.map(lambda a, b: a + fraction * (b - a), start, towards)


def _tokens(texts, length):
  encode = stores.encoder(stores.sentencepiece(mini.VOCABULARY_PATH))
  ids = [[*encode(text), 1][:length] for text in texts]
  return np.array([r + [0] * (length - len(r)) for r in ids], np.int32)


def _write(path, task, schema, columns, values, label=None, vocabulary=None):
  vocabulary = vocabulary or stores.sentencepiece(mini.VOCABULARY_PATH)
  manifest = stores.Manifest(
    task=task,
    schema=schema,
    columns=columns,
    feature_lengths=LENGTHS,
    vocabulary=vocabulary,
    label=label or stores.Label(),
  )
  writer = stores.create(str(path), manifest)
  writer.append(0, values)
  writer.finish()
  return str(path)


def prompts(path, count=40):
  """Writes a store of prompts and returns its path."""
  rows = list(mini.prompts(CORPUS, 0, 0, count))
  values = {
    "prompt_tokens": _tokens([r["prompt"] for r in rows], LENGTHS["prompt"]),
    "prompt_id": np.array([stores.prompt_id(r["prompt_id"]) for r in rows]),
    "truncated": np.zeros(count, np.int32),
  }
  task = f"{CORPUS}_prompts"
  return _write(path, task, "prompts", stores.PROMPTS, values)


def pairs(path, count=30, vocabulary=None):
  """Writes a store of pairs that a judge labelled; every tenth is a tie."""
  rows = list(mini.pairs(CORPUS, 0, 0, count))
  values = {}
  for spec in stores.PAIRS:
    shape = (count, *spec.row_shape(LENGTHS))
    values[spec.name] = np.zeros(shape, spec.dtype)
  for name, key, axis in (
    ("prompt", "prompt", "prompt"),
    ("chosen", "response_a", "response"),
    ("rejected", "response_b", "response"),
  ):
    texts = [row[key] for row in rows]
    values[f"{name}_tokens"] = _tokens(texts, LENGTHS[axis])
  values["weight"] = (np.arange(count) % 10 > 0).astype(np.float32)
  label = stores.Label("judge", stores.CheckpointIdentity("golden", "ab", 1))
  task = f"{CORPUS}_pairs"
  return _write(path, task, "pairs", stores.PAIRS, values, label, vocabulary)
