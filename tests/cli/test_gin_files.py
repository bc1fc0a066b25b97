"""gin files: those of the project, and mistakes in those of users."""

import pathlib
import re

import jax
import pytest

from rlhf_gap import errors
from rlhf_gap.cli import gin_files, gin_mistakes, gin_sources, main
from rlhf_gap.models import t5
from rlhf_gap.training import description

pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(__file__).parents[2]
_MODELS = sorted((_ROOT / "gin_configs" / "models").glob("*.gin"))
_RUNS = sorted((_ROOT / "gin_configs" / "runs").glob("*.gin"))


@pytest.mark.parametrize("file", _MODELS, ids=lambda p: p.stem)
def test_a_model_file_has_the_parameters_that_its_header_states(file):
  gin_files.parse([str(file.relative_to(_ROOT))])
  config = gin_files.macro("MODEL")
  leaves = jax.tree.leaves(t5.param_shapes(config))
  text = file.read_text()
  said = re.search(r"([\d,]+) parameters", text)
  assert sum(leaf.size for leaf in leaves) == int(said[1].replace(",", ""))
  assert f"emb {config.emb_dim}" in text
  assert f"{config.num_heads} heads x {config.head_dim}" in text
  assert f"mlp {config.mlp_dim}" in text
  assert f"vocabulary {config.vocab_size:,}" in text
  assert len(text.splitlines()) <= 60


def test_bindings_override_files():
  gin_files.parse(
    ["gin_configs/models/mini_policy.gin"],
    ["t5.T5Config.emb_dim = 32", "DROPOUT_RATE = 0.25"],
  )
  config = gin_files.macro("MODEL")
  assert (config.emb_dim, config.dropout_rate) == (32, 0.25)


def test_settings_have_the_names_that_users_set():
  gin_files.parse(["gin_configs/runs/offline.gin"], ["SEED = 3", "PAIRS = a/b"])
  settings = gin_files.settings()
  assert (settings["SEED"], settings["PAIRS"]) == ("3", "'a/b'")
  assert any(name.endswith("Run.objective") for name in settings)


def test_a_search_path_is_looked_through(tmp_path):
  (tmp_path / "mine.gin").write_text("MODEL = 3\n")
  gin_files.parse(["mine.gin"], search_paths=[str(tmp_path)])
  assert gin_files.macro("MODEL") == 3


_HEAD = "from __gin__ import dynamic_registration\n"
_T5 = f"{_HEAD}from rlhf_gap.models import t5\n"


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    (f"{_T5}t5.T5Confg.emb_dim = 3\n", ("mine.gin:3", "T5Confg")),
    (f"{_T5}t5.T5Config.emb_dimm = 3\n", ("mine.gin:3", "emb_dimm")),
    (f"{_T5}t5.T5Config.emb_dim = = 3\n", ("mine.gin:3", "parse")),
    (f"{_HEAD}from rlhf_gap.models import t6\n", ("t6",)),
  ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path, text, expected):
  (tmp_path / "mine.gin").write_text(text)
  with pytest.raises(errors.UserError) as caught:
    gin_files.parse([str(tmp_path / "mine.gin")])
  message = str(caught.value)
  assert "\n" not in message
  for part in expected:
    assert part in message


def test_a_mistyped_file_suggests_the_near_one():
  with pytest.raises(errors.UserError, match=r"did you mean .*t5_1_1_small"):
    gin_files.parse(["gin_configs/models/t5_1_1_smal.gin"])


def test_a_macro_that_no_file_sets():
  gin_files.parse([])
  with pytest.raises(errors.UserError, match="sets MODEL"):
    gin_files.macro("MODEL")


def _files_of(run):
  files = [str(run.relative_to(_ROOT))]
  if run.stem == "pretrain":
    files.append("gin_configs/models/mini_policy.gin")
  return files


def _given(macros):
  """Bindings of required macros to paths that are not read."""
  return [
    f"{macro} = {3 if macro.endswith('_STEPS') else '/nowhere/' + macro}"
    for macro in macros
  ]


def _unused(files, bindings):
  gin_files.parse(files, bindings)
  run = gin_files.construct(description.Run, files, bindings)
  assert run.model_dir == "/nowhere/MODEL_DIR"
  return set(gin_mistakes.unused())


def test_every_regime_has_a_run_file():
  assert {p.stem for p in _RUNS} >= {
    "sft",
    "preference",
    "offline",
    "online",
    "semi_online",
    "replay",
    "best_of_two_offline",
    "best_of_two_online",
  }


@pytest.mark.parametrize("file", _RUNS, ids=lambda p: p.stem)
def test_a_run_file_describes_a_run_once_its_required_macros_are_given(file):
  files = _files_of(file)
  gin_files.parse(files)
  given = _given(gin_files.required_macros())
  # A run has one optimizer; a setting must be used with one of the two.
  unused = _unused(files, given) & _unused(
    files, [*given, "OPTIMIZER = @configured.AdamW()"]
  )
  assert unused == set()


@pytest.mark.parametrize("file", _RUNS, ids=lambda p: p.stem)
def test_a_run_file_is_short_and_its_header_lists_required_macros(file):
  gin_files.parse(_files_of(file))
  lines = file.read_text().splitlines()
  assert len(lines) <= 60
  end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
  header = " ".join(line.removeprefix("#").strip() for line in lines[:end])
  required = re.search(r"Must be set: (.*)", header)[1]
  for macro in gin_files.required_macros():
    assert macro in required
  assert re.search(r"\b[Cc]osts\b", header)
  assert re.search(r"\b[Ee]xpect\b", header)


def test_the_defaults_are_the_papers():
  expected = {
    "online": (32, 1e-5, 4000, 0, 0.0),
    "sft": (128, 3e-5, 4000, 0, 0.1),
    "preference": (32, 1e-4, 4000, 1000, 0.1),
  }
  for name, values in expected.items():
    files = [f"gin_configs/runs/{name}.gin"]
    gin_files.parse(files)
    given = _given(gin_files.required_macros())
    gin_files.parse(files, given)
    run = gin_files.construct(description.Run, files, given)
    rate = run.optimizer.learning_rate
    assert type(run.optimizer).__name__ == "Adafactor"
    assert values == (
      run.batch_size,
      rate.peak,
      run.train_steps,
      rate.warm_up_steps,
      run.dropout_rate,
    )
    if name == "online":
      assert run.objective.loss.beta == 0.1
      assert set(run.keep_steps) == {800, 4000}


_OFFLINE = 'include "gin_configs/runs/offline.gin"\n'
_RUN = f"{_HEAD}from rlhf_gap.training import description\n{_OFFLINE}"
_LOSSES = f"{_HEAD}from rlhf_gap import losses\n{_OFFLINE}"


@pytest.mark.parametrize(
  ("text", "line", "expected"),
  [
    (f"{_RUN}description.Rnu.seed = 3\n", 4, "did you mean Run?"),
    (f"{_RUN}description.Run.sed = 3\n", 4, "did you mean seed?"),
    (f"{_RUN}description.Run.seed = %SEEED\n", 4, "did you mean SEED?"),
    (f"{_OFFLINE}TRAIN_STPES = 3\n", 2, "did you mean TRAIN_STEPS?"),
    (f"{_LOSSES}losses.Dpo.beta = 3\n", 4, "uses losses.Dpo.beta"),
    (f"{_LOSSES}losses.Dpo:\n  # why\n  beta = 3\n", 6, "uses losses.Dpo.b"),
    (
      'include "gin_configs/runs/oflline.gin"\n',
      1,
      "did you mean gin_configs/runs/offline.gin?",
    ),
  ],
)
@pytest.mark.parametrize("included", [False, True])
def test_a_mistake_in_a_users_run_file(
  capsys, tmp_path, text, line, expected, included
):
  path = tmp_path / "mine.gin"
  path.write_text(text)
  given = path
  if included:
    given = tmp_path / "outer.gin"
    given.write_text(f"include '{path}'\n")
  bound = _given(["MODEL_DIR", "INITIAL_CHECKPOINT_PATH", "PAIRS"])
  flags = ["--gin." + b.replace(" = ", "=") for b in bound]
  assert main.main(["train", f"--gin_file={given}", *flags]) == 2
  error = capsys.readouterr().err
  assert len(error.strip().splitlines()) == 1
  assert f"{path}:{line}: " in error
  assert expected in error


@pytest.mark.parametrize(
  ("flag", "expected"),
  [
    ("TRAIN_STPES=3", "--gin.TRAIN_STPES: nothing uses.*mean TRAIN_STEPS"),
    ("description.Run.sed=3", "did you mean seed"),
    ("description.Rnu.seed=3", "did you mean description.Run"),
    ("OPTIMIZER=@configured.Adam()", "did you mean configured.Adam"),
    ("TRAIN_STEPS", "--gin.TRAIN_STEPS: expected --gin.NAME=value"),
    ("TRAIN_STEPS=0", "gin.TRAIN_STEPS: train_steps=0; expected a whole"),
    ("BETA=-1.0", "Ipo.beta = -1.0; expected"),
    ("REDUCTION=total", "'total'; expected one of sum, mean"),
    ("LEARNING_RATE=0.0", "--gin.LEARNING_RATE: peak=0.0; expected a finite"),
    (
      "description.Run.num_microbatches=5",
      "num_microbatches=5 does not divide",
    ),
    ("description.Run.keep=0", "keep=0; expected"),
  ],
)
def test_a_mistake_on_the_command_line(capsys, flag, expected):
  """Also if a constructor raises it and gin appends lines to it."""
  bound = _given(["MODEL_DIR", "INITIAL_CHECKPOINT_PATH", "PAIRS"])
  flags = ["--gin." + b.replace(" = ", "=") for b in bound]
  file = "--gin_file=gin_configs/runs/offline.gin"
  assert main.main(["train", file, *flags, f"--gin.{flag}"]) == 2
  error = capsys.readouterr().err
  assert len(error.strip().splitlines()) == 1
  assert re.search(expected, error)


@pytest.mark.parametrize(
  ("setting", "new_name", "in_file"),
  [
    ("experiment.Study.policy", "policy_gin_file", False),
    ("experiment.Study.policy", "policy_gin_file", True),
    ("experiment.Study.golden", "golden_gin_file", False),
    ("xl/ablations.Size.policy", "policy_gin_file", True),
  ],
)
def test_a_renamed_setting_names_its_new_name(
  capsys, tmp_path, setting, new_name, in_file
):
  text = (
    "from __gin__ import dynamic_registration\n"
    "from rlhf_gap.study import ablations\n"
    "from rlhf_gap.study import experiment\n"
    'include "gin_configs/studies/laptop.gin"\n'
  )
  binding = f"{setting} = 'gin_configs/models/mini_small.gin'\n"
  path = tmp_path / "study.gin"
  path.write_text(text + (binding if in_file else ""))
  flag = f"--gin.{setting}=gin_configs/models/mini_small.gin"
  words = ["study", f"--gin_file={path}", f"--workdir={tmp_path}", "--dry_run"]
  assert main.main([*words, *([] if in_file else [flag])]) == 2
  error = capsys.readouterr().err
  assert error.endswith(f"; it is now called {new_name}\n")
  assert (f"{path}:5: " if in_file else flag) in error
  assert error.count("\n") == 1


def test_what_must_be_set_is_named_with_the_flags_that_do(capsys):
  file = "--gin_file=gin_configs/runs/semi_online.gin"
  assert main.main(["train", file, "--gin.MODEL_DIR=runs/a"]) == 2
  error = capsys.readouterr().err
  assert "PROMPTS, SYNC_EVERY_STEPS must be set" in error
  assert "--gin.JUDGE_CHECKPOINT_PATH=..." in error


def test_words_on_the_command_line_need_no_quotes():
  files = ["gin_configs/runs/offline.gin"]
  given = ["MODEL_DIR = runs", "INITIAL_CHECKPOINT_PATH = a/b", "PAIRS = 'c'"]
  more = ["DTYPE = bfloat16", "TASK_FEATURE_LENGTHS = None", "SEED = 7"]
  gin_files.parse(files, [*given, *more])
  run = gin_files.construct(description.Run, files, [*given, *more])
  assert (run.model_dir, run.initial, run.source.store) == ("runs", "a/b", "c")
  assert (run.dtype, run.feature_lengths, run.seed) == ("bfloat16", None, 7)


def _made(*bindings):
  files = ["gin_configs/runs/offline.gin"]
  given = _given(["MODEL_DIR", "INITIAL_CHECKPOINT_PATH", "PAIRS"])
  given = [b for b in given if not b.startswith(bindings[0].split()[0] + " ")]
  gin_files.parse(files, [*given, *bindings])
  return gin_files.construct(description.Run, files, [*given, *bindings])


@pytest.mark.parametrize(
  "name",
  ["run-01", "t5_v1.1", "my run", "模型", "2024-05-01", "2024", "None", "a=b"],
)
def test_a_path_may_be_any_text(name):
  assert _made(f"MODEL_DIR = {name}").model_dir == name


def test_a_path_may_begin_with_a_home(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert _made("MODEL_DIR = ~/run").model_dir == str(tmp_path / "run")


@pytest.mark.parametrize(
  ("text", "expected"), [("false", False), ("False", False), ("true", True)]
)
def test_a_switch_is_no_text(text, expected):
  run = _made(f"description.Run.tensorboard = {text}")
  assert run.tensorboard is expected


@pytest.mark.parametrize("seed", ["-1", "true", "1.5", "18446744073709551616"])
def test_a_seed_is_checked_before_anything_is_written(seed):
  with pytest.raises(errors.UserError, match="SEED"):
    _made(f"SEED = {seed}")


def test_a_binding_of_what_a_macro_refers_to_is_used():
  """Gin constructs it in the macro's scope."""
  files = ["gin_configs/runs/offline.gin"]
  given = _given(["MODEL_DIR", "INITIAL_CHECKPOINT_PATH", "PAIRS"])
  more = ["configured.LearningRate.warm_up_steps = 9"]
  gin_files.parse(files, [*given, *more])
  run = gin_files.construct(description.Run, files, [*given, *more])
  assert run.optimizer.learning_rate.warm_up_steps == 9


def test_an_import_of_a_moved_module_names_the_new_one(tmp_path):
  path = tmp_path / "old.gin"
  path.write_text("from rlhf_gap.losses import configured\n")
  with pytest.raises(errors.UserError, match="import rlhf_gap.losses instead"):
    gin_sources.lines_of([str(path)])
