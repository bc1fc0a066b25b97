"""Stores of random tokens, tiny models, and sources that watch or interfere."""

import dataclasses

import numpy as np

from rlhf_gap import pairs, stores
from rlhf_gap.data import mini
from rlhf_gap.training import configured, description, metric_log, objectives
from tests.evaluation import tiny

ROWS = 24
RATE = 1e-3


def columns(specs, rows=ROWS, seed=0):
  """Returns random rows: tokens 2 to 99, EOS, pads; no number by chance 0."""
  generator = np.random.default_rng(seed)
  values = {}
  for spec in specs:
    shape = (rows, *spec.row_shape(tiny.LENGTHS))
    if spec.holds_tokens:
      lengths = generator.integers(2, shape[1] + 1, (rows, 1))
      position = np.arange(shape[1])
      drawn = generator.integers(2, 100, shape)
      ended = np.where(position < lengths - 1, drawn, position == lengths - 1)
      values[spec.name] = ended.astype(spec.dtype)
    elif spec.dtype == "float32":
      values[spec.name] = generator.uniform(0.1, 0.9, shape).astype("float32")
    else:
      values[spec.name] = generator.integers(0, 4, shape).astype(spec.dtype)
  return values


def write(path, schema, rows=ROWS, *, chunk_rows=8, about=None, **changes):
  """Writes a store of random rows.

  Args:
    path: its directory.
    schema: "prompts", "sft" or "pairs".
    rows: how many.
    chunk_rows: rows of an append.
    about: further fields of the manifest.
    **changes: columns to put in place of the random ones.
  """
  specs = stores.SCHEMAS[schema]
  values = {**columns(specs, rows), **changes}
  if "weight" in values and "weight" not in changes:
    values["weight"] = np.ones(rows, np.float32)
  manifest = stores.Manifest(
    task="made_up",
    schema=schema,
    columns=specs,
    feature_lengths=tiny.LENGTHS,
    vocabulary=stores.sentencepiece(mini.VOCABULARY_PATH),
    chunk_rows=chunk_rows,
    **(about or {}),
  )
  writer = stores.create(str(path), manifest)
  for chunk in range(-(-rows // chunk_rows)):
    part = slice(chunk * chunk_rows, (chunk + 1) * chunk_rows)
    writer.append(chunk, {name: v[part] for name, v in values.items()})
  writer.finish()
  return str(path)


def describe(folder, source, **changes):
  """Describes a run of 6 steps of 4 rows."""
  fields = {
    "model_dir": str(folder),
    "objective": objectives.Contrastive(reduction="sum"),
    "source": source,
    "optimizer": configured.AdamW(configured.LearningRate(RATE)),
    "train_steps": 6,
    "batch_size": 4,
    "checkpoint_every_steps": 3,
    "tensorboard": False,
  }
  return description.Run(**{**fields, **changes})


def lines(folder):
  """Returns a run's logged lines, times apart."""
  return [metric_log.without_times(x) for x in metric_log.read(str(folder))]


@dataclasses.dataclass(frozen=True)
class Watched:
  """A source that calls `before(step, params, context)` at every draw."""

  inner: pairs.SourceSpec
  before: object

  def open(self, context, *, start_step=0):
    """Opens the inner source."""
    source = self.inner.open(context, start_step=start_step)
    return _Watched(source, self.before, context)

  def stores(self):
    """Returns the inner source's stores."""
    return self.inner.stores()


class _Watched:
  def __init__(self, source, before, context):
    self._source, self._before, self._context = source, before, context
    self.state, self.restore = source.state, source.restore

  def fetch(self, step, params):
    self._before(step, params, self._context)
    return self._source.fetch(step, params)

  def manifest(self):
    return self._source.manifest()
