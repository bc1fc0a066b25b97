"""Turns a study's description into its stages.

initial data -> SFT -> golden model -> golden labels -> proxy -> golden policy
-> online, recorded -> offline sweep, offline on shuffled online data
-> evaluation -> ablations
"""

import dataclasses
from collections.abc import Iterator

from rlhf_gap.study import ablation_stages
from rlhf_gap.study.commands import RUNS, Commands, Trained, label_of
from rlhf_gap.study.experiment import Study, Training
from rlhf_gap.study.stages import Stage


def stages(study: Study) -> list[Stage]:
  """Returns a study's stages, in an order in which they could run one by one.

  Args:
    study: the description.

  Returns:
    Commands, each with the names of the stages that it needs. The stages of
    ablations come last.
  """
  base = [
    stage for task in study.tasks for stage in _MainStages(study, task).stages()
  ]
  return [*base, *ablation_stages.stages(study)]


def arms(study: Study, task: str) -> list[tuple[str, str]]:
  """Returns (run's stage, arm) of every run that is evaluated."""
  own = _MainStages(study, task)
  runs = [*own.online(), *own.trained_offline()]
  runs += ablation_stages.trained(study, task)
  return [(trained.stage.name, trained.arm) for trained in runs]


@dataclasses.dataclass(frozen=True)
class _MainStages(Commands):
  """Makes the stages of one task, ablations excluded."""

  def stages(self) -> Iterator[Stage]:
    """Yields every stage, in order."""
    yield from self.data()
    yield from self.judges()
    yield self.golden_policy()
    online = list(self.online())
    offline = list(self.trained_offline())
    yield from (trained.stage for trained in online)
    opponents = self.evaluation_of_start()
    yield opponents
    # Evaluations alternate with offline runs, which keeps two cores busy.
    for trained in (*online, *offline):
      if trained in offline:
        yield trained.stage
      yield self.evaluation(trained, opponents.name)

  def data(self) -> Iterator[Stage]:
    """Yields the stages that write the initial data."""
    data = self.study.data
    for name, kind, held_out in (
      ("data/sft", "sft", False),
      ("data/pairs", "pairs", False),
      ("data/prompts", "prompts", False),
      ("data/validation", "pairs", True),
    ):
      if name == "data/sft" and self.study.sft is None:
        continue
      words = (*data.words(self.task, kind), f"--output={self.at(name)}")
      yield Stage(
        self.full_name(name), ("data", *words, *data.flags(held_out=held_out))
      )

  def judges(self) -> Iterator[Stage]:
    """Yields SFT, both preference models, their checks and golden labels.

    "golden_labels" are those of the study's rater.
    """
    study = self.study
    if study.sft is not None:
      yield self.train_sft("sft", study.policy_gin_file, study.policy_start)
    if study.golden_training is not None:
      yield self._golden_model(study.golden_training)
    # Before any other stage uses it: a model at chance stops the study here.
    yield self.label("golden_validation", "golden", "data/validation")
    yield self.label(
      "golden_labels", study.rater, "data/pairs", needs=("golden_validation",)
    )
    yield self.train(
      "proxy",
      f"--gin_file={RUNS}/preference.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={self.sft_checkpoint('sft')}",
      f"--gin.PAIRS={self.at('golden_labels')}",
      *self.window(),
      training=study.proxy_training,
      needs=("sft", "golden_labels"),
    )
    if study.rater != "golden":
      yield self.label(
        f"{study.rater}_validation", study.rater, "data/validation"
      )
    yield self.label("proxy_validation", "proxy", f"{study.rater}_validation")

  def _golden_model(self, training: Training) -> Stage:
    study = self.study
    needs = ["data/pairs"]
    if study.golden_start is None:
      start = self.sft_checkpoint("sft")
      needs.append("sft")
    else:
      start = study.golden_start
    return self.train(
      "golden",
      f"--gin_file={RUNS}/preference.gin",
      f"--gin.INITIAL_CHECKPOINT_PATH={start}",
      f"--gin.PAIRS={self.at('data/pairs')}",
      *self.window(),
      training=training,
      needs=tuple(needs),
      extra=study.golden_train_flags,
    )

  def golden_policy(self) -> Stage:
    """Returns online training with the golden model as judge."""
    return self.train_online(
      "golden_policy",
      "golden",
      0,
      training=self.study.golden_policy_training,
      beta=self.study.beta,
    )

  def online(self) -> Iterator[Trained]:
    """Yields the online runs: one configuration, every seed."""
    study = self.study
    for seed in study.seeds:
      name = f"online/seed_{seed}"
      stage = self.train_online(name, "proxy", seed, beta=study.beta)
      yield Trained(stage, "online", study.baseline)

  def trained_offline(self) -> Iterator[Trained]:
    """Yields the sweeps on golden labels and on shuffled online data."""
    study = self.study
    for seed in study.seeds:
      for training, beta in study.offline.settings(study.baseline, study.beta):
        name = f"offline/{label_of(training, beta)}_seed_{seed}"
        stage = self.train_offline(name, seed, training, beta)
        yield Trained(stage, "offline", training)
      for training, beta in study.tandem.settings(study.baseline, study.beta):
        name = f"tandem/{label_of(training, beta)}_seed_{seed}"
        source = f"online/seed_{seed}"
        stage = self.train_on_online_data(name, seed, training, beta, source)
        yield Trained(stage, "tandem", training)

  def evaluation_of_start(self) -> Stage:
    """Returns SFT's evaluation, which samples the opponents for all others."""
    saved = [self.sft_checkpoint("sft")]
    return self.evaluate("sft", "sft", saved, needs=("sft",))
