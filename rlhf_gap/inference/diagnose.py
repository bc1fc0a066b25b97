"""Finds where a forward pass first becomes non-finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from rlhf_gap.models import t5, transformer


def first_bad_layer(
  config: t5.T5Config,
  params: t5.Params,
  encoder_input_tokens: Int[Array, "batch source"],
  decoder_input_tokens: Int[Array, "batch target"],
) -> str:
  """Names the first parameter or layer with a NaN or an infinity.

  Args:
    config: the architecture.
    params: the model's parameters.
    encoder_input_tokens: prompts, right-padded with 0.
    decoder_input_tokens: responses shifted right.

  Returns:
    "parameter decoder/...", "layer encoder/layers_3" or "the logits"; "" if
    everything is finite.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    if not bool(jnp.isfinite(leaf).all()):
      return f"parameter {'/'.join(str(key.key) for key in path)}"
  logits, state = transformer.Transformer(config).apply(
    {"params": params},
    encoder_input_tokens,
    decoder_input_tokens,
    capture_intermediates=True,
    mutable=["intermediates"],
  )
  for stack, count in (
    ("encoder", config.num_encoder_layers),
    ("decoder", config.num_decoder_layers),
  ):
    for number in range(count):
      name = f"layers_{number}"
      if not _is_finite(state["intermediates"][stack][name]["__call__"]):
        return f"layer {stack}/{name}"
  return "" if _is_finite(logits) else "the logits"


def _is_finite(tree: Any) -> bool:
  return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
