"""The commands of one task of a study, with their inputs and outputs."""

import dataclasses

from rlhf_gap.study.ablations import Size
from rlhf_gap.study.experiment import Study, Training
from rlhf_gap.study.stages import Stage

RUNS = "gin_configs/runs"
_WORKDIR = "{workdir}"
# An upper bound of `judge.marker_tokens`: 25 in bytes, at most 12 in T5's
# vocabulary and the miniatures'. It does not depend on the vocabulary, because
# the commands of finished studies contain it.
_MARKER_TOKENS = 27


@dataclasses.dataclass(frozen=True)
class Trained:
  """A run of an arm, to be evaluated.

  Attributes:
    stage: the stage that trains it.
    arm: its arm.
    training: how it is trained.
    reference: the stage of the SFT policy that it starts from.
    kl_prompts: number of prompts for its KL; None is the study's.
  """

  stage: Stage
  arm: str
  training: Training
  reference: str = "sft"
  kl_prompts: int | None = None


@dataclasses.dataclass(frozen=True)
class Commands:
  """Makes the commands of one task."""

  study: Study
  task: str

  def full_name(self, name: str) -> str:
    """Returns a stage's name within the study."""
    return f"{self.task}/{name}"

  def at(self, name: str) -> str:
    """Returns the folder that a stage writes to."""
    return f"{_WORKDIR}/{self.full_name(name)}"

  def checkpoint(self, name: str, training: Training) -> str:
    """Returns a run's last checkpoint."""
    return f"{self.at(name)}/checkpoint_{training.steps}"

  def judge(self, name: str) -> str:
    """Returns the checkpoint of "golden" or "proxy"."""
    study = self.study
    if name == "proxy":
      return self.checkpoint(name, study.proxy_training)
    if study.golden_training is None:
      return str(study.golden_start)
    return self.checkpoint(name, study.golden_training)

  @property
  def judge_length(self) -> int:
    """The preference models' window in tokens."""
    data = self.study.data
    # A prompt, two responses, and the markers in any vocabulary.
    full = data.inputs_length + 2 * data.targets_length + _MARKER_TOKENS
    return data.judge_length or full

  @property
  def _given(self) -> set[str]:
    """Names of the models that no stage trains."""
    study = self.study
    given = {"sft": study.sft, "golden": study.golden_training}
    return {name for name, training in given.items() if training is None}

  def stage(
    self, name: str, command: tuple[str, ...], needs: tuple[str, ...]
  ) -> Stage:
    """Returns a stage, given names within the task."""
    made = [need for need in needs if need not in self._given]
    distinct = dict.fromkeys(map(self.full_name, made))  # keeps the order
    return Stage(self.full_name(name), command, tuple(distinct))

  def train(
    self,
    name: str,
    *flags: str,
    training: Training,
    needs: tuple[str, ...],
    extra: tuple[str, ...] | None = None,
  ) -> Stage:
    """Returns a training stage.

    Args:
      name: the stage's name.
      *flags: arguments that describe the run.
      training: how it is trained.
      needs: the stages that it reads.
      extra: arguments that replace the study's `train_flags`.
    """
    where = f"--gin.MODEL_DIR={self.at(name)}"
    if extra is None:
      extra = self.study.train_flags
    words = ("train", *flags, where, *training.flags(), *extra)
    return self.stage(name, words, needs)

  def size_of(self, reference: str) -> Size | None:
    """Returns the size of an SFT stage's policy; None is the study's own."""
    ablations = self.study.ablations
    for size in ablations.sizes if ablations else ():
      if reference == f"{size.name}/sft":
        return size
    return None

  def sft_training(self, reference: str) -> Training | None:
    """Returns how an SFT policy is trained; None if it is given."""
    size, training = self.size_of(reference), self.study.sft
    if size is None or training is None:
      return training
    return dataclasses.replace(
      training,
      steps=size.sft_steps or training.steps,
      batch_size=size.sft_batch_size or training.batch_size,
      num_microbatches=size.sft_microbatches,
    )

  def sft_checkpoint(self, reference: str) -> str:
    """Returns an SFT policy's checkpoint."""
    training = self.sft_training(reference)
    if training is None:
      return str(self.study.policy_start)
    return self.checkpoint(reference, training)

  def _extra(self, reference: str) -> tuple[str, ...] | None:
    size = self.size_of(reference)
    return None if size is None else size.train_flags

  def train_sft(
    self, name: str, policy: str | None, start: str | None
  ) -> Stage:
    """Returns the SFT stage of a policy of some size."""
    training = self.sft_training(name)
    assert training is not None  # the caller knows that it is not given
    return self.train(
      name,
      *self._start("sft", policy, start),
      f"--gin.RESPONSES={self.at('data/sft')}",
      training=training,
      needs=("data/sft",),
      extra=self._extra(name),
    )

  def _start(
    self, kind: str, model: str | None, path: str | None
  ) -> tuple[str, ...]:
    if path is None:
      return (f"--gin_file={model}", f"--gin_file={RUNS}/pretrain.gin")
    return (
      f"--gin_file={RUNS}/{kind}.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={path}",
    )

  def window(self) -> tuple[str, ...]:
    """Returns the arguments for the length of a preference model's input."""
    keep = f"--gin.KEEP={self.study.data.keep!r}"
    return (f"--gin.INPUT_LENGTH={self.judge_length}", keep)

  def label(
    self, name: str, judged_by: str, pairs: str, needs: tuple[str, ...] = ()
  ) -> Stage:
    """Returns a stage in which a preference model labels pairs."""
    study = self.study
    stores = (f"--pairs={self.at(pairs)}", f"--output={self.at(name)}")
    if judged_by == "utility":
      return self.stage(name, ("label", "utility", *stores), (pairs, *needs))
    words = (
      self.judge(judged_by),
      *stores,
      f"--input_length={self.judge_length}",
      f"--keep={study.data.keep}",
    )
    examined = name.endswith("validation") and study.stop_at_chance
    gate = ("--above_chance",) if examined else ()
    return self.stage(
      name, ("label", *words, *gate), (judged_by, pairs, *needs)
    )

  def train_policy(
    self,
    name: str,
    kind: str,
    seed: int,
    training: Training,
    beta: float | None,
    *flags: str,
    needs: tuple[str, ...],
    reference: str = "sft",
  ) -> Stage:
    """Returns a policy run that starts from an SFT policy.

    Args:
      name: the stage's name.
      kind: name of the run file.
      seed: random seed of the run.
      training: how it is trained.
      beta: beta of a contrastive loss; None for other losses.
      *flags: arguments for the source of its pairs.
      needs: the stages that make these pairs.
      reference: the stage of the SFT policy.
    """
    study = self.study
    start = self.sft_checkpoint(reference)
    given = () if beta is None else (f"--gin.BETA={beta}",)
    return self.train(
      name,
      f"--gin_file={RUNS}/{kind}.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={start}",
      *given,
      f"--gin.REDUCTION={study.reduction!r}",
      f"--gin.SEED={seed}",
      *flags,
      training=training,
      needs=(reference, *needs),
      extra=self._extra(reference),
    )

  def train_online(
    self,
    name: str,
    judged_by: str,
    seed: int,
    *flags: str,
    kind: str = "online",
    training: Training | None = None,
    beta: float | None = None,
    reference: str = "sft",
  ) -> Stage:
    """Returns a run that samples its pairs.

    Args:
      name: the stage's name.
      judged_by: "golden" or "proxy".
      seed: random seed of the run.
      *flags: additional arguments.
      kind: name of the run file.
      training: how it is trained; None is the baseline.
      beta: beta of a contrastive loss; None for other losses.
      reference: the stage of the SFT policy.
    """
    data = self.study.data
    return self.train_policy(
      name,
      kind,
      seed,
      training or self.study.baseline,
      beta,
      f"--gin.PROMPTS={self.at('data/prompts')}",
      f"--gin.JUDGE_CHECKPOINT_PATH={self.judge(judged_by)}",
      f"--gin.MAX_LENGTH={data.targets_length}",
      f"--gin.pairs.Sampling.judge_length={self.judge_length}",
      f"--gin.pairs.Sampling.keep={data.keep!r}",
      *flags,
      needs=("data/prompts", judged_by, f"{judged_by}_validation"),
      reference=reference,
    )

  def train_offline(
    self,
    name: str,
    seed: int,
    training: Training,
    beta: float | None,
    *,
    pairs: str = "golden_labels",
    kind: str = "offline",
    reference: str = "sft",
  ) -> Stage:
    """Returns a run on the pairs that the stage `pairs` stored."""
    return self.train_policy(
      name,
      kind,
      seed,
      training,
      beta,
      f"--gin.PAIRS={self.at(pairs)}",
      needs=(pairs,),
      reference=reference,
    )

  def train_on_online_data(
    self,
    name: str,
    seed: int,
    training: Training,
    beta: float | None,
    source: str,
    *,
    block_batches: int | None = None,
    kind: str = "replay",
    reference: str = "sft",
  ) -> Stage:
    """Returns an offline run on the pairs of the online stage `source`."""
    return self.train_policy(
      name,
      kind,
      seed,
      training,
      beta,
      f"--gin.PAIRS={self.at(source)}/pairs",
      f"--gin.BLOCK_BATCHES={block_batches}",
      needs=(source,),
      reference=reference,
    )

  def evaluation(self, trained: Trained, opponents: str) -> Stage:
    """Returns the evaluation of a run's checkpoints.

    Args:
      trained: the run.
      opponents: the evaluation that samples the opponents' responses.
    """
    name = trained.stage.name.removeprefix(f"{self.task}/")
    saved = [
      f"{self.at(name)}/checkpoint_{step}"
      for step in trained.training.saved_steps
    ]
    opponents = opponents.removeprefix(f"{self.task}/")
    return self.evaluate(
      name,
      trained.arm,
      saved,
      needs=(name, opponents),
      reference=trained.reference,
      kl_prompts=trained.kl_prompts,
    )

  def evaluate(
    self,
    name: str,
    arm: str,
    saved: list[str],
    *,
    needs: tuple[str, ...],
    reference: str = "sft",
    kl_prompts: int | None = None,
  ) -> Stage:
    """Returns the evaluation of the checkpoints of one run."""
    study = self.study
    where = {
      "golden": self.judge("golden"),
      "proxy": self.judge("proxy"),
      "reference": self.sft_checkpoint(reference),
      "golden_policy": self.checkpoint(
        "golden_policy", study.golden_policy_training
      ),
      "prompts": self.at("data/prompts"),
      "pairs": self.at("golden_labels"),
      "output": self.at(f"evaluation/{name}"),
      "samples": self.at("samples"),
      "arm": arm,
      "run_name": f"{self.task}/{name}",
      "judge_length": self.judge_length,
      "keep": study.data.keep,
    }
    words = tuple(f"--{key}={value}" for key, value in where.items())
    settings = study.evaluation
    if kl_prompts is not None:
      settings = dataclasses.replace(settings, kl_prompts=kl_prompts)
    # How many prompts own files hold is not known here.
    fewer = ("--or_all",) if study.data.own else ()
    return self.stage(
      f"evaluation/{name}",
      ("evaluate", *saved, *words, *settings.flags(), *fewer),
      (*needs, "golden", "proxy_validation", "golden_policy", "data/prompts"),
    )


def label_of(training: Training, beta: float) -> str:
  """Returns the name of a setting of a sweep."""
  return f"lr_{training.learning_rate:g}_beta_{beta:g}_steps_{training.steps}"
