"""`rlhf-gap train`: runs, resumes, and reports mistakes in one line."""

import dataclasses
import fcntl
import os
import re
import resource
import signal
import subprocess
import sys

import jax
import pytest

from rlhf_gap import checkpoints, errors, stores
from rlhf_gap.cli import main
from rlhf_gap.training import description, metric_log
from tests.evaluation import tiny
from tests.training import ingredients

pytestmark = pytest.mark.slow

STEPS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Stores, a policy, and an offline run of it."""
  base = tmp_path_factory.mktemp("train")
  ingredients.write(base / "pairs", "pairs")
  ingredients.write(base / "prompts", "prompts")
  tiny.save(base / "policy", tiny.params(1))
  assert main.main(_words(base)) == 0
  return base


def _words(folder, *more, name="offline", **changes):
  given = {
    "MODEL_DIR": folder / "run",
    "INITIAL_CHECKPOINT_PATH": folder / "policy",
    "TRAIN_STEPS": STEPS,
    "BATCH_SIZE": 4,
    "description.Run.tensorboard": False,
  }
  given |= {
    "offline": {"PAIRS": folder / "pairs"},
    "replay": {"PAIRS": folder / "pairs"},
    "online": {
      "PROMPTS": folder / "prompts",
      "JUDGE_CHECKPOINT_PATH": folder / "policy",
      "MAX_LENGTH": 8,
    },
  }[name] | changes
  flags = [f"--gin.{key}={value}" for key, value in given.items()]
  return ["train", f"--gin_file=gin_configs/runs/{name}.gin", *flags, *more]


def _check_mistake(capsys, words, expected):
  """Checks for exit code 2 and one line that matches `expected`."""
  capsys.readouterr()
  assert main.main(list(map(str, words))) == 2
  error = capsys.readouterr().err
  assert len(error.strip().splitlines()) == 1
  assert re.search(expected, error), error


def test_a_run_says_what_it_does_and_where_it_ended(capsys, folder, tmp_path):
  path = tmp_path / "run"
  assert main.main(_words(folder, MODEL_DIR=path)) == 0
  printed = capsys.readouterr().out.splitlines()
  assert printed[0].startswith(f"{path}: IPO (gpo): (beta rho - 1/2)^2")
  assert "target rho = 5 nats a token" in printed[0]
  assert printed[-1] == f"{path}/checkpoint_{STEPS}: done after {STEPS} steps"
  assert checkpoints.load(path / f"checkpoint_{STEPS}").step == STEPS
  assert len(metric_log.read(str(path))) == STEPS
  config = (path / "config.gin").read_text()
  assert f"TRAIN_STEPS = {STEPS}" in config
  assert "losses.Ipo.beta = %BETA" in config


def _another_vocabulary(folder, tmp_path):
  about = {"vocabulary": stores.byte()}
  path = tmp_path / "bytes"
  tiny.pairs(path, vocabulary=about["vocabulary"])
  return {"INITIAL_CHECKPOINT_PATH": folder / "run" / "checkpoint_2"} | {
    "PAIRS": path
  }


def _ids_beyond(folder, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, vocab_size=64)
  path = tmp_path / "narrow"
  tiny.save(path, tiny.params(0, config), config=config)
  return {"INITIAL_CHECKPOINT_PATH": path}


def _another_architecture(folder, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, emb_dim=16)
  path = tmp_path / "wide"
  tiny.save(path, tiny.params(0, config), config=config)
  return {"description.Run.reference": path}


def _another_reference(folder, tmp_path):
  scored = stores.CheckpointIdentity("runs/other", "00ff" * 16, 0)
  path = tmp_path / "scored"
  ingredients.write(path, "pairs", about={"reference": scored})
  return {"PAIRS": path}


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    (lambda f, t: {"PAIRS": t / "no"}, "no holds no store .*rlhf-gap data"),
    (lambda f, t: {"PAIRS": f / "prompts"}, "holds prompts; expected pairs"),
    (_another_vocabulary, "trained with another vocabulary than the store"),
    (_ids_beyond, "embedding has 64 rows, but .*pairs has token"),
    (
      lambda f, t: {"TASK_FEATURE_LENGTHS": "{'inputs': 40}"},
      "prompts of 48 tokens, but TASK_FEATURE_LENGTHS allows 40",
    ),
    (_another_architecture, "reference has a different architecture"),
    (_another_reference, "scored with the reference runs/other.*rescore=True"),
    (
      lambda f, t: {"INITIAL_CHECKPOINT_PATH": t / "checkpoint_9"},
      "checkpoint_9: no such directory",
    ),
    (
      lambda f, t: {"description.Run.num_microbatches": 3},
      "num_microbatches=3 does not divide batch_size=4",
    ),
    (
      lambda f, t: {"DTYPE": "float16"},
      "dtype='float16'; expected one of float32, bfloat16$",
    ),
    (
      lambda f, t: {"description.Run.remat_policy": "foo"},
      "remat_policy='foo'; expected one of none, minimal, full$",
    ),
    (
      lambda f, t: {"DROPOUT_RATE": 1.0},
      "dropout_rate=1.0; expected a number from 0 to below 1$",
    ),
    (
      lambda f, t: {"TASK_FEATURE_LENGTHS": "{'input': 48}"},
      "LENGTHS={'input': 48}; expected lengths in tokens, such as .*inputs",
    ),
    (
      lambda f, t: {"MODEL_DIR": "gs://bucket/run"},
      "MODEL_DIR=gs://bucket/run: a run writes to a file system",
    ),
  ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
  capsys, folder, tmp_path, changes, expected
):
  changed = {"MODEL_DIR": tmp_path / "run", **changes(folder, tmp_path)}
  _check_mistake(capsys, _words(folder, **changed), expected)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lengths", [512, {"inputs": 0}, {"targets": "128"}])
def test_windows_that_are_none(lengths):
  # What the type checks of these tests would find first.
  with pytest.raises(errors.UserError) as raised:
    description._check_windows(lengths)
  message = str(raised.value)
  if isinstance(lengths, dict):
    ((name, length),) = lengths.items()
    assert message == (
      f"TASK_FEATURE_LENGTHS[{name!r}]={length!r}; expected a whole number, 1"
      " or more"
    )
  else:
    assert message == (
      f"TASK_FEATURE_LENGTHS={lengths!r}; expected lengths in tokens, such as"
      ' {"inputs": 1024, "targets": 128}'
    )


def test_samples_of_no_token(capsys, folder, tmp_path):
  changed = {"MODEL_DIR": tmp_path / "run", "MAX_LENGTH": 0}
  words = _words(folder, name="online", **changed)
  _check_mistake(capsys, words, "max_length=0; expected a whole number, 1 or")
  assert not (tmp_path / "run").exists()


def test_a_process_of_many_that_lacks_its_number(capsys, folder):
  words = _words(folder, "--coordinator=localhost:1", "--num_processes=2")
  _check_mistake(capsys, words, "--process_id is missing")


def test_a_judge_that_is_no_checkpoint(capsys, folder, tmp_path):
  changed = {"MODEL_DIR": tmp_path / "run", "JUDGE_CHECKPOINT_PATH": tmp_path}
  words = _words(folder, name="online", **changed)
  _check_mistake(capsys, words, "not a checkpoint")
  assert not (tmp_path / "run").exists()


def test_a_replay_of_more_steps_than_were_recorded(capsys, folder, tmp_path):
  changed = {"MODEL_DIR": tmp_path / "run", "BATCH_SIZE": 8, "TRAIN_STEPS": 9}
  words = _words(folder, name="replay", **changed)
  _check_mistake(capsys, words, "holds 3 batches of 8.*set TRAIN_STEPS=3")
  assert not (tmp_path / "run").exists()


def test_another_run_in_the_same_folder(capsys, folder):
  before = sorted(os.listdir(folder / "run"))
  words = _words(folder, BETA=0.5, SEED=3)
  expected = "another run .*beta was 0.1, is 0.5; seed was 0, is 3"
  _check_mistake(capsys, words, expected)
  assert sorted(os.listdir(folder / "run")) == before


def test_a_second_process_in_the_same_folder(capsys, folder):
  with open(folder / "run" / "lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    expected = "another process is training there"
    _check_mistake(capsys, _words(folder), expected)


def _limit_files():
  # A write beyond it fails as on a full disk, where the signal is ignored.
  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.mark.slow
def test_a_full_disk_costs_no_checkpoint(folder, tmp_path):
  """It fills up after the second step; with space again the run resumes."""
  path = tmp_path / "run"
  words = _words(folder, MODEL_DIR=path)
  assert main.main(words) == 0
  more = _words(folder, MODEL_DIR=path, TRAIN_STEPS=4)
  command = [sys.executable, "-m", "rlhf_gap.cli.main", *more]
  # Compiled before, in this process, so that only the disk differs.
  cache = jax.config.jax_compilation_cache_dir
  failed = subprocess.run(
    command,
    preexec_fn=_limit_files,  # noqa: PLW1509
    capture_output=True,
    text=True,
    check=False,
    env={
      **os.environ,
      "JAX_COMPILATION_CACHE_DIR": cache,
      # The limit would truncate new entries.
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9",
    },
  )
  assert "Traceback" not in failed.stderr
  error = failed.stderr.strip().splitlines()[-1]
  assert failed.returncode == 2, failed.stderr[-2000:]
  assert re.search(
    r"no space is left to save .*checkpoint_2 is complete", error
  )
  assert checkpoints.load(path / "checkpoint_2").step == 2
  assert main.main(more) == 0
  assert checkpoints.load(path / "checkpoint_4").step == 4


def test_a_missing_tracker_is_one_line_that_names_its_extra(
  capsys, folder, tmp_path, monkeypatch
):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  tracking = "--gin_file=gin_configs/runs/parts/tracking.gin"
  words = _words(folder, tracking, MODEL_DIR=tmp_path / "a", TRACKING="trackio")
  _check_mistake(
    capsys, words, r"TRACKING=trackio: .*pip install .*\[trackio\]"
  )
  assert not (tmp_path / "a").exists()


def test_one_step_is_one_step(capsys, folder, tmp_path):
  assert main.main(_words(folder, MODEL_DIR=tmp_path, TRAIN_STEPS=1)) == 0
  assert capsys.readouterr().out.endswith("checkpoint_1: done after 1 step\n")
