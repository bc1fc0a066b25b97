"""Samples from a list of prompts, in batches, as JSON-compatible records."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import errors, progress, stores
from rlhf_gap.inference import diagnose, prompt_sources, sample, score
from rlhf_gap.models import t5
from rlhf_gap.token_ids import PAD_ID


def records(
  config: t5.T5Config,
  params: t5.Params,
  prompts: prompt_sources.Prompts,
  *,
  seed: int,
  batch_size: int,
  settings: dict[str, Any],
) -> Iterator[dict[str, Any]]:
  """Yields one record per prompt.

  Args:
    config: the policy's architecture.
    params: its parameters.
    prompts: what to sample from.
    seed: of all random bits; a prompt's samples depend on it and the prompt's
      id, not on the batch size.
    batch_size: prompts at a time.
    settings: keyword arguments of `sample.sample`.

  Yields:
    {"row", "prompt", "samples": [{"text", "tokens", "log_probs",
    "log_prob_sum"}]}: token ids without padding, log-probabilities of the
    policy at temperature 1 in nats.

  Raises:
    UserError: logits stopped being finite; the step and the layer are named.
  """
  decode = stores.decoder(prompts.vocabulary)
  key = jax.random.key(seed)
  with progress.bar("sampling", len(prompts.ids), "prompts") as bar:
    for tokens, ids, real in prompts.batches(batch_size):
      samples = sample.sample(
        config,
        params,
        jnp.asarray(tokens),
        key,
        row_ids=jnp.asarray(ids),
        **settings,
      )
      _check_finite(config, params, jnp.asarray(tokens), samples)
      drawn, log_probs = (
        np.asarray(samples.tokens),
        np.asarray(samples.log_probs),
      )
      for row in range(real):
        yield {
          "row": int(ids[row]),
          "prompt": decode(tokens[row].tolist()),
          "samples": [
            _record(ids_of, scores, decode)
            for ids_of, scores in zip(drawn[row], log_probs[row], strict=True)
          ],
        }
      bar.update(real)


def _record(tokens: np.ndarray, log_probs: np.ndarray, decode: Any) -> dict:
  length = int((tokens > PAD_ID).sum())
  return {
    "text": decode(tokens.tolist()),
    "tokens": tokens[:length].tolist(),
    "log_probs": [round(float(x), 6) for x in log_probs[:length]],
    "log_prob_sum": float(log_probs.sum()),
  }


def _check_finite(
  config: t5.T5Config,
  params: t5.Params,
  tokens: jax.Array,
  samples: sample.Samples,
) -> None:
  step = int(samples.first_bad_step)
  if step < 0:
    return
  responses = score.shift_right(samples.tokens[:, 0])
  where = diagnose.first_bad_layer(config, params, tokens, responses)
  raise errors.UserError(
    f"logits are not finite at step {step} of decoding, first in"
    f" {where or 'a sampled response'}; the checkpoint has diverged, or"
    " bfloat16 overflows: try --dtype=float32"
  )
