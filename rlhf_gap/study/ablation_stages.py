"""The stages that ablations add to a study: the runs of single figures."""

import dataclasses
import functools
from collections.abc import Iterator

from rlhf_gap.analysis.arm_names import GENERATED
from rlhf_gap.study.ablations import Ablations, Size
from rlhf_gap.study.commands import Commands, Trained, label_of
from rlhf_gap.study.experiment import Study, Sweep, Training
from rlhf_gap.study.stages import Stage


def stages(study: Study) -> Iterator[Stage]:
  """Yields the stages of a study's ablations, in order.

  Args:
    study: the description; it may have no ablations.
  """
  if study.ablations is not None:
    for task in study.ablations.tasks:
      yield from _AblationStages(study, task, study.ablations).stages()


def trained(study: Study, task: str) -> list[Trained]:
  """Returns the runs of the ablations.

  Args:
    study: the description.
    task: one of its tasks.
  """
  ablations = study.ablations
  if ablations is None or task not in ablations.tasks:
    return []
  return list(_AblationStages(study, task, ablations).trained())


def starts(study: Study, task: str) -> list[tuple[str, str]]:
  """Returns (stage, arm) of the SFT policy of each additional size.

  Args:
    study: the description.
    task: one of its tasks.
  """
  ablations = study.ablations
  if ablations is None or task not in ablations.tasks:
    return []
  return [
    (f"{task}/{size.name}/sft", f"sft@{size.name}") for size in ablations.sizes
  ]


def classified(study: Study, task: str) -> list[str]:
  """Returns the stages that classify the pairs of online runs.

  Args:
    study: the description.
    task: one of its tasks.
  """
  ablations = study.ablations
  if ablations is None or task not in ablations.tasks:
    return []
  if not ablations.online_data_windows:
    return []
  return [f"{task}/online_data/seed_{seed}" for seed in study.seeds]


@dataclasses.dataclass(frozen=True)
class _AblationStages(Commands):
  """Makes the stages of one task's ablations."""

  ablations: Ablations

  def stages(self) -> Iterator[Stage]:
    """Yields every stage, in order."""
    if self.ablations.generated_pairs is not None:
      for name in GENERATED:
        yield from self._generate(name)
    for size in self.ablations.sizes:
      yield self.train_sft(f"{size.name}/sft", size.policy_gin_file, size.start)
      yield self._evaluation_of_start(size)
    opponents = self.full_name("evaluation/sft")
    for run in self.trained():
      yield run.stage
      yield self.evaluation(run, opponents)
    if self.ablations.online_data_windows:
      yield from map(self._classify, self.study.seeds)

  def trained(self) -> Iterator[Trained]:
    """Yields every run, in order; each is evaluated."""
    study = self.study
    for seed in study.seeds:
      if self.ablations.full_grid:
        yield from self._rest_of_the_grid(seed)
      if self.ablations.generated_pairs is not None:
        yield from self._on_generated(seed)
      if self.ablations.best_of_two:
        yield from self._best_of_two(seed)
      yield from self._shuffled(seed)
      yield from self._stale(seed)
      for size in self.ablations.sizes:
        yield from self._of_size(size, seed)

  @functools.cached_property
  def _tuned(self) -> list[Training]:
    """Returns the baseline at every learning rate."""
    sweep = Sweep(learning_rates=self.ablations.learning_rates)
    settings = sweep.settings(self.study.baseline, self.study.beta)
    return [training for training, _ in settings]

  def _checkpoint_of(self, policy: str) -> str:
    """Returns the checkpoint of a policy named in `GENERATED`."""
    study = self.study
    if policy == "sft":
      return self.sft_checkpoint("sft")
    step = study.baseline.steps
    if policy == "early":
      step = self.ablations.early_step or step
    return f"{self.at(f'online/seed_{study.seeds[0]}')}/checkpoint_{step}"

  def _generate(self, name: str) -> Iterator[Stage]:
    """Yields the stages that sample pairs of two policies and label them."""
    study, data = self.study, self.study.data
    first, second = name.split("_")
    generated = f"generated/{name}"
    if study.rater != "golden":
      generated = f"generated_for_{study.rater}/{name}"
    words = (
      self._checkpoint_of(first),
      self._checkpoint_of(second),
      f"--prompts={self.at('data/prompts')}",
      f"--judge={self.judge('golden')}",
      f"--reference={self.sft_checkpoint('sft')}",
      f"--output={self.at(generated)}",
      f"--num_pairs={self.ablations.generated_pairs}",
      f"--max_length={data.targets_length}",
      f"--judge_length={self.judge_length}",
      f"--keep={data.keep}",
    )
    needs = ("sft", f"online/seed_{study.seeds[0]}", "golden_validation")
    yield self.stage(generated, ("generate", *words), (*needs, "data/prompts"))
    if study.rater != "golden":
      yield self.label(f"generated/{name}", study.rater, generated)

  def _rest_of_the_grid(self, seed: int) -> Iterator[Trained]:
    """Yields the combinations that the study's own sweep omits."""
    study = self.study
    full_sweep = dataclasses.replace(study.offline, full_grid=True)
    swept = study.offline.settings(study.baseline, study.beta)
    for training, beta in full_sweep.settings(study.baseline, study.beta):
      if (training, beta) not in swept:
        name = f"offline_grid/{label_of(training, beta)}_seed_{seed}"
        stage = self.train_offline(name, seed, training, beta)
        yield Trained(stage, "offline_grid", training)

  def _on_generated(self, seed: int) -> Iterator[Trained]:
    beta = self.study.beta
    steps = self.ablations.generated_steps
    for name in GENERATED:
      for training in self._tuned:
        if steps is not None:
          early = tuple(steps * tenth // 10 for tenth in range(1, 10))
          training = dataclasses.replace(
            training, steps=steps, early_steps=early
          )
        stage = self.train_offline(
          f"{name}/{label_of(training, beta)}_seed_{seed}",
          seed,
          training,
          beta,
          pairs=f"generated/{name}",
        )
        yield Trained(stage, name, training)

  def _best_of_two(self, seed: int) -> Iterator[Trained]:
    baseline = self.study.baseline
    source = f"online_bo2/seed_{seed}"
    stage = self.train_online(source, "proxy", seed, kind="best_of_two_online")
    yield Trained(stage, "online_bo2", baseline)
    for training in self._tuned:
      rate = f"lr_{training.learning_rate:g}_seed_{seed}"
      stage = self.train_offline(
        f"offline_bo2/{rate}", seed, training, None, kind="best_of_two_offline"
      )
      yield Trained(stage, "offline_bo2", training)
      stage = self.train_on_online_data(
        f"tandem_bo2/{rate}",
        seed,
        training,
        None,
        source,
        kind="best_of_two_replay",
      )
      yield Trained(stage, "tandem_bo2", training)

  def _shuffled(self, seed: int) -> Iterator[Trained]:
    study = self.study
    for blocks in self.ablations.shuffle_blocks:
      name = f"shuffle_{blocks}"
      stage = self.train_on_online_data(
        f"{name}/seed_{seed}",
        seed,
        study.baseline,
        study.beta,
        f"online/seed_{seed}",
        block_batches=blocks,
      )
      yield Trained(stage, name, study.baseline)

  def _stale(self, seed: int) -> Iterator[Trained]:
    study = self.study
    for staleness in self.ablations.staleness:
      stage = self.train_online(
        f"{staleness.name}/seed_{seed}",
        "proxy",
        seed,
        f"--gin.SYNC_EVERY_STEPS={staleness.sync_every_steps}",
        f"--gin.pairs.Online.passes={staleness.passes}",
        kind="semi_online",
        beta=study.beta,
      )
      yield Trained(stage, staleness.name, study.baseline)

  def _evaluation_of_start(self, size: Size) -> Stage:
    name = f"{size.name}/sft"
    return self.evaluate(
      name,
      f"sft@{size.name}",
      [self.sft_checkpoint(name)],
      needs=(name, "evaluation/sft"),
      reference=name,
      kl_prompts=size.kl_prompts,
    )

  def _of_size(self, size: Size, seed: int) -> Iterator[Trained]:
    """Yields the runs of a policy of another size, by every method."""
    study, start = self.study, f"{size.name}/sft"
    rows = size.batch_size or study.baseline.batch_size
    baseline = dataclasses.replace(study.baseline, batch_size=rows)
    source = f"{size.name}/online/seed_{seed}"

    def at_size(stage: Stage, arm: str, training: Training) -> Trained:
      arm = f"{arm}@{size.name}"
      return Trained(stage, arm, training, start, size.kl_prompts)

    stage = self.train_online(
      source,
      "proxy",
      seed,
      training=baseline,
      beta=study.beta,
      reference=start,
    )
    yield at_size(stage, "online", baseline)
    for tuned in self._tuned:
      training = dataclasses.replace(tuned, batch_size=rows)
      label = f"{label_of(training, study.beta)}_seed_{seed}"
      stage = self.train_offline(
        f"{size.name}/offline/{label}",
        seed,
        training,
        study.beta,
        reference=start,
      )
      yield at_size(stage, "offline", training)
      stage = self.train_on_online_data(
        f"{size.name}/tandem/{label}",
        seed,
        training,
        study.beta,
        source,
        reference=start,
      )
      yield at_size(stage, "tandem", training)

  def _classify(self, seed: int) -> Stage:
    """Returns the stage in which all judges classify an online run's pairs."""
    study = self.study
    online = f"online/seed_{seed}"
    setting = label_of(study.baseline, study.beta)
    offline = f"offline/{setting}_seed_{seed}"
    words = (
      *(self.checkpoint(name, study.baseline) for name in (online, offline)),
      "--arms=online,offline",
      f"--pairs={self.at(online)}/pairs",
      f"--golden={self.judge('golden')}",
      f"--reference={self.sft_checkpoint('sft')}",
      f"--output={self.at(f'online_data/seed_{seed}')}",
      f"--windows={self.ablations.online_data_windows}",
      f"--num_pairs={self.ablations.online_data_pairs}",
      f"--judge_length={self.judge_length}",
      f"--keep={study.data.keep}",
    )
    return self.stage(
      f"online_data/seed_{seed}",
      ("classify", *words),
      ("sft", online, offline, "golden_validation"),
    )
