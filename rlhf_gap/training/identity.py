"""What makes a run what it is, as flat names and values."""

import dataclasses
from typing import Any

VOCABULARY = "vocabulary"

# Settings that say how far and how a run goes, not what it computes.
_NOT_IDENTITY = frozenset(
  {
    "model_dir",
    "train_steps",
    "checkpoint_every_steps",
    "keep",
    "keep_steps",
    "log_every_steps",
    "tensorboard",
    "patience",
    "mesh",
  }
)


def of(run: Any) -> dict[str, str]:
  """Returns what makes a run what it is, flat: name -> value.

  Args:
    run: the description, a frozen dataclass.

  Returns:
    Settings that change what is computed; how long and how often saved is left
    out, so that a run may be prolonged.
  """
  flat: dict[str, str] = {}
  for field in dataclasses.fields(run):
    if field.name not in _NOT_IDENTITY:
      _flatten(field.name, getattr(run, field.name), flat)
  return flat


def _flatten(name: str, value: Any, flat: dict[str, str]) -> None:
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    flat[name] = type(value).__name__
    for field in dataclasses.fields(value):
      _flatten(f"{name}.{field.name}", getattr(value, field.name), flat)
  elif (
    isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0])
  ):
    for number, item in enumerate(value):
      _flatten(f"{name}.{number}", item, flat)
  elif callable(value):
    flat[name] = value.__qualname__
  else:
    flat[name] = str(value)
