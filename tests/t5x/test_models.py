"""Against a stub of T5X's base class with its signatures, and no more."""

import importlib
import importlib.machinery
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import seqio

from rlhf_gap import losses, stores
from rlhf_gap.models import t5
from rlhf_gap.training import objectives

pytestmark = pytest.mark.slow

CONFIG = t5.T5Config(
  vocab_size=48,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=24,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
OURS = ("features", "tasks", "models")


class EncoderDecoderModel:
  """T5X's constructor and the one method that we call."""

  def __init__(
    self, module, input_vocabulary, output_vocabulary, optimizer_def
  ):
    self.module = module

  def _compute_logits(self, params, batch, dropout_rng=None):
    return t5.logits(
      self.module,
      params,
      batch["encoder_input_tokens"],
      batch["decoder_input_tokens"],
      dropout_key=dropout_rng,
    )


class Metric:
  """One of T5X's speedometers."""

  @classmethod
  def from_model_output(cls):
    """Returns a new one."""
    return cls()


@pytest.fixture
def inside_t5x(monkeypatch):
  parts = {
    "t5x": {},
    "t5x.models": {"EncoderDecoderModel": EncoderDecoderModel},
    "t5x.metrics": {"StepsPerTime": Metric, "Time": Metric},
  }
  for name, content in parts.items():
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
  for name in ("metrics", "models"):
    setattr(sys.modules["t5x"], name, sys.modules[f"t5x.{name}"])
  names = ["rlhf_gap.t5x", *(f"rlhf_gap.t5x.{name}" for name in OURS)]
  for name in names:
    monkeypatch.delitem(sys.modules, name, raising=False)
  yield types.SimpleNamespace(
    **{name: importlib.import_module(f"rlhf_gap.t5x.{name}") for name in OURS}
  )
  for name in names:
    sys.modules.pop(name, None)


def batch():
  random = np.random.default_rng(3)
  chosen = random.integers(3, 48, (3, 5), dtype=np.int32)
  rejected = random.integers(3, 48, (3, 4), dtype=np.int32)
  chosen[0, 3:] = 0
  numbers = {
    "chosen_reference": -9.0,
    "rejected_reference": -8.0,
    "judge_r12": 0.75,
    "judge_r21": 0.25,
  }
  rows = {
    "encoder_input_tokens": random.integers(3, 48, (3, 6), dtype=np.int32),
    "decoder_target_tokens": chosen,
    "rejected_target_tokens": np.pad(rejected, ((0, 0), (0, 1))),
    "weight": np.array([[1], [0], [1]], np.float32),
    **{k: np.full((3, 1), v, np.float32) for k, v in numbers.items()},
  }
  return {name: jnp.asarray(value) for name, value in rows.items()}


def log_prob(params, prompt, response):
  """Sum of log softmax, row by row in float64, without padding."""
  response = np.asarray(response)
  response = response[response > 0]
  shifted = np.concatenate([[0], response[:-1]])
  given = (jnp.asarray(x, jnp.int32)[None] for x in (prompt, shifted))
  logits = t5.logits(CONFIG, params, *given)[0]
  logits = np.asarray(logits, np.float64)
  scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return scores[np.arange(len(response)), response].sum()


def test_loss_is_ipo_of_scored_pairs(inside_t5x):
  params, rows = t5.init(CONFIG, jax.random.key(0)), batch()
  model = inside_t5x.models.PreferencePolicy(
    CONFIG,
    None,
    None,
    None,
    objective=objectives.Contrastive(losses.Ipo(beta=0.2), "sum"),
  )
  values, margins = [], []
  for row in (0, 2):  # row 1 has weight 0
    chosen, rejected = (
      log_prob(params, rows["encoder_input_tokens"][row], rows[name][row])
      for name in ("decoder_target_tokens", "rejected_target_tokens")
    )
    margins.append((chosen + 9) - (rejected + 8))
    values.append((0.2 * margins[-1] - 0.5) ** 2)
  loss, metrics = model.loss_fn(params, rows, None)
  np.testing.assert_allclose(loss, np.mean(values), rtol=1e-5)
  rho = metrics["rho_nats"].compute()
  np.testing.assert_allclose(rho, np.mean(margins), rtol=1e-5)
  scores = model.score_batch(params, rows)
  prompt = rows["encoder_input_tokens"][0]
  expected = log_prob(params, prompt, rows["decoder_target_tokens"][0])
  np.testing.assert_allclose(scores[0, 0], expected, rtol=1e-5)
  assert scores.shape == (3, 2)
  assert jnp.isfinite(loss)


def scored_store(path, *, scored=True):
  lengths = {"prompt": 6, "response": 4}
  identity = stores.CheckpointIdentity(path="p", sha256="0" * 64, step=0)
  manifest = stores.Manifest(
    task="any",
    schema="pairs",
    columns=stores.PAIRS,
    feature_lengths=lengths,
    vocabulary=stores.byte(),
    label=stores.Label("human"),
    chunk_rows=2,
    reference=identity if scored else None,
  )
  writer = stores.create(path, manifest)
  random = np.random.default_rng(0)
  for chunk in range(3):
    columns = {}
    for column in stores.PAIRS:
      shape = (2, lengths[column.axis]) if column.axis else (2,)
      values = random.integers(3, 99, shape).astype(column.dtype)
      columns[column.name] = values
    writer.append(chunk, columns)
    writer.commit()
  writer.finish(dropped={})
  return stores.open(path)


def converted(inside_t5x, task):
  names = {"inputs": 6, "chosen": 4, "rejected": 4}
  numbers = dict.fromkeys(inside_t5x.features.NUMBERS, 1)
  return seqio.get_dataset(
    task,
    names | numbers,
    dataset_split="train",
    shuffle=False,
    num_epochs=None,
    feature_converter=inside_t5x.features.PairFeatureConverter(pack=False),
    batch_size=2,
  ).as_numpy_iterator()


@pytest.mark.parametrize("kind", ["offline", "replay"])
def test_rows_are_those_of_a_run_here(inside_t5x, tmp_path, kind):
  path = str(tmp_path / "pairs")
  store = scored_store(path)
  task = getattr(inside_t5x.tasks, kind)(path, 2, seed=5)
  order = stores.Epochs() if kind == "offline" else stores.Blocks(1, "batch")
  theirs = converted(inside_t5x, task)
  ours = store.batches(order, seed=5, batch_size=2)
  for _ in range(3):
    batch_here, batch_there = next(ours), next(theirs)
    here, there = batch_here["prompt_tokens"], batch_there
    np.testing.assert_array_equal(there["encoder_input_tokens"], here)
    shifted = there["decoder_input_tokens"]
    np.testing.assert_array_equal(
      shifted[:, 1:], batch_here["chosen_tokens"][:, :-1]
    )
    np.testing.assert_array_equal(
      there["chosen_reference"][:, 0], batch_here["chosen_reference_log_prob"]
    )


def test_run_continues_after_its_newest_checkpoint(inside_t5x, tmp_path):
  for step in (1003, 1010):
    (tmp_path / f"checkpoint_{step}").mkdir()
  first = inside_t5x.tasks.first_batch(str(tmp_path), "sft/checkpoint_1000")
  assert first == 10


def test_store_without_reference_is_refused(inside_t5x, tmp_path):
  path = str(tmp_path / "pairs")
  scored_store(path, scored=False)
  with pytest.raises(Exception, match="no reference log-probabilities"):
    inside_t5x.tasks.offline(path, 2)


def test_says_what_is_missing_without_t5x(monkeypatch):
  monkeypatch.delitem(sys.modules, "rlhf_gap.t5x", raising=False)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ImportError, match="needs T5X, which is not installed"):
    importlib.import_module("rlhf_gap.t5x")
