"""The studies of gin_configs/studies become commands that parse."""

import dataclasses
import math
import pathlib
import re
import subprocess
import sys

import pytest

from rlhf_gap import checks, errors, stores
from rlhf_gap.analysis import summary
from rlhf_gap.cli import gin_files, main
from rlhf_gap.data import mini
from rlhf_gap.inference import judge
from rlhf_gap.paper import registry
from rlhf_gap.study import commands, experiment, pipeline, stages
from rlhf_gap.training import description

_ROOT = pathlib.Path(__file__).parents[2]
# paper.gin is what the experiment files of test_ablations.py include.
_STUDIES = [
  file
  for file in sorted((_ROOT / "gin_configs" / "studies").glob("*.gin"))
  if file.stem != "paper"
]
_REQUIRED = ["SOURCE = 'files'", "VOCABULARY = 'model'", "POLICY = 'hf_t5'"]


def _study(file, bindings=()):
  text = file.read_text()
  needed = [b for b in _REQUIRED if f"{b.split(' =')[0]} = %gin.REQ" in text]
  gin_files.parse([str(file)], [*needed, *bindings])
  return gin_files.construct(experiment.Study, [str(file)], needed)


@pytest.mark.parametrize("file", _STUDIES, ids=lambda p: p.stem)
def test_a_study_plans_stages_that_follow_from_each_other(file):
  study = _study(file)
  planned = pipeline.stages(study)
  stages.check(planned)
  assert study.name == file.stem
  arms = [arm for task in study.tasks for _, arm in pipeline.arms(study, task)]
  own = {arm for arm in arms if not registry.is_ablation(arm)}
  assert own == {"online", "offline", "tandem"}
  assert (set(arms) != own) == (study.ablations is not None)
  online = len(study.tasks) * len(study.seeds)
  assert arms.count("online") == online
  sweep = study.offline.settings(study.baseline, study.beta)
  assert arms.count("offline") == online * len(sweep)
  # One evaluation a run, and one of each policy that others start from.
  evaluations = [s for s in planned if s.command[0] == "evaluate"]
  starts = len(study.tasks)
  if study.ablations is not None:
    starts += len(study.ablations.sizes) * len(study.ablations.tasks)
  assert len(evaluations) == len(arms) + starts
  assert len(file.read_text().splitlines()) <= 60


@pytest.mark.parametrize("file", _STUDIES, ids=lambda p: p.stem)
def test_every_training_command_describes_a_run(file, tmp_path):
  seen = {}
  for stage in pipeline.stages(_study(file)):
    if stage.command[0] == "train":
      words = stage.argv(str(tmp_path))
      seen[re.sub(r"[\d.]+(e-\d+)?", "#", " ".join(words))] = words
  assert len(seen) >= 6
  for words in seen.values():
    files, bindings = [], []
    for word in words[1:]:
      flag, _, value = word.partition("=")
      if flag == "--gin_file":
        files.append(value)
      else:
        bindings.append(f"{flag.removeprefix('--gin.')} = {value}")
    gin_files.parse(files, bindings)
    run = gin_files.construct(description.Run, files, bindings)
    assert run.model_dir.startswith(str(tmp_path))
    assert run.train_steps == run.checkpoint_every_steps


def test_the_sweep_varies_one_thing_at_a_time_or_everything():
  baseline = experiment.Training(10, 4, 1e-5)
  sweep = experiment.Sweep((3e-6, 1e-5, 3e-5), (0.1, 0.5, 1.0), 50)
  settings = [
    (t.learning_rate, b, t.steps) for t, b in sweep.settings(baseline, 0.1)
  ]
  assert settings == [
    (1e-5, 0.1, 10),
    (3e-6, 0.1, 10),
    (3e-5, 0.1, 10),
    (1e-5, 0.5, 10),
    (1e-5, 1.0, 10),
    (1e-5, 0.1, 50),
  ]
  grid = experiment.Sweep(sweep.learning_rates, sweep.betas, 50, full_grid=True)
  full = [
    (t.learning_rate, b, t.steps) for t, b in grid.settings(baseline, 0.1)
  ]
  assert len(full) == len(set(full)) == 18
  assert full[0] == settings[0]
  assert set(settings) <= set(full)


@pytest.mark.parametrize(
  "vocabulary", [stores.byte(), stores.sentencepiece(mini.VOCABULARY_PATH)]
)
def test_the_judges_window_holds_prompt_responses_and_markers(vocabulary):
  study = _study(_ROOT / "gin_configs" / "studies" / "laptop.gin")
  data = dataclasses.replace(study.data, judge_length=None)
  study = dataclasses.replace(study, data=data)
  markers = judge.marker_tokens(judge.words_of(vocabulary))
  window = commands.Commands(study, study.tasks[0]).judge_length
  assert window >= data.inputs_length + 2 * data.targets_length + markers


@pytest.mark.parametrize(
  ("make", "expected"),
  [
    (lambda: experiment.Training(9, 4, 1e-5, early_steps=(3, 9)), "rising"),
    (lambda: experiment.Training(10, 4, 1e-5, optimizer="Adam"), "AdamW"),
    (lambda: experiment.Training(0, 4, 1e-5), "steps=0"),
    (lambda: experiment.Training(10, -4, 1e-5), "batch_size=-4; expected a wh"),
    (lambda: experiment.Training(10, 4, 1e-5, dropout_rate=1.0), "dropout_rat"),
    (lambda: experiment.Evaluation(num_prompts=-4), "num_prompts=-4"),
    (lambda: experiment.Sweep(betas=(0.1, -0.5)), "betas=-0.5"),
    (lambda: experiment.Sweep(long_steps=0), "long_steps=0"),
  ],
)
def test_a_setting_that_cannot_be(make, expected):
  with pytest.raises(errors.UserError, match=expected):
    make()


@pytest.mark.parametrize(
  ("binding", "expected"),
  [
    ("tasks=('mini_helpfulnes',)", "did you mean mini_helpfulness_pairs?"),
    ("tasks=('mini_arena', 'mini_arena')", "expected no duplicates"),
    ("beta=-0.5", "beta=-0.5; expected a finite number above 0"),
    ("reduction='summ'", "reduction='summ'; expected one of sum, mean"),
  ],
)
def test_a_study_that_cannot_be(capsys, tmp_path, binding, expected):
  name, value = binding.split("=", 1)
  words = (
    *("study", "--gin_file=gin_configs/studies/laptop.gin", "--dry_run"),
    *(f"--workdir={tmp_path / 'w'}", f"--gin.experiment.Study.{name}={value}"),
  )
  assert main.main(list(words)) == 2
  line = capsys.readouterr().err
  assert expected in line
  assert line.count("\n") == 1


def test_a_lone_text_is_not_several(tmp_path):
  """In a process of its own, without the tests' checks of types."""
  words = (
    *("study", "--gin_file=gin_configs/studies/laptop.gin", "--dry_run"),
    *(f"--workdir={tmp_path}", "--gin.experiment.Study.tasks='mini_arena'"),
  )
  program = "import sys; from rlhf_gap.cli import main; sys.exit(main.main())"
  done = subprocess.run(
    [sys.executable, "-c", program, *words], capture_output=True, text=True
  )
  assert done.returncode == 2
  assert "several in parentheses, such as (1,) or ('a', 'b')" in done.stderr
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
  ("check", "expected"),
  [
    (lambda: checks.several(seeds=3), r"seeds=3; .* such as \(3,\)"),
    (lambda: checks.counts(at_least=0, seeds="a"), "'a'; .* number, 0 or more"),
    (lambda: checks.counts(batch_size=0.5), "batch_size=0.5; .* 1 or more"),
    (lambda: checks.counts(batch_size=True), "batch_size=True"),
    (lambda: checks.positive(beta="1e-5"), "beta='1e-5'; .* above 0"),
    (lambda: checks.positive(beta=math.nan), "beta=nan; .* above 0"),
    (lambda: checks.one_of(("a", "b"), kind="c"), "kind='c'; .* of a, b"),
  ],
)
def test_values_of_the_wrong_kind(check, expected):
  with pytest.raises(errors.UserError, match=expected):
    check()


@pytest.mark.parametrize(
  ("long_steps", "saved"),
  [
    (1000, (500, 1000)),
    (500, (400, 500)),
    (301, (300, 301)),
    (200, (100, 200)),
  ],
)
def test_a_longer_run_has_two_checkpoints(long_steps, saved):
  baseline = experiment.Training(300, 4, 1e-5, early_steps=(10, 80))
  sweep = experiment.Sweep(long_steps=long_steps)
  *_, (longer, _) = sweep.settings(baseline, 0.1)
  assert longer.saved_steps == saved


def test_a_stage_that_waits_for_others_says_so(capsys, tmp_path):
  words = ["study", "--gin_file=gin_configs/studies/laptop.gin"]
  words += [f"--workdir={tmp_path / 'w'}", "--stage=mini_helpfulness/proxy"]
  assert main.main([*words, "--workers=0"]) == 2
  assert (
    "--workers=0; expected a whole number, 1 or more" in capsys.readouterr().err
  )
  assert main.main(words) == 2
  assert capsys.readouterr().out == (
    "rlhf-gap study: mini_helpfulness/proxy blocked: needs"
    " mini_helpfulness/sft, mini_helpfulness/golden_labels\n"
  )


def test_mistakes_at_the_command_line(capsys, tmp_path):
  laptop = "--gin_file=gin_configs/studies/laptop.gin"
  where = f"--workdir={tmp_path / 'w'}"
  assert main.main(["study", laptop, where, "--stage=sftt"]) == 2
  assert "--stage=sftt: no such stage" in capsys.readouterr().err
  assert main.main(["study", laptop, where, "--gin.SEDS=3"]) == 2
  assert "nothing uses SEDS" in capsys.readouterr().err
  assert main.main(["study", laptop, where, "--dry_run"]) == 0
  assert "stages, " in capsys.readouterr().out
  assert not (tmp_path / "w").exists()
  (tmp_path / "w").mkdir()
  (tmp_path / "w" / "name").write_text("other\n")
  assert main.main(["study", laptop, where]) == 2
  assert "holds the study other, not laptop" in capsys.readouterr().err


def test_a_folder_notes_the_claims_before_its_first_stage(tmp_path, capsys):
  words = ["study", "--gin_file=gin_configs/studies/laptop.gin"]
  words += [f"--workdir={tmp_path}", "--stage=mini_helpfulness/proxy"]
  assert main.main(words) == 2  # it needs stages that have not run
  noted = (tmp_path / summary.CLAIMS_FILE_NAME).read_text().strip()
  assert noted == registry.fingerprint()
  (tmp_path / summary.CLAIMS_FILE_NAME).write_text("of earlier claims\n")
  assert main.main(words) == 2
  assert (tmp_path / summary.CLAIMS_FILE_NAME).read_text() == (
    "of earlier claims\n"
  )


def _own(*bindings):
  file = _ROOT / "gin_configs/studies/own.gin"
  given = ["SOURCE = 'pairs.jsonl'", "POLICY = 'hf_t5'", *bindings]
  gin_files.parse([str(file)], given)
  return gin_files.construct(experiment.Study, [str(file)], given)


def test_own_files_are_read_with_the_models_own_tokenizer():
  planned = {s.name: s for s in pipeline.stages(_own())}
  words = planned["own/data/validation"].command
  assert words[:2] == ("data", "own")
  for word in (
    "--source=pairs.jsonl",
    "--vocabulary=hf_t5",
    "--split_by=hash:0.1",
    "--split=test",
  ):
    assert word in words
  assert "--responses=chosen" in planned["own/data/sft"].command
  assert "--gin.INITIAL_CHECKPOINT_PATH=hf_t5" in planned["own/sft"].command
  assert "--or_all" in planned["own/evaluation/sft"].command


def test_a_given_sft_policy_and_golden_model_are_not_trained():
  study = _own("SFT = None", "GOLDEN_TRAINING = None", "GOLDEN_START = 'judge'")
  planned = pipeline.stages(study)
  stages.check(planned)
  names = {stage.name for stage in planned}
  assert not names & {"own/sft", "own/golden", "own/data/sft"}
  by_name = {stage.name: stage for stage in planned}
  assert by_name["own/golden_validation"].command[1] == "judge"
  evaluated = by_name["own/evaluation/sft"].command
  assert evaluated[1] == "hf_t5"
  assert "--reference=hf_t5" in evaluated


@pytest.mark.parametrize(
  ("binding", "message"),
  [
    ("GOLDEN_TRAINING = None", "golden_start must be a preference model"),
    ("SPLIT_BY = 'none'", "checked on held-out pairs"),
    ("VOCABULARY = None", "vocabulary is missing"),
  ],
)
def test_what_a_study_of_own_files_needs(binding, message):
  with pytest.raises(errors.UserError, match=message):
    _own(binding)
