"""The description of a study, as gin binds it."""

import dataclasses

from rlhf_gap import checks, errors
from rlhf_gap.data import catalog
from rlhf_gap.study.ablations import Ablations
from rlhf_gap.study.own_files import OwnFiles

_OPTIMIZERS = ("Adafactor", "AdamW")


@dataclasses.dataclass(frozen=True)
class Training:
  """How one kind of run of a study is trained.

  Attributes:
    steps: updates of the parameters.
    batch_size: rows per batch.
    learning_rate: peak rate; relative under Adafactor, absolute under AdamW.
    optimizer: "Adafactor" or "AdamW".
    warm_up_steps: steps of a linear rise from 0.
    decays: whether the rate falls linearly to a tenth by the last step.
    early_steps: steps to save and evaluate in addition to the last, in
      ascending order. A policy moves away from its reference early.
    dropout_rate: dropout of the model.
    clip_global_norm: largest norm of the gradient; None for no clipping.
    num_microbatches: microbatches per batch, for batches that do not fit into
      memory.
  """

  steps: int
  batch_size: int
  learning_rate: float
  optimizer: str = "Adafactor"
  warm_up_steps: int = 0
  decays: bool = False
  early_steps: tuple[int, ...] = ()
  dropout_rate: float = 0.0
  clip_global_norm: float | None = None
  num_microbatches: int = 1

  def __post_init__(self) -> None:
    checks.one_of(_OPTIMIZERS, optimizer=self.optimizer)
    checks.counts(
      steps=self.steps,
      batch_size=self.batch_size,
      num_microbatches=self.num_microbatches,
    )
    checks.counts(at_least=0, warm_up_steps=self.warm_up_steps)
    checks.positive(learning_rate=self.learning_rate)
    checks.below_one(dropout_rate=self.dropout_rate)
    checks.several(early_steps=self.early_steps)
    wanted = (0, *self.early_steps, self.steps)
    if list(wanted) != sorted(set(wanted)):
      raise errors.UserError(
        f"early_steps={self.early_steps}: expected rising steps between 0 and"
        f" {self.steps}"
      )

  @property
  def saved_steps(self) -> tuple[int, ...]:
    """The steps whose checkpoints are evaluated."""
    return (*self.early_steps, self.steps)

  def flags(self) -> tuple[str, ...]:
    """Returns these settings as arguments of `rlhf-gap train`."""
    name = f"configured.{self.optimizer}"
    decay = self.steps if self.decays else 0
    return (
      f"--gin.TRAIN_STEPS={self.steps}",
      f"--gin.BATCH_SIZE={self.batch_size}",
      f"--gin.LEARNING_RATE={self.learning_rate}",
      f"--gin.OPTIMIZER=@{name}()",
      f"--gin.{name}.clip_global_norm={self.clip_global_norm}",
      f"--gin.configured.LearningRate.warm_up_steps={self.warm_up_steps}",
      f"--gin.configured.LearningRate.decay_steps={decay}",
      f"--gin.DROPOUT_RATE={self.dropout_rate}",
      f"--gin.description.Run.checkpoint_every_steps={self.steps}",
      f"--gin.description.Run.keep_steps={self.early_steps}",
      f"--gin.description.Run.num_microbatches={self.num_microbatches}",
      "--gin.description.Run.tensorboard=False",
    )


@dataclasses.dataclass(frozen=True)
class Data:
  """The data of a study, and how much of it is used.

  Attributes:
    source: folder of the published files; None for miniatures and own files.
    own: one's own files, instead of a built-in task's; None for none.
    vocabulary: a SentencePiece model, a Hugging Face folder or `bytes`; None
      for miniatures, which have their own.
    rows: number of comparisons in a miniature; None for published files.
    validation_rows: number of held-out comparisons in a miniature.
    train_split: split to train on.
    validation_split: split to check the preference models on.
    inputs_length: longest prompt in tokens.
    targets_length: longest response in tokens.
    judge_length: longest input of the preference models in tokens; None fits a
      prompt, two responses and the markers.
    keep: which end of a truncated prompt to keep, "end" or "start".
  """

  source: str | None = None
  own: OwnFiles | None = None
  vocabulary: str | None = None
  rows: int | None = None
  validation_rows: int | None = None
  train_split: str = "train"
  validation_split: str = "validation"
  inputs_length: int = 48
  targets_length: int = 16
  judge_length: int | None = None
  keep: str = "end"

  def __post_init__(self) -> None:
    if self.own is None:
      return
    for name in ("source", "rows", "validation_rows"):
      if getattr(self, name) is not None:
        raise errors.UserError(
          f"{name}={getattr(self, name)} has no effect on own files; expected"
          " None"
        )
    if self.vocabulary is None:
      raise errors.UserError(
        "vocabulary is missing: a SentencePiece model, a Hugging Face folder,"
        " or 'bytes'"
      )

  def words(self, task: str, kind: str) -> tuple[str, ...]:
    """Returns the arguments of `rlhf-gap data` that name what is read."""
    if self.own is None:
      return (f"{task}_{kind}",)
    keep = () if self.keep == "end" else (f"--keep={self.keep}",)
    return (*self.own.words(task, kind), *keep)

  def flags(self, *, held_out: bool) -> tuple[str, ...]:
    """Returns these settings as arguments of `rlhf-gap data`."""
    given = {
      "split": self.validation_split if held_out else self.train_split,
      "rows": self.validation_rows if held_out else self.rows,
      "source": self.source,
      "vocabulary": self.vocabulary,
      "inputs_length": self.inputs_length,
      "targets_length": self.targets_length,
    }
    return tuple(f"--{k}={v}" for k, v in given.items() if v is not None)


@dataclasses.dataclass(frozen=True)
class Sweep:
  """The offline runs' hyper-parameters, varied around the baseline.

  Attributes:
    learning_rates: learning rates, including the baseline's.
    betas: betas, including the baseline's.
    long_steps: steps of longer runs; None for none.
    full_grid: whether to run all combinations. By default one setting at a time
      differs from the baseline (Tang et al. 2024, section 4.1).
    further: additional pairs of a learning rate and a beta, for runs that go
      far beyond their peak.
  """

  learning_rates: tuple[float, ...] = ()
  betas: tuple[float, ...] = ()
  long_steps: int | None = None
  full_grid: bool = False
  further: tuple[tuple[float, float], ...] = ()

  def __post_init__(self) -> None:
    rates, betas = self.learning_rates, self.betas
    checks.several(learning_rates=rates, betas=betas, further=self.further)
    for pair in self.further:
      checks.several(further=pair)
    for rate in (*rates, *(rate for rate, _ in self.further)):
      checks.positive(learning_rates=rate)
    for beta in (*betas, *(beta for _, beta in self.further)):
      checks.positive(betas=beta)
    checks.counts(long_steps=self.long_steps)

  def settings(
    self, baseline: Training, beta: float
  ) -> list[tuple[Training, float]]:
    """Returns every (training, beta), the baseline first.

    Args:
      baseline: the online runs' training.
      beta: the online runs' beta.
    """
    rates = [r for r in self.learning_rates if r != baseline.learning_rate]
    betas = [b for b in self.betas if b != beta]
    lengths = [] if self.long_steps is None else [self.long_steps]
    changed = dataclasses.replace
    late = {n: _late_steps(n, baseline.steps) for n in lengths}
    if self.full_grid:
      return [
        (changed(training, learning_rate=rate), b)
        for rate in (baseline.learning_rate, *rates)
        for training in (
          baseline,
          *(changed(baseline, steps=n, early_steps=late[n]) for n in lengths),
        )
        for b in (beta, *betas)
      ]
    return [
      (baseline, beta),
      *((changed(baseline, learning_rate=rate), beta) for rate in rates),
      *((baseline, b) for b in betas),
      *(
        (changed(baseline, steps=n, early_steps=late[n]), beta) for n in lengths
      ),
      *((changed(baseline, learning_rate=r), b) for r, b in self.further),
    ]


def _late_steps(steps: int, baseline_steps: int) -> tuple[int, ...]:
  """Returns the early step of a longer run; a curve needs two checkpoints."""
  half = steps // 2
  # Until the baseline's last step a longer run repeats the baseline.
  if half <= baseline_steps < steps:
    half = (baseline_steps + steps) // 2
  return (half,) if 0 < half < steps else ()


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """How much is measured of every checkpoint.

  Attributes:
    num_prompts: prompts for win rates.
    kl_prompts: how many of these prompts to use for the KL.
    own_pairs: how many of these prompts to use for classifying own samples.
    num_pairs: golden-labelled pairs to classify.
    batch_size: rows per batch.
  """

  num_prompts: int = 2048
  kl_prompts: int = 256
  own_pairs: int = 256
  num_pairs: int = 256
  batch_size: int = 64

  def __post_init__(self) -> None:
    checks.counts(**dataclasses.asdict(self))

  def flags(self) -> tuple[str, ...]:
    """Returns these settings as arguments of `rlhf-gap evaluate`."""
    return tuple(f"--{k}={v}" for k, v in dataclasses.asdict(self).items())


@dataclasses.dataclass(frozen=True)
class Study:
  """Describes a study: its data, models, arms and seeds.

  Attributes:
    name: the study's name.
    tasks: data sets, such as ("mini_helpfulness",); each has its own arms.
    data: the source and size of the data.
    proxy_training: training of the proxy, on the golden model's labels.
    baseline: training of the online runs, and the offline runs' baseline.
    policy_gin_file: path of the gin file with the architecture of policy and
      proxy; None if `policy_start` has it.
    golden_gin_file: path of the gin file with the architecture of the golden
      preference model; None likewise.
    sft: training of the SFT policy; None if `policy_start` is one.
    golden_training: training of the golden model, on people's labels; None if
      `golden_start` is one.
    policy_start: checkpoint to start SFT from; None initializes at random.
    golden_start: checkpoint to start the golden model from; None starts it
      from the SFT policy.
    golden_policy: training of the golden policy; None is the baseline. Use
      fewer steps if the baseline over-optimizes the golden model: hardly any
      response would then win against the golden policy.
    beta: the baseline's beta.
    reduction: reduction of log-probabilities over tokens, "sum" or "mean".
    offline: the sweep of the offline runs.
    tandem: the sweep of the offline runs on shuffled online data.
    seeds: seeds of all policy runs.
    rater: who labels the pairs that the study trains on: "golden", the golden
      model, or "utility", a miniature's hidden utility, without error. Win
      rates are by the golden model either way; claims are answered by the
      hidden utility as well.
    stop_at_chance: whether a preference model that agrees with held-out labels
      no better than chance stops the stages that use it.
    evaluation: how much is measured.
    ablations: the experiments beyond Figures 1 and 4, if any.
    train_flags: additional arguments of every `rlhf-gap train`, such as the gin
      file of a mesh. Results stay comparable if they change only speed.
    golden_train_flags: those of the golden model; None is `train_flags`.
  """

  name: str
  tasks: tuple[str, ...]
  data: Data
  proxy_training: Training
  baseline: Training
  policy_gin_file: str | None = None
  golden_gin_file: str | None = None
  sft: Training | None = None
  golden_training: Training | None = None
  policy_start: str | None = None
  golden_start: str | None = None
  golden_policy: Training | None = None
  beta: float = 0.1
  reduction: str = "mean"
  offline: Sweep = Sweep()
  tandem: Sweep = Sweep()
  seeds: tuple[int, ...] = (0, 1, 2)
  rater: str = "golden"
  stop_at_chance: bool = True
  evaluation: Evaluation = Evaluation()
  ablations: Ablations | None = None
  train_flags: tuple[str, ...] = ()
  golden_train_flags: tuple[str, ...] | None = None

  @property
  def golden_policy_training(self) -> Training:
    """Training of the golden policy."""
    return self.golden_policy or self.baseline

  def __post_init__(self) -> None:
    checks.several(tasks=self.tasks, seeds=self.seeds)
    self._check_models()
    for task in self.tasks:
      if self.data.own is None:
        catalog.entries(f"{task}_pairs")  # raises for an unknown task
    if self.data.own is not None and len(self.tasks) > 1:
      raise errors.UserError(
        f"tasks={self.tasks}: own files are one task; expected one name"
      )
    for seed in self.seeds:
      checks.counts(at_least=0, seeds=seed)
    checks.positive(beta=self.beta)
    checks.one_of(("sum", "mean"), reduction=self.reduction)
    checks.one_of(("golden", "utility"), rater=self.rater)
    for task in self.tasks:
      if self.rater == "utility" and not task.startswith("mini_"):
        raise errors.UserError(
          f"rater='utility' needs a miniature; the utility of {task} is unknown"
        )
    if not self.tasks or not self.seeds:
      raise errors.UserError("a study needs at least one task and one seed")
    for name, values in (("tasks", self.tasks), ("seeds", self.seeds)):
      if len(set(values)) != len(values):
        raise errors.UserError(f"{name}={values}; expected no duplicates")
    if self.ablations is not None:
      self._check(self.ablations)

  def _check_models(self) -> None:
    if self.policy_start is None:
      missing = "policy_gin_file" if self.policy_gin_file is None else ""
      missing = missing or ("sft" if self.sft is None else "")
      if missing:
        raise errors.UserError(
          f"{missing} is missing: without policy_start, a policy is initialized"
          " at random and trained by SFT"
        )
    if self.golden_training is None and self.golden_start is None:
      raise errors.UserError(
        "golden_training is missing: without it, golden_start must be a"
        " preference model"
      )

  def _check(self, ablations: Ablations) -> None:
    for task in ablations.tasks:
      if task not in self.tasks:
        raise errors.UserError(
          f"ablations of {task}; expected one of the study's tasks:"
          f" {', '.join(self.tasks)}"
        )
    early = ablations.early_step
    if early is not None and early not in self.baseline.early_steps:
      raise errors.UserError(
        f"early_step={early}; expected one of the baseline's early_steps:"
        f" {self.baseline.early_steps}"
      )
