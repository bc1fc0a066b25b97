"""The commands of a task: their flags, paths and dependencies."""

import dataclasses

import pytest

from rlhf_gap import errors
from rlhf_gap.study import (
  ablation_stages,
  ablations,
  commands,
  experiment,
  pipeline,
)

_TRAINING = experiment.Training(10, 4, 1e-3, early_steps=(5,))
_XL = ablations.Size(
  "xl", "xl.gin", start="xl_start", sft_steps=7, sft_batch_size=2
)


def _study(**changes):
  settings = {
    "name": "s",
    "tasks": ("mini_arena",),
    "data": experiment.Data(),
    "policy_gin_file": "policy.gin",
    "golden_gin_file": "golden.gin",
    "sft": _TRAINING,
    "golden_training": dataclasses.replace(_TRAINING, steps=20),
    "proxy_training": dataclasses.replace(_TRAINING, steps=30),
    "baseline": _TRAINING,
    "seeds": (0,),
  }
  return experiment.Study(**{**settings, **changes})


def _stages(study):
  return {
    stage.name.removeprefix("mini_arena/"): stage
    for stage in pipeline.stages(study)
  }


def _flags(stage):
  return dict(word.partition("=")[::2] for word in stage.command[1:])


def test_every_judge_is_checked_before_it_is_used():
  stages = _stages(_study())
  for name, judge in (
    ("golden_labels", "golden"),
    ("golden_policy", "golden"),
    ("online/seed_0", "proxy"),
  ):
    assert f"mini_arena/{judge}_validation" in stages[name].needs


@pytest.mark.parametrize("stops", [True, False])
def test_only_checks_may_stop_at_chance(stops):
  stages = _stages(_study(stop_at_chance=stops))
  gated = {n for n, s in stages.items() if "--above_chance" in s.command}
  checks = {"golden_validation", "proxy_validation"}
  assert gated == (checks if stops else set())


def test_a_judge_s_checkpoint_is_the_last_of_its_own_training():
  flags = _flags(_stages(_study())["evaluation/sft"])
  assert flags["--golden"] == "{workdir}/mini_arena/golden/checkpoint_20"
  assert flags["--proxy"] == "{workdir}/mini_arena/proxy/checkpoint_30"
  shorter = dataclasses.replace(_TRAINING, steps=6)
  flags = _flags(_stages(_study(golden_policy=shorter))["evaluation/sft"])
  assert flags["--golden_policy"].endswith("golden_policy/checkpoint_6")


def test_every_saved_checkpoint_of_a_run_is_evaluated():
  stage = _stages(_study())["evaluation/online/seed_0"]
  folder = "{workdir}/mini_arena/online/seed_0"
  assert stage.command[1:3] == (
    f"{folder}/checkpoint_5",
    f"{folder}/checkpoint_10",
  )
  assert {"mini_arena/online/seed_0", "mini_arena/evaluation/sft"} <= set(
    stage.needs
  )


def test_the_policy_s_gin_file_is_read_only_without_a_start():
  assert _flags(_stages(_study())["sft"])["--gin_file"] == (
    "gin_configs/runs/pretrain.gin"
  )
  assert "--gin_file=policy.gin" in _stages(_study())["sft"].command
  started = _stages(_study(policy_start="t5"))["sft"]
  assert "--gin_file=policy.gin" not in started.command
  assert _flags(started)["--gin.INITIAL_CHECKPOINT_PATH"] == "t5"


def test_a_golden_model_with_a_start_does_not_wait_for_sft():
  assert "mini_arena/sft" in _stages(_study())["golden"].needs
  golden = _stages(_study(golden_start="xxl", golden_train_flags=("--x",)))
  assert golden["golden"].needs == ("mini_arena/data/pairs",)
  assert golden["golden"].command[-1] == "--x"
  assert "--x" not in golden["proxy"].command


def test_another_size_has_its_own_sft_and_the_same_judges():
  study = _study(
    ablations=ablations.Ablations(tasks=("mini_arena",), sizes=(_XL,))
  )
  stages = _stages(study)
  sft = _flags(stages["xl/sft"])
  assert (sft["--gin.TRAIN_STEPS"], sft["--gin.BATCH_SIZE"]) == ("7", "2")
  evaluation = _flags(stages["evaluation/xl/online/seed_0"])
  assert evaluation["--reference"].endswith("xl/sft/checkpoint_7")
  own = _flags(stages["evaluation/online/seed_0"])
  assert evaluation["--golden"] == own["--golden"]


@pytest.mark.parametrize(
  ("held_out", "expected"),
  [
    (False, ("--split=train", "--rows=9")),
    (True, ("--split=validation", "--rows=3")),
  ],
)
def test_data_flags_of_a_split(held_out, expected):
  data = experiment.Data(rows=9, validation_rows=3)
  assert data.flags(held_out=held_out)[:2] == expected
  assert not any("vocabulary" in flag for flag in data.flags(held_out=False))


def test_a_repeated_need_is_listed_once_in_order():
  made = commands.Commands(_study(), "mini_arena")
  stage = made.stage("a", ("train",), ("b", "c", "b"))
  assert stage.needs == ("mini_arena/b", "mini_arena/c")


def test_an_exact_rater_labels_what_runs_train_on():
  everything = ablations.Ablations(
    tasks=("mini_arena",), generated_pairs=8, early_step=5
  )
  by_golden = _stages(_study(ablations=everything))
  exact = _stages(_study(ablations=everything, rater="utility"))
  for name, pairs in (
    ("golden_labels", "data/pairs"),
    ("utility_validation", "data/validation"),
    ("generated/final_final", "generated_for_utility/final_final"),
  ):
    stage = exact[name]
    assert stage.command[:2] == ("label", "utility")
    assert _flags(stage)["--pairs"].endswith(f"mini_arena/{pairs}")
    assert f"mini_arena/{pairs}" in stage.needs
  proxy = _flags(exact["proxy_validation"])
  assert proxy["--pairs"].endswith("mini_arena/utility_validation")
  # Everything else, the golden model's checks included, is the same.
  changed = {
    name for name in by_golden if by_golden[name].command != exact[name].command
  }
  assert changed == {
    "golden_labels",
    "proxy_validation",
    *(f"generated/{name}" for name in ablation_stages.GENERATED),
  }


def test_an_exact_rater_needs_a_utility():
  with pytest.raises(errors.UserError, match="'utility' needs a miniature"):
    _study(tasks=("openai_summarization",), rater="utility")
  with pytest.raises(errors.UserError, match="rater"):
    _study(rater="people")
