"""Compares T5X's loss and gradient on our objectives with ours.

Needs T5X on PYTHONPATH; says so and compares nothing where it is not.
"""

import importlib.util
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import losses
from rlhf_gap.models import t5
from rlhf_gap.training import batch_metrics, objectives

_TOLERANCE = 1e-5  # relative, in float32


def _batch(rows: int = 4) -> dict[str, np.ndarray]:
  random = np.random.default_rng(0)

  def tokens(length: int) -> np.ndarray:
    ids = random.integers(3, 64, (rows, length), dtype=np.int32)
    for row, size in enumerate(random.integers(2, length + 1, rows)):
      ids[row, size - 1], ids[row, size:] = 1, 0
    return ids

  chosen = tokens(6)
  return {
    "encoder_input_tokens": tokens(9),
    "decoder_input_tokens": np.pad(chosen, ((0, 0), (1, 0)))[:, :-1],
    "decoder_target_tokens": chosen,
    "decoder_loss_weights": (chosen > 0).astype(np.int32),
    "rejected_target_tokens": tokens(6),
    "chosen_reference": random.normal(-20, 3, (rows, 1)).astype(np.float32),
    "rejected_reference": random.normal(-20, 3, (rows, 1)).astype(np.float32),
    "judge_r12": random.uniform(size=(rows, 1)).astype(np.float32),
    "judge_r21": random.uniform(size=(rows, 1)).astype(np.float32),
    "weight": np.array([[1.0], [1.0], [0.0], [1.0]], np.float32),
  }


def _relative(theirs: object, ours: object) -> float:
  pairs = zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True)
  return max(
    float(jnp.linalg.norm(a - b) / jnp.maximum(jnp.linalg.norm(b), 1e-12))
    for a, b in pairs
  )


def main() -> None:
  """Compares loss, gradient and metrics for every objective."""
  if importlib.util.find_spec("t5x") is None:
    print("t5x is not importable: nothing was compared")
    return
  import seqio
  from t5x import adafactor
  from t5x.examples.t5 import network

  from rlhf_gap.t5x import models

  sizes: dict[str, Any] = {
    "vocab_size": 64,
    "emb_dim": 32,
    "num_heads": 4,
    "head_dim": 8,
    "mlp_dim": 48,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "mlp_activations": ("gelu", "linear"),
    "logits_via_embedding": False,
  }
  config = t5.T5Config(**sizes)
  module = network.Transformer(network.T5Config(dtype="float32", **sizes))
  params = t5.init(config, jax.random.key(0))
  vocabulary, batch = seqio.ByteVocabulary(), _batch()
  specs: list[Any] = [
    objectives.Contrastive(losses.Ipo(beta=0.1, form=form), "sum")
    for form in losses.IPO_FORMS
  ]
  specs += [
    objectives.Contrastive(losses.Ipo(beta=0.1), "mean", "soft"),
    objectives.Contrastive(losses.Dpo(), "sum", "soft"),
    objectives.BestOfTwo(),
  ]
  failed = False
  for spec in specs:
    model = models.PreferencePolicy(
      module, vocabulary, vocabulary, adafactor.Adafactor(), objective=spec
    )
    (loss, metrics), gradient = jax.jit(
      jax.value_and_grad(lambda p, m=model: m.loss_fn(p, batch, None), 0, True)
    )(params)
    objective, pairs = spec.bind(config, None), models.preference_batch(batch)

    def mean(
      p: t5.Params, objective: object = objective, pairs: object = pairs
    ) -> object:
      total, sums = objective(p, pairs, None)
      means, weight = batch_metrics.means(sums)
      return total / weight, means

    (expected, means), slope = jax.jit(jax.value_and_grad(mean, has_aux=True))(
      params
    )
    reported = {name: metrics[name].compute() for name in means}
    worst = max(
      _relative(loss, expected),
      _relative(gradient, slope),
      _relative(reported, dict(means)),
    )
    failed |= not worst < _TOLERANCE
    print(f"{spec.describe()}: largest relative difference {worst:.1e}")
  sys.exit(1 if failed else 0)


if __name__ == "__main__":
  main()
