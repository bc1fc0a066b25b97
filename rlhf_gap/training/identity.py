"""A run's identity: its settings and inputs, as flat names and values.

Inputs are identified by content. On resuming, `source.store.sha256` is
compared; the path `source.store` is informational.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rlhf_gap import pairs, processes, stores

VOCABULARY = "vocabulary"
# Suffixes of an input's name.
SHA256, ROWS = ".sha256", ".rows"

# Settings that do not affect what a run computes.
_NOT_IDENTITY = frozenset(
  {
    "model_dir",
    "train_steps",
    "checkpoint_every_steps",
    "keep",
    "keep_steps",
    "log_every_steps",
    "tensorboard",
    "tracking",
    "patience",
    "mesh",
  }
)


class Identity(NamedTuple):
  """The settings and inputs that define a run.

  Attributes:
    now: identity with the current inputs; recorded by a new run.
    before: the same, but with only those rows of a growing store that existed
      when the run began; compared with the recorded identity.
  """

  now: dict[str, str]
  before: dict[str, str]


class Fingerprints:
  """Hashes a run's inputs, each checkpoint only once.

  Process 0 reads every byte, for all processes.
  """

  def __init__(self) -> None:
    self._checkpoints: dict[str, str] = {}

  def checkpoint(self, path: str) -> str:
    """Returns a checkpoint's fingerprint, see `checkpoints.fingerprint`."""
    if path not in self._checkpoints:
      self._checkpoints[path] = pairs.checkpoint_fingerprint(path)
    return self._checkpoints[path]

  def store(self, path: str, num_rows: int) -> str:
    """Returns the fingerprint of a store's first rows."""
    return processes.from_first(
      lambda: stores.fingerprint(stores.open(path), num_rows)
    )

  def rows(self, path: str) -> int:
    """Returns a store's current number of rows."""
    return processes.from_first(lambda: stores.open(path).num_rows)


def identify(
  run: Any, fingerprints: Fingerprints, noted: Mapping[str, str]
) -> Identity:
  """Returns a run's identity as a flat mapping.

  Args:
    run: the description, a frozen dataclass.
    fingerprints: hashes its inputs.
    noted: the identity recorded when the run began; {} for a new run.

  Returns:
    The settings that affect results, and the inputs' fingerprints. Length and
    checkpoint settings are excluded, so a run can be extended.

  Raises:
    UserError: an input does not exist.
  """
  now: dict[str, str] = {}
  for field in dataclasses.fields(run):
    if field.name not in _NOT_IDENTITY:
      _flatten(field.name, getattr(run, field.name), now)
  before = dict(now)
  for name, kind, path, may_grow in _inputs("", run):
    if kind == "checkpoint":
      now[name + SHA256] = before[name + SHA256] = fingerprints.checkpoint(path)
      continue
    rows = fingerprints.rows(path)
    now[name + ROWS] = str(rows)
    now[name + SHA256] = fingerprints.store(path, rows)
    before |= {key: now[key] for key in (name + ROWS, name + SHA256)}
    began_with = int(noted.get(name + ROWS, rows))
    if may_grow and began_with < rows:
      before[name + ROWS] = str(began_with)
      before[name + SHA256] = fingerprints.store(path, began_with)
  return Identity(now, before)


class _Input(NamedTuple):
  name: str
  kind: str
  path: str
  may_grow: bool


def _inputs(prefix: str, value: Any) -> Iterator[_Input]:
  """Yields the fields marked as inputs, recursively."""
  if isinstance(value, tuple):
    for number, item in enumerate(value):
      yield from _inputs(f"{prefix}{number}.", item)
  if not dataclasses.is_dataclass(value) or isinstance(value, type):
    return
  for field in dataclasses.fields(value):
    below, name = getattr(value, field.name), f"{prefix}{field.name}"
    kind = field.metadata.get("input")
    if kind is None:
      yield from _inputs(f"{name}.", below)
    elif below is not None:
      yield _Input(name, kind, below, getattr(value, "may_grow", False))


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
