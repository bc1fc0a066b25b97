"""The description of a run, as gin binds it."""

import dataclasses
from collections.abc import Mapping

from rlhf_gap import checks, errors, pairs, partitioning
from rlhf_gap.models import config, t5
from rlhf_gap.training import configured, objectives
from rlhf_gap.training.tracking import Tracking

_REQUIRED = (
  "model_dir",
  "train_steps",
  "batch_size",
  "num_microbatches",
  "checkpoint_every_steps",
  "validation_batches",
  "log_every_steps",
)
_PATHS = ("model_dir", "initial", "reference", "validation")
# Must be positive if set.
_COUNTS = (
  "train_steps",
  "batch_size",
  "num_microbatches",
  "checkpoint_every_steps",
  "keep",
  "reference_every_steps",
  "validation_batches",
  "patience",
  "log_every_steps",
)
_WINDOWS = ("inputs", "targets")


@dataclasses.dataclass(frozen=True)
class Run:
  """Describes a run; a gin file binds its fields.

  Attributes:
    model_dir: where checkpoints, metrics and recorded pairs go.
    objective: what is minimized.
    source: the source of batches.
    optimizer: the optimizer's settings.
    initial: the checkpoint to start from; None initializes new parameters.
    model: the architecture, if parameters are initialized anew.
    reference: the checkpoint of the frozen reference; `initial` by default.
    train_steps: number of updates.
    batch_size: rows per batch, over all hosts.
    seed: seed of data order, sampling, dropout and initialization.
    dropout_rate: must be 0 in policy optimisation for policy and reference to
      agree at step 0.
    dtype: dtype of the activations, "float32" or "bfloat16".
    remat_policy: what the backward pass recomputes, see `T5Config`.
    num_microbatches: number of sequential parts of a batch.
    feature_lengths: maximum lengths in the stores, such as {"inputs": 1024,
      "targets": 128}; None for no limit.
    checkpoint_every_steps: number of updates between checkpoints.
    keep: number of latest checkpoints to keep; None keeps all.
    keep_steps: additional steps to save and keep.
    record: whether to write sampled pairs to MODEL_DIR/pairs.
    reference_every_steps: period, in steps, at which the policy replaces the
      reference; None to keep the reference fixed.
    validation: a store of held-out rows, of the same schema as training data.
    validation_batches: number of validation batches.
    patience: number of checkpoints without improvement before stopping; None
      never stops early.
    log_every_steps: number of updates between log lines.
    tensorboard: whether to write TensorBoard events.
    tracking: where else to show the metrics; None for nowhere.
    mesh: the device mesh; None uses a single device. A run can resume on a
      different mesh; results then agree within rounding.

  Raises:
    UserError: a value is invalid, or two values are incompatible.
  """

  model_dir: str
  objective: objectives.ObjectiveSpec
  source: pairs.SourceSpec
  optimizer: configured.OptimizerSpec
  initial: str | None = dataclasses.field(
    default=None, metadata=pairs.CHECKPOINT
  )
  model: t5.T5Config | None = None
  reference: str | None = dataclasses.field(
    default=None, metadata=pairs.CHECKPOINT
  )
  train_steps: int = 4000
  batch_size: int = 32
  seed: int = 0
  dropout_rate: float = 0.0
  dtype: str = "float32"
  remat_policy: str = "none"
  num_microbatches: int = 1
  feature_lengths: Mapping[str, int] | None = None
  checkpoint_every_steps: int = 400
  keep: int | None = None
  keep_steps: tuple[int, ...] = ()
  record: bool = False
  reference_every_steps: int | None = None
  validation: str | None = dataclasses.field(default=None, metadata=pairs.STORE)
  validation_batches: int = 16
  patience: int | None = None
  log_every_steps: int = 1
  tensorboard: bool = True
  tracking: Tracking | None = None
  mesh: partitioning.Mesh | None = None

  def __post_init__(self) -> None:
    self._check_values()
    if self.batch_size % self.num_microbatches:
      raise errors.UserError(
        f"num_microbatches={self.num_microbatches} does not divide"
        f" batch_size={self.batch_size}"
      )
    if (self.initial is None) == (self.model is None):
      raise errors.UserError(
        "expected either INITIAL_CHECKPOINT_PATH or a model for new"
        f" parameters, got {'neither' if self.model is None else 'both'}"
      )

  def _check_values(self) -> None:
    checks.required(**{name: getattr(self, name) for name in _REQUIRED})
    checks.counts(**{name: getattr(self, name) for name in _COUNTS})
    checks.seeds(seed=self.seed)
    checks.flags(record=self.record, tensorboard=self.tensorboard)
    checks.texts(**{name: getattr(self, name) for name in _PATHS})
    checks.several(keep_steps=self.keep_steps)
    for step in self.keep_steps:
      checks.required(keep_steps=step)
      checks.counts(at_least=0, keep_steps=step)
    checks.one_of(config.DTYPES, dtype=self.dtype)
    checks.one_of(config.REMAT_POLICIES, remat_policy=self.remat_policy)
    checks.below_one(dropout_rate=self.dropout_rate)
    _check_windows(self.feature_lengths)
    if "://" in self.model_dir:
      raise errors.UserError(
        f"MODEL_DIR={self.model_dir}: a run writes to a file system; choose a"
        " folder, on several hosts one that all of them mount"
      )


def _check_windows(lengths: object) -> None:
  if lengths is None:
    return
  if isinstance(lengths, Mapping) and lengths.keys() <= set(_WINDOWS):
    named = {f"TASK_FEATURE_LENGTHS[{k!r}]": v for k, v in lengths.items()}
    checks.required(**named)
    checks.lengths(**named)
    return
  raise errors.UserError(
    f"TASK_FEATURE_LENGTHS={lengths!r}; expected lengths in tokens, such as"
    ' {"inputs": 1024, "targets": 128}'
  )
