"""`rlhf-gap data`: flags, mistakes, output, and a kill half way."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from rlhf_gap.cli import main
from tests.data import made_up
from tests.data.test_pipeline import contents

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, capsys):
  """Runs the command in this process: exit code, stdout, stderr."""

  def call(*words: str) -> tuple[int, str, str]:
    try:
      status = main.main(["data", *words])
    except SystemExit as done:
      status = int(done.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err

  return call


def test_list(run):
  status, out, _ = run("--list")
  assert status == 0
  assert "anthropic_helpfulness_preference" in out
  assert "pooled_sft" in out


@pytest.mark.parametrize(
  ("words", "told"),
  [
    ([], "a task is missing; rlhf-gap data --list lists all"),
    (["mini_arena_pear"], "no task mini_arena_pear; did you mean mini_arena_"),
    (["chat_arena_pairs", "--output=o"], "--vocabulary=FILE is missing"),
    (["mini_arena_pairs"], "--output=DIR is missing"),
    (
      ["mini_arena_pairs", "--output=o", "--rows=0"],
      "expected a whole number, 1 or more",
    ),
    (["mini_arena_pairs", "--output=o", "--inputs_length=1"], ", 2 or more"),
    (["mini_arena_pairs", "--outputs=o"], "unknown flag --outputs; did you"),
    (
      ["chat_arena_pairs", "--output=o", "--vocabulary=none.model"],
      "none.model does not exist",
    ),
  ],
)
def test_mistakes_are_one_line(run, words, told):
  status, out, err = run(*words)
  assert status == 2
  assert out == ""
  assert told in err
  assert len(err.splitlines()) == 1


def test_help_of_a_task_names_its_flags(run):
  status, out, _ = run("mini_arena_pairs", "--help")
  assert status == 0
  for flag in ("--source", "--vocabulary", "--output", "--split", "--json"):
    assert flag in out


def test_published_files_to_json_and_a_table(run, tmp_path):
  made_up.write_all(tmp_path / "source")
  words = [
    "anthropic_helpfulness_pairs",
    f"--source={tmp_path / 'source'}",
    "--vocabulary=bytes",
    f"--output={tmp_path / 'store'}",
    f"--tfds_data_dir={tmp_path / 'tfds'}",
  ]
  status, out, err = run(*words, "--json")
  assert status == 0
  report = json.loads(out)
  assert report["rows_written"] == 4
  assert report["datasets"]["anthropic_helpfulness"]["train"]["read"] == 8
  assert err == ""
  status, out, _ = run(*words)
  assert status == 0
  assert out.startswith("anthropic_helpfulness_pairs, split train: ")
  status, _, err = run(*words, "--split=tset")
  assert status == 2
  assert "has no split tset here, only test, train" in err


def test_windows_too_small_for_a_comparison_are_a_user_error(run, tmp_path):
  status, _, err = run(
    "mini_arena_preference",
    f"--output={tmp_path / 'store'}",
    "--rows=50",
    "--inputs_length=32",
  )
  assert status == 2
  assert "cannot hold two responses" in err


def committed_rows(store: pathlib.Path) -> int:
  try:
    return json.loads((store / "manifest.json").read_text())["rows"]
  except (FileNotFoundError, json.JSONDecodeError):
    return 0


@pytest.mark.slow
def test_a_killed_command_run_again_gives_the_same_store(run, tmp_path):
  killed, whole = tmp_path / "killed", tmp_path / "whole"
  task = ["mini_helpfulness_pairs", "--rows=6000"]
  command = [sys.executable, "-m", "rlhf_gap.cli.main", "data", *task]
  process = subprocess.Popen(
    [*command, f"--output={killed}"],
    env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
  )
  deadline = time.monotonic() + 120
  while not committed_rows(killed):
    assert process.poll() is None, "it ended before it could be killed"
    assert time.monotonic() < deadline
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  # Native libraries have kept off the terminal, or this would hold their logs.
  assert process.communicate()[1] == b""
  left = committed_rows(killed)
  assert run(*task, f"--output={killed}")[0] == 0
  assert run(*task, f"--output={whole}")[0] == 0
  assert 0 < left < committed_rows(killed)
  assert contents(str(killed)) == contents(str(whole))
