"""Loads the models of an evaluation and checks that they fit together."""

import dataclasses

import numpy as np

from rlhf_gap import checkpoints, errors, stores
from rlhf_gap.models import t5

# Fields that affect neither the parameters nor evaluation.
_TRAINING_ONLY = ("dropout_rate", "remat_policy")


@dataclasses.dataclass(frozen=True)
class Model:
  """A loaded checkpoint and its identity."""

  config: t5.T5Config
  params: t5.Params
  checkpoint: stores.CheckpointIdentity


def load(path: str, dtype: str | None = None) -> Model:
  """Loads a checkpoint's parameters.

  Args:
    path: the checkpoint's folder, of any known format.
    dtype: "float32" or "bfloat16" to cast to; None keeps the bits.

  Returns:
    The model; its fingerprint is that of the stored bits.

  Raises:
    UserError: there is no complete checkpoint, or it is not a T5.
  """
  loaded = checkpoints.load(path, dtype=dtype, optimizer_state=False)
  names = stores.CheckpointIdentity(
    path, checkpoints.fingerprint(path), loaded.step
  )
  return Model(loaded.config, loaded.params, names)


def named(path: str) -> stores.CheckpointIdentity:
  """Returns a checkpoint's identity without keeping its parameters in memory.

  Args:
    path: the checkpoint's folder.

  Raises:
    UserError: there is no complete checkpoint, or it is not a T5.
  """
  step = checkpoints.open(path).step
  return stores.CheckpointIdentity(path, checkpoints.fingerprint(path), step)


def check_same_architecture(policy: Model, reference: Model) -> None:
  """Raises unless two models compute with parameters of the same shapes.

  Args:
    policy: the policy to evaluate.
    reference: the reference.

  Raises:
    UserError: a field of their configurations differs; it is named.
  """
  for field in dataclasses.fields(t5.T5Config):
    mine, other = (getattr(m.config, field.name) for m in (policy, reference))
    if mine != other and field.name not in _TRAINING_ONLY:
      raise errors.UserError(
        f"{policy.checkpoint.path}: {field.name} is {mine}, but {other} in the"
        f" reference {reference.checkpoint.path}; a KL needs one architecture:"
        " is the reference the policy's own start?"
      )


def check_token_ids(model: Model, largest: int, source: str) -> None:
  """Raises unless a model has a row for every token id.

  Args:
    model: any model of the evaluation.
    largest: the largest id it will read.
    source: the store that holds it, for the message.

  Raises:
    UserError: the id is outside the embedding.
  """
  if largest >= model.config.vocab_size:
    raise errors.UserError(
      f"{model.checkpoint.path}: its embedding has"
      f" {model.config.vocab_size:,} rows, but {source} holds token"
      f" {largest:,}; they are of different vocabularies"
    )


def check_finite(model: Model, what: str, *values: np.ndarray) -> None:
  """Raises unless a model's results are finite.

  Args:
    model: the model.
    what: the values' name, in the plural.
    *values: any arrays.

  Raises:
    UserError: a value is NaN or infinite.
  """
  if not all(np.isfinite(value).all() for value in values):
    raise errors.UserError(
      f"{model.checkpoint.path}: its {what} are not finite; the model has"
      " diverged, or bfloat16 overflowed: try --dtype=float32"
    )
