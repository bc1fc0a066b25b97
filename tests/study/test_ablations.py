"""What ablations add to a study, and the paper's own experiment files."""

import dataclasses
import functools
import pathlib
import re

import jax
import pytest

from rlhf_gap import errors, partitioning, plan
from rlhf_gap.analysis import arm_names
from rlhf_gap.cli import gin_files
from rlhf_gap.models import t5
from rlhf_gap.paper import registry
from rlhf_gap.study import (
  ablation_stages,
  ablations,
  experiment,
  pipeline,
  stages,
)
from rlhf_gap.training import description

pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(__file__).parents[2]
_STUDIES = _ROOT / "gin_configs" / "studies"
_PAPER = sorted((_STUDIES / "paper").glob("*.gin"))
_MACROS = ("SOURCE", "VOCABULARY", "LARGE", "XL", "XXL")


def _study(*files, bindings=()):
  names = [str(_STUDIES / file) for file in files]
  gin_files.parse(names, bindings)
  return gin_files.construct(experiment.Study, names, bindings)


@pytest.fixture(scope="module")
def mini():
  return _study("paper_mini.gin")


def _plain(study):
  return dataclasses.replace(study, ablations=None)


def test_ablations_come_after_and_change_nothing_of_the_rest(mini):
  base, whole = pipeline.stages(_plain(mini)), pipeline.stages(mini)
  assert whole[: len(base)] == base
  assert len(whole) > len(base) + 100
  stages.check(whole)
  recipes = stages.recipes(whole)
  before = stages.recipes(base)
  assert {name: recipes[name] for name in before} == before


@pytest.mark.parametrize(
  "file", sorted((_STUDIES / "figures").glob("*.gin")), ids=lambda f: f.stem
)
def test_a_figure_alone_is_a_part_of_the_whole(file, mini):
  """With the whole study's folder it is no work twice."""
  part = _study(f"figures/{file.name}")
  assert part.name == mini.name
  whole = {stage.name: stage for stage in pipeline.stages(mini)}
  own = pipeline.stages(part)
  assert all(whole[stage.name] == stage for stage in own)
  assert len(own) > len(pipeline.stages(_plain(part)))


def test_without_ablations_there_are_none(mini):
  study = _plain(mini)
  assert list(ablation_stages.stages(study)) == []
  task = study.tasks[0]
  for of in (
    ablation_stages.trained,
    ablation_stages.starts,
    ablation_stages.classified,
  ):
    assert of(study, task) == []
    # Nor on a task that they are not for.
    assert of(mini, "mini_arena") == []


def test_every_figure_of_the_paper_has_its_arms(mini):
  task = mini.tasks[0]
  found = [arm for _, arm in pipeline.arms(mini, task)]
  seeds = len(mini.seeds)
  assert seeds >= 3
  for arm in (
    *("online", "online_bo2", "shuffle_1", "shuffle_4", "shuffle_40"),
    *("stale_4", "stale_16", "stale_64", "stale_never", "reuse_4x4"),
    *("reuse_4x16", "online@small", "online@large"),
  ):
    assert found.count(arm) == seeds, arm
  for arm in (
    *arm_names.GENERATED,
    *("offline_bo2", "tandem_bo2", "offline@small", "tandem@large"),
  ):
    assert found.count(arm) == 3 * seeds, arm
  grid = dataclasses.replace(mini.offline, full_grid=True)
  every = grid.settings(mini.baseline, mini.beta)
  one_by_one = mini.offline.settings(mini.baseline, mini.beta)
  assert found.count("offline_grid") == seeds * len(
    [setting for setting in every if setting not in one_by_one]
  )
  assert all(
    registry.is_ablation(arm) == (arm not in ("online", "offline", "tandem"))
    for arm in found
  )


def _named(study, name):
  full = f"mini_helpfulness/{name}"
  (stage,) = [s for s in pipeline.stages(study) if s.name == full]
  return stage


def _words(stage):
  return dict(w.partition("=")[::2] for w in stage.command if "=" in w)


def test_pairs_are_generated_from_the_checkpoints_that_they_are_named_for(mini):
  at = "{workdir}/mini_helpfulness"
  early, final = (f"{at}/online/seed_0/checkpoint_{n}" for n in (80, 300))
  sft = f"{at}/sft/checkpoint_400"
  for name, sides in (
    ("final_final", (final, final)),
    ("sft_early", (sft, early)),
    ("early_final", (early, final)),
  ):
    stage = _named(mini, f"generated/{name}")
    assert stage.command[:3] == ("generate", *sides)
    assert _words(stage)["--judge"].startswith(f"{at}/golden/")
    assert _words(stage)["--reference"] == sft
    trained = _named(mini, f"{name}/lr_0.0003_beta_0.5_steps_300_seed_1")
    assert _words(trained)["--gin.PAIRS"] == f"{at}/generated/{name}"
    assert f"mini_helpfulness/generated/{name}" in trained.needs


def test_a_size_has_an_sft_policy_of_its_own_and_judges_in_common(mini):
  stage = _named(mini, "small/online/seed_0")
  words = _words(stage)
  sft = "{workdir}/mini_helpfulness/small/sft/checkpoint_400"
  assert words["--gin.INITIAL_CHECKPOINT_PATH"] == sft
  evaluation = _words(_named(mini, "evaluation/small/online/seed_0"))
  own = _words(_named(mini, "evaluation/online/seed_0"))
  assert evaluation["--reference"] == sft != own["--reference"]
  assert evaluation["--arm"] == "online@small"
  for same in ("--golden", "--proxy", "--golden_policy", "--prompts"):
    assert evaluation[same] == own[same]
  judge = "--gin.JUDGE_CHECKPOINT_PATH"
  assert words[judge] == _words(_named(mini, "online/seed_0"))[judge]
  tandem = _named(mini, "small/tandem/lr_0.001_beta_0.5_steps_300_seed_2")
  assert _words(tandem)["--gin.PAIRS"].endswith("/small/online/seed_2/pairs")


def test_best_of_two_has_no_beta_and_replays_its_own_online_run(mini):
  tandem = _named(mini, "tandem_bo2/lr_0.001_seed_1")
  words = _words(tandem)
  assert words["--gin.PAIRS"].endswith("/online_bo2/seed_1/pairs")
  assert "--gin.BETA" not in words
  assert words["--gin.REDUCTION"] == "'mean'"


def test_the_tiny_study_has_every_kind_of_stage(mini):
  tiny = _study("paper_mini.gin", "parts/tiny_paper.gin")
  planned = pipeline.stages(tiny)
  stages.check(planned)
  assert {s.command[0] for s in planned} == {
    s.command[0] for s in pipeline.stages(mini)
  }
  assert len(planned) < 70
  kinds = {arm for _, arm in pipeline.arms(tiny, "mini_helpfulness")}
  whole = {arm for _, arm in pipeline.arms(mini, "mini_helpfulness")}
  # One learning rate, beta and length: the grid is the baseline.
  assert whole - kinds == {
    *("offline_grid", "shuffle_40", "stale_16", "stale_64", "reuse_4x16"),
  }


_TASK = "mini_arena"
_TRAINING = experiment.Training(10, 4, 1e-3, early_steps=(5,))


def _small(**changes):
  return experiment.Study(
    name="s",
    tasks=(_TASK,),
    data=experiment.Data(),
    policy_gin_file="p",
    golden_gin_file="g",
    sft=_TRAINING,
    golden_training=_TRAINING,
    proxy_training=_TRAINING,
    baseline=_TRAINING,
    ablations=ablations.Ablations(tasks=(_TASK,), **changes),
  )


@pytest.mark.parametrize(
  ("make", "expected"),
  [
    (
      lambda: _small(generated_pairs=9, early_step=4),
      "early_step=4; expected one of the baseline's early_steps",
    ),
    (lambda: _small(generated_pairs=9), "expected both or neither"),
    (lambda: _small(early_step=5), "expected both or neither"),
    (lambda: _small(shuffle_blocks=(4, 4)), "no duplicates"),
    (
      lambda: dataclasses.replace(
        _small(), ablations=ablations.Ablations(tasks=("two",))
      ),
      "ablations of two",
    ),
    (lambda: _small(shuffle_blocks=(0, 4)), "shuffle_blocks=0; expected"),
    (lambda: _small(online_data_windows=-1), "online_data_windows=-1"),
    (lambda: _small(online_data_pairs=1), "online_data_pairs=1; .* 2 or more"),
    (lambda: _small(learning_rates=(0.0,)), "learning_rates=0.0; .* above 0"),
    (lambda: ablations.Staleness(0), "sync_every_steps=0"),
    (lambda: ablations.Staleness(4, 0), "passes=0"),
    (lambda: ablations.Size("xl", "p", batch_size=0), "batch_size=0"),
    (lambda: ablations.Size("a/b", "policy.gin"), "expected a word"),
  ],
)
def test_ablations_that_cannot_be(make, expected):
  with pytest.raises(errors.UserError, match=expected):
    make()


def test_runs_on_generated_pairs_may_be_longer():
  study = _small(generated_pairs=9, early_step=5, generated_steps=100)
  (one, *_) = [
    trained
    for trained in ablation_stages.trained(study, _TASK)
    if trained.arm == "final_final"
  ]
  assert one.training.saved_steps == tuple(range(10, 101, 10))


def _given(file):
  text = file.read_text()
  texts = [text] + [
    (_ROOT / line.split('"')[1]).read_text()
    for line in text.splitlines()
    if line.startswith("include")
  ]
  return [
    f"{macro} = 'at/{macro}'"
    for macro in _MACROS
    if any(f"\n{macro} = %gin.REQUIRED" in one for one in texts)
  ]


def _experiment(file):
  return _study(f"paper/{file.name}", bindings=_given(file))


def test_there_is_an_experiment_file_for_every_task_of_the_paper():
  assert [file.stem for file in _PAPER] == [
    "anthropic_harmlessness",
    "anthropic_helpfulness",
    "chat_arena",
    "openai_summarization",
  ]


@pytest.mark.parametrize("file", _PAPER, ids=lambda p: p.stem)
def test_an_experiment_file_tells_what_it_is(file):
  study = _experiment(file)  # raises where a binding is of no use
  assert (study.name, study.tasks) == (file.stem, (file.stem,))
  text = file.read_text()
  header = text[: text.index("\nfrom __gin__")]
  for needed in ("Figures", "Arms:", "chip-hours", "Expect "):
    assert needed in header
  assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("file", _PAPER, ids=lambda p: p.stem)
def test_an_experiment_has_the_papers_numbers(file):
  study = _experiment(file)
  data = study.data
  assert (data.inputs_length, data.targets_length) == (1024, 128)
  assert (study.sft.steps, study.sft.batch_size) == (4000, 128)
  assert study.golden_training.batch_size == 16
  assert study.proxy_training.batch_size == 32
  online = study.baseline
  assert (online.steps, online.batch_size) == (4000, 32)
  assert online.learning_rate == 1e-5
  assert study.beta == 0.1
  assert len(online.saved_steps) == 10
  assert study.evaluation.num_prompts == 2048
  grid = dataclasses.replace(study.offline, full_grid=True)
  assert len(grid.settings(online, 0.1)) == 18
  if study.ablations is None:
    assert file.stem == "anthropic_harmlessness"
    return
  assert [s.batch_size for s in study.ablations.sizes] == [16, 8]
  assert study.ablations.shuffle_blocks == (1, 4, 500)
  assert study.ablations.early_step == 800


@functools.cache
def _num_parameters(model):
  gin_files.parse([model])
  shapes = t5.param_shapes(gin_files.macro("MODEL"))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("file", _PAPER, ids=lambda p: p.stem)
def test_the_models_of_an_experiment_build_without_weights(file):
  study = _experiment(file)
  models = {study.policy_gin_file, study.golden_gin_file}
  if study.ablations is not None:
    models |= {size.policy_gin_file for size in study.ablations.sizes}
  counts = [_num_parameters(model) for model in sorted(models)]
  assert min(counts) > 7e8
  assert max(counts) > 1e10


@pytest.mark.parametrize("file", _PAPER, ids=lambda p: p.stem)
def test_every_run_of_an_experiment_is_described(file, tmp_path):
  study = _experiment(file)
  planned = pipeline.stages(study)
  stages.check(planned)
  stages.recipes(planned)  # every gin file is there
  seen = {}
  for stage in planned:
    if stage.command[0] == "train":
      told = ("--gin_file=", "--gin.BATCH_SIZE=")
      kind = tuple(w for w in stage.command if w.startswith(told))
      seen.setdefault(kind, stage)
  for stage in seen.values():
    files, bindings = [], []
    for word in stage.argv(str(tmp_path))[1:]:
      flag, _, value = word.partition("=")
      if flag == "--gin_file":
        files.append(value)
      else:
        bindings.append(f"{flag.removeprefix('--gin.')} = {value}")
    gin_files.parse(files, bindings)
    run = gin_files.construct(description.Run, files, bindings)
    assert run.dtype == "bfloat16"
    for topology in _slices(files):
      mesh = run.mesh.abstract(topology.num_chips)
      partitioning.check_batch(run.batch_size, run.num_microbatches, mesh)


def _slices(files):
  """Those that the header of a run's pod settings names as they are."""
  (settings,) = (file for file in files if file.endswith("_pod.gin"))
  header = (_ROOT / settings).read_text().partition("from __gin__")[0]
  names = re.findall(r"\bv\w+:\d+(?:x\d+)+(?! with)\b", header)
  assert names
  return map(plan.Topology.parse, names)
