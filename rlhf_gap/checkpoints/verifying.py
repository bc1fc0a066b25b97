"""Compares a converted checkpoint with its source."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import errors
from rlhf_gap.checkpoints import architecture_file, stored
from rlhf_gap.models import t5

MAX_PROBED_PARAMETERS = 300_000_000
"""Largest model whose logits are compared.

Beyond it only arrays and architecture are: computing logits holds the whole
model in memory, while arrays are compared one at a time.
"""


def verify(
  original: stored.StoredCheckpoint,
  digests: Mapping[str, str],
  written: stored.StoredCheckpoint,
  path: str,
) -> None:
  """Compares a checkpoint read back from disk with its source.

  Args:
    original: the source.
    digests: digests of its arrays by full name (see `stored.with_digests`).
    written: the copy, opened again.
    path: the copy's final folder, for messages.

  Raises:
    UserError: an array, a field of the architecture or a logit differs.
  """
  _check_arrays(written, digests, path)
  for name in architecture_file.COMPUTED:
    before, after = (
      getattr(original.config, name),
      getattr(written.config, name),
    )
    if before != after:
      raise errors.UserError(
        f"{path}: {name} was {before} and reads back as {after}: the format"
        " cannot represent it; nothing was kept"
      )
  if not is_probed(original):
    return
  # One after the other, so that only one copy of the model is in memory.
  before, after = _logits(original), _logits(written)
  if not np.array_equal(before, after, equal_nan=True):
    # Where only one of them is a number, they differ without bound.
    gaps = np.nan_to_num(np.abs(before - after), nan=np.inf)
    both_nan = np.isnan(before) & np.isnan(after)
    difference = float(np.max(gaps, where=~both_nan, initial=0.0))
    raise errors.UserError(
      f"{path}: its logits differ from its source's by up to"
      f" {difference:.3g}; nothing was kept"
    )


def is_probed(checkpoint: stored.StoredCheckpoint) -> bool:
  """Returns whether `verify` compares logits: only for a small enough model."""
  parameters = sum(array.size for array in checkpoint.arrays.values())
  return parameters <= MAX_PROBED_PARAMETERS


def _check_arrays(
  written: stored.StoredCheckpoint, digests: Mapping[str, str], path: str
) -> None:
  read_back = stored.for_each(
    written.all_arrays(),
    "verifying",
    lambda _, array: stored.digest(array.read_all()),
  )
  for name in sorted(set(read_back) | set(digests)):
    if read_back.get(name) != digests.get(name):
      raise errors.UserError(
        f"{path}: {name} reads back differently than it was written; check the"
        " disk; nothing was kept"
      )


def _logits(checkpoint: stored.StoredCheckpoint) -> np.ndarray:
  """Returns the logits of two short prompts and responses."""
  params = stored.unflatten(
    stored.for_each(
      checkpoint.arrays,
      "computing logits",
      lambda _, array: stored.to_device(array, None),
    )
  )
  # As in training and sampling: padding at the end, decoding starts from 0.
  rng = np.random.default_rng(0)
  size = checkpoint.config.vocab_size
  prompts = rng.integers(0, size, (2, 24))
  prompts[1, 16:] = 0
  responses = rng.integers(0, size, (2, 6))
  responses[:, 0] = 0
  apply = jax.jit(t5.logits, static_argnums=0)
  return np.asarray(
    apply(
      checkpoint.config, params, jnp.asarray(prompts), jnp.asarray(responses)
    )
  )
