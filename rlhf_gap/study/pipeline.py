"""From a study's description to its stages.

initial data -> SFT -> golden model -> golden labels -> proxy -> golden policy
-> online, recorded -> offline sweep, tandem -> evaluation
"""

import dataclasses
from collections.abc import Iterator

from rlhf_gap.study.experiment import Study, Training
from rlhf_gap.study.stages import Stage

_RUNS = "gin_configs/runs"
_WORKDIR = "{workdir}"


@dataclasses.dataclass(frozen=True)
class _Trained:
  """A run among the arms, to be evaluated."""

  stage: Stage
  arm: str
  training: Training


def stages(study: Study) -> list[Stage]:
  """Returns a study's stages, in an order in which they could run one by one.

  Args:
    study: the description.

  Returns:
    Commands, each with the names of the stages that it needs.
  """
  return [
    stage for task in study.tasks for stage in _Task(study, task).stages()
  ]


def arms(study: Study, task: str) -> list[tuple[str, str]]:
  """Returns (run's stage, arm) of every run that is evaluated."""
  runs = [*_Task(study, task).online(), *_Task(study, task).trained_offline()]
  return [(trained.stage.name, trained.arm) for trained in runs]


@dataclasses.dataclass(frozen=True)
class _Task:
  """Makes the stages of one data set."""

  study: Study
  task: str

  def stages(self) -> Iterator[Stage]:
    """Yields every stage, in order."""
    yield from self.data()
    yield from self.judges()
    golden_policy = self.golden_policy()
    yield golden_policy.stage
    online = list(self.online())
    offline = list(self.trained_offline())
    yield from (trained.stage for trained in online)
    opponents = self.evaluation_of_start()
    yield opponents
    # Beside the offline runs, not after them: two cores are kept busy.
    for trained in (*online, *offline):
      if trained in offline:
        yield trained.stage
      yield self.evaluation(trained, opponents.name)

  def _name(self, name: str) -> str:
    return f"{self.task}/{name}"

  def _at(self, name: str) -> str:
    return f"{_WORKDIR}/{self._name(name)}"

  def _checkpoint(self, name: str, training: Training) -> str:
    return f"{self._at(name)}/checkpoint_{training.steps}"

  def data(self) -> Iterator[Stage]:
    """The stores of initial data."""
    data = self.study.data
    for name, kind, held_out in (
      ("data/sft", "sft", False),
      ("data/pairs", "pairs", False),
      ("data/prompts", "prompts", False),
      ("data/validation", "pairs", True),
    ):
      words = (f"{self.task}_{kind}", f"--output={self._at(name)}")
      yield Stage(
        self._name(name), ("data", *words, *data.flags(held_out=held_out))
      )

  def judges(self) -> Iterator[Stage]:
    """SFT, golden model, its labels, proxy, and both judges' examination."""
    study = self.study
    yield self._train(
      "sft",
      *self._start("sft", study.policy, study.policy_start),
      f"--gin.RESPONSES={self._at('data/sft')}",
      training=study.sft,
      needs=("data/sft",),
    )
    yield self._golden_model()
    # Examined before anything rests on them: a model at chance stops here.
    yield self._label("golden_validation", "golden", "data/validation")
    yield self._label(
      "golden_labels", "golden", "data/pairs", needs=("golden_validation",)
    )
    yield self._train(
      "proxy",
      f"--gin_file={_RUNS}/preference.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={self._checkpoint('sft', study.sft)}",
      f"--gin.PAIRS={self._at('golden_labels')}",
      *self._window(),
      training=study.proxy_training,
      needs=("sft", "golden_labels"),
    )
    yield self._label("proxy_validation", "proxy", "golden_validation")

  def _golden_model(self) -> Stage:
    study = self.study
    needs = ["data/pairs"]
    if study.golden_start is None:
      start = self._checkpoint("sft", study.sft)
      needs.append("sft")
    else:
      start = study.golden_start
    return self._train(
      "golden",
      f"--gin_file={_RUNS}/preference.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={start}",
      f"--gin.PAIRS={self._at('data/pairs')}",
      *self._window(),
      training=study.golden_training,
      needs=tuple(needs),
    )

  def golden_policy(self) -> _Trained:
    """The online algorithm with the golden judge."""
    training = self.study.golden_policy_training
    stage = self._online("golden_policy", "golden", 0, training)
    return _Trained(stage, "golden_policy", training)

  def online(self) -> Iterator[_Trained]:
    """One configuration, the proxy as judge, every seed."""
    for seed in self.study.seeds:
      training = self.study.baseline
      stage = self._online(f"online/seed_{seed}", "proxy", seed, training)
      yield _Trained(stage, "online", training)

  def trained_offline(self) -> Iterator[_Trained]:
    """The sweeps on golden labels, and on shuffled online data."""
    study = self.study
    for seed in study.seeds:
      for training, beta in study.offline.settings(study.baseline, study.beta):
        name = f"offline/{_label_of(training, beta)}_seed_{seed}"
        pairs = f"--gin.PAIRS={self._at('golden_labels')}"
        stage = self._policy(
          name, "offline", seed, training, beta, pairs, needs=("golden_labels",)
        )
        yield _Trained(stage, "offline", training)
      for training, beta in study.tandem.settings(study.baseline, study.beta):
        name = f"tandem/{_label_of(training, beta)}_seed_{seed}"
        source = f"online/seed_{seed}"
        flags = (
          f"--gin.PAIRS={self._at(source)}/pairs",
          "--gin.BLOCK_BATCHES=None",
        )
        stage = self._policy(
          name, "replay", seed, training, beta, *flags, needs=(source,)
        )
        yield _Trained(stage, "tandem", training)

  def evaluation_of_start(self) -> Stage:
    """The SFT policy's record; draws the opponents' samples for all others."""
    saved = [self._checkpoint("sft", self.study.sft)]
    return self._evaluate("sft", "sft", saved, needs=("sft",))

  def evaluation(self, trained: _Trained, opponents: str) -> Stage:
    """The records of a run's checkpoints."""
    name = trained.stage.name.removeprefix(f"{self.task}/")
    saved = [
      f"{self._at(name)}/checkpoint_{step}"
      for step in trained.training.saved_steps
    ]
    drawn = opponents.removeprefix(f"{self.task}/")
    return self._evaluate(name, trained.arm, saved, needs=(name, drawn))

  def _evaluate(
    self, name: str, arm: str, saved: list[str], needs: tuple[str, ...]
  ) -> Stage:
    study = self.study
    where = {
      "golden": self._checkpoint("golden", study.golden_training),
      "proxy": self._checkpoint("proxy", study.proxy_training),
      "reference": self._checkpoint("sft", study.sft),
      "golden_policy": self._checkpoint(
        "golden_policy", study.golden_policy_training
      ),
      "prompts": self._at("data/prompts"),
      "pairs": self._at("golden_labels"),
      "output": self._at(f"evaluation/{name}"),
      "samples": self._at("samples"),
      "arm": arm,
      "run_name": f"{self.task}/{name}",
      "judge_length": study.data.judge_length or self._full_judge_length(),
      "keep": study.data.keep,
    }
    words = tuple(f"--{key}={value}" for key, value in where.items())
    return self._stage(
      f"evaluation/{name}",
      ("evaluate", *saved, *words, *study.evaluation.flags()),
      (*needs, "golden", "proxy_validation", "golden_policy", "data/prompts"),
    )

  def _full_judge_length(self) -> int:
    """Prompt, two responses, and room for the markers in any vocabulary."""
    data = self.study.data
    return data.inputs_length + 2 * data.targets_length + _MARKER_TOKENS

  def _window(self) -> tuple[str, ...]:
    data = self.study.data
    length = data.judge_length or self._full_judge_length()
    return (f"--gin.INPUT_LENGTH={length}", f"--gin.KEEP={data.keep!r}")

  def _start(self, kind: str, model: str, path: str | None) -> tuple[str, ...]:
    if path is None:
      return (f"--gin_file={model}", f"--gin_file={_RUNS}/pretrain.gin")
    return (
      f"--gin_file={_RUNS}/{kind}.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={path}",
    )

  def _online(
    self, name: str, judged_by: str, seed: int, training: Training
  ) -> Stage:
    study, data = self.study, self.study.data
    trained_by = {
      "golden": study.golden_training,
      "proxy": study.proxy_training,
    }
    judge = self._checkpoint(judged_by, trained_by[judged_by])
    length = data.judge_length or self._full_judge_length()
    return self._policy(
      name,
      "online",
      seed,
      training,
      study.beta,
      f"--gin.PROMPTS={self._at('data/prompts')}",
      f"--gin.JUDGE_CHECKPOINT_PATH={judge}",
      f"--gin.MAX_LENGTH={data.targets_length}",
      f"--gin.pairs.Sampling.judge_length={length}",
      f"--gin.pairs.Sampling.keep={data.keep!r}",
      needs=("data/prompts", judged_by, f"{judged_by}_validation"),
    )

  def _policy(
    self,
    name: str,
    kind: str,
    seed: int,
    training: Training,
    beta: float,
    *flags: str,
    needs: tuple[str, ...],
  ) -> Stage:
    study = self.study
    return self._train(
      name,
      f"--gin_file={_RUNS}/{kind}.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={self._checkpoint('sft', study.sft)}",
      f"--gin.BETA={beta}",
      f"--gin.REDUCTION={study.reduction!r}",
      f"--gin.SEED={seed}",
      *flags,
      training=training,
      needs=("sft", *needs),
    )

  def _train(
    self, name: str, *flags: str, training: Training, needs: tuple[str, ...]
  ) -> Stage:
    where = f"--gin.MODEL_DIR={self._at(name)}"
    return self._stage(name, ("train", *flags, where, *training.flags()), needs)

  def _label(
    self, name: str, judged_by: str, pairs: str, needs: tuple[str, ...] = ()
  ) -> Stage:
    study, data = self.study, self.study.data
    training = (
      study.golden_training if judged_by == "golden" else study.proxy_training
    )
    length = data.judge_length or self._full_judge_length()
    words = (
      self._checkpoint(judged_by, training),
      f"--pairs={self._at(pairs)}",
      f"--output={self._at(name)}",
      f"--input_length={length}",
      f"--keep={data.keep}",
    )
    examined = name.endswith("validation") and study.stop_at_chance
    gate = ("--above_chance",) if examined else ()
    return self._stage(
      name, ("label", *words, *gate), (judged_by, pairs, *needs)
    )

  def _stage(
    self, name: str, command: tuple[str, ...], needs: tuple[str, ...]
  ) -> Stage:
    full = dict.fromkeys(map(self._name, needs))  # each once, in order
    return Stage(self._name(name), command, tuple(full))


# "[RESPONSE A]", "[RESPONSE B]" and EOS take 12 tokens at most in T5's
# vocabulary and the miniatures'; in bytes they take 25.
_MARKER_TOKENS = 27


def _label_of(training: Training, beta: float) -> str:
  return f"lr_{training.learning_rate:g}_beta_{beta:g}_steps_{training.steps}"
