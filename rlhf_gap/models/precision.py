"""The dtype that each parameter is used in."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap.models import t5

# Modules that use float32 parameters whatever the activations' dtype.
_ALWAYS_WIDE = frozenset({"logits_dense", "relpos_bias"})


def as_computed(config: t5.T5Config, params: t5.Params) -> t5.Params:
  """Casts parameters to the dtypes that the model uses them in.

  A model with bfloat16 activations casts every kernel, norm scale and embedding
  to bfloat16 when it reads it. Storing them in bfloat16 gives bitwise identical
  results with half the memory and half the traffic. Parameters that the model
  reads in float32 are unchanged.

  Args:
    config: the architecture, including the activations' dtype.
    params: the model's parameters, at least as wide as the activations.

  Returns:
    The parameters; arrays that already have the right dtype are not copied.
  """

  def cast(path: tuple[Any, ...], param: jax.Array) -> jax.Array:
    names = [key.key for key in path]
    return param.astype(type_of(config, names, param.dtype))

  return jax.tree_util.tree_map_with_path(cast, params)


def type_of(
  config: t5.T5Config, names: Sequence[str], given: np.dtype
) -> np.dtype:
  """Returns the dtype that a parameter is used in; see `as_computed`.

  Args:
    config: the architecture, including the activations' dtype.
    names: the parameter's path, from the outermost module to its own name.
    given: the parameter's current dtype.
  """
  narrow = jnp.dtype(config.dtype)
  tied = config.logits_via_embedding and "token_embedder" in names
  if tied or not _ALWAYS_WIDE.isdisjoint(names):
    return given
  return narrow if narrow.itemsize < given.itemsize else given
