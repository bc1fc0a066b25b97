"""The type that each parameter is computed with."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap.models import t5

# Read in float32 whatever the activations' type: the head and position biases.
_ALWAYS_WIDE = frozenset({"logits_dense", "relpos_bias"})


def as_computed(config: t5.T5Config, params: t5.Params) -> t5.Params:
  """Returns parameters in the types that the model computes with.

  A model of bfloat16 activations casts a kernel, a norm's scale or an embedding
  to bfloat16 wherever it reads one. Held in that type from the start they give
  the same results, bit for bit, from half the memory and half the traffic.
  What the model reads in float32 stays as it is.

  Args:
    config: the architecture, with the activations' type.
    params: its parameters, wider or as wide.

  Returns:
    The parameters; those whose type is right already are the same arrays.
  """

  def cast(path: tuple[Any, ...], param: jax.Array) -> jax.Array:
    names = [key.key for key in path]
    return param.astype(type_of(config, names, param.dtype))

  return jax.tree_util.tree_map_with_path(cast, params)


def type_of(
  config: t5.T5Config, names: Sequence[str], given: np.dtype
) -> np.dtype:
  """Returns the type that a parameter is computed with; see `as_computed`.

  Args:
    config: the architecture, with the activations' type.
    names: the parameter's, from the outermost module to itself.
    given: its type.
  """
  narrow = jnp.dtype(config.dtype)
  tied = config.logits_via_embedding and "token_embedder" in names
  if tied or not _ALWAYS_WIDE.isdisjoint(names):
    return given
  return narrow if narrow.itemsize < given.itemsize else given
