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
from rlhf_gap.batches import PreferenceBatch
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


_SIZES: dict[str, Any] = {
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

Spec = objectives.Contrastive | objectives.BestOfTwo


def _specs() -> list[Spec]:
  ipo = [losses.Ipo(beta=0.1, form=form) for form in losses.IPO_FORMS]
  return [
    *(objectives.Contrastive(loss, "sum") for loss in ipo),
    objectives.Contrastive(losses.Ipo(beta=0.1), "mean", "soft"),
    objectives.Contrastive(losses.Dpo(), "sum", "soft"),
    objectives.BestOfTwo(),
  ]


def _ours(spec: Spec, params: t5.Params, pairs: PreferenceBatch) -> Any:
  """Returns ((loss, metrics), gradient) as a training step here has them."""
  objective = spec.bind(t5.T5Config(**_SIZES), None)

  def mean(p: t5.Params) -> tuple[jax.Array, dict[str, jax.Array]]:
    total, sums = objective(p, pairs, None)
    means, weight = batch_metrics.means(sums)
    return total / weight, means

  return jax.jit(jax.value_and_grad(mean, has_aux=True))(params)


def _theirs(spec: Spec, params: t5.Params, batch: Any) -> Any:
  """Returns ((loss, metrics), gradient) as T5X has them."""
  import seqio
  from t5x import adafactor
  from t5x.examples.t5 import network

  from rlhf_gap.t5x import models

  vocabulary = seqio.ByteVocabulary()
  model = models.PreferencePolicy(
    network.Transformer(network.T5Config(dtype="float32", **_SIZES)),
    vocabulary,
    vocabulary,
    adafactor.Adafactor(),
    objective=spec,
  )

  def loss(p: t5.Params) -> Any:
    return model.loss_fn(p, batch, None)

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def main() -> int:
  """Compares every objective; returns the exit code."""
  if importlib.util.find_spec("t5x") is None:
    print("t5x is not importable: nothing was compared")
    return 0
  from rlhf_gap.t5x import models

  params, batch = t5.init(t5.T5Config(**_SIZES), jax.random.key(0)), _batch()
  differences = []
  for spec in _specs():
    (loss, metrics), gradient = _theirs(spec, params, batch)
    (expected, means), slope = _ours(
      spec, params, models.preference_batch(batch)
    )
    reported = {name: metrics[name].compute() for name in means}
    differences.append(
      max(
        _relative(loss, expected),
        _relative(gradient, slope),
        _relative(reported, dict(means)),
      )
    )
    worst = f"largest relative difference {differences[-1]:.1e}"
    print(f"{spec.describe()}: {worst}")
  return int(not max(differences) < _TOLERANCE)


if __name__ == "__main__":
  sys.exit(main())
