"""`rlhf-gap data own`: what it sees, prints and refuses, without TensorFlow."""

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from rlhf_gap.cli import main
from rlhf_gap.data import mini
from rlhf_gap.data.own import columns, forms
from tests.data_own import made_up
from tests.data_own.made_up import pair

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def run(capsys):
  """Runs the command in this process: exit code, stdout, stderr."""

  def call(*words: str) -> tuple[int, str, str]:
    try:
      status = main.main(["data", "own", *words])
    except SystemExit as done:
      status = int(done.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err

  return call


def test_a_look_writes_nothing_and_says_what_it_sees(run, tmp_path):
  source = made_up.write(
    tmp_path / "train.jsonl",
    pair(1, note="x"),
    pair(2, chosen="a\u2028b\x1b[31m"),
    pair(3, rejected=None),
  )
  before = list(tmp_path.iterdir())
  status, out, err = run(f"--source={source}")
  assert (status, err) == (0, "")
  assert list(tmp_path.iterdir()) == before
  assert "form pairs: prompt, chosen and rejected; makes pairs" in out
  assert "not read: note" in out
  assert "train: 3 rows, 2 usable" in out
  assert "malformed, null_field: 1" in out
  assert "prompt: 'Name animal 1'" in out
  assert "chosen: 'a\\u2028b\\x1b[31m'" in out
  status, shown, _ = run(f"--source={source}", "--look", "--json")
  look = json.loads(shown)
  assert look["columns"] == {n: n for n in ("prompt", "chosen", "rejected")}
  assert look["counts"]["train"]["kept"] == 2
  assert [row["line"] for row in look["rows"]] == [1, 2]


def test_a_look_at_unpaired_completions(run, tmp_path):
  row = {"prompt": "p", "completion": "c", "label": True}
  source = made_up.write(tmp_path / "rows.jsonl", row)
  status, out, _ = run(f"--source={source}")
  assert status == 0
  assert "form unpaired" in out


def test_builds_and_prints_counts(run, tmp_path):
  source = made_up.write(tmp_path / "rows.jsonl", pair(1), pair(2, chosen=""))
  words = [f"--source={source}", "--vocabulary=bytes", "--json"]
  status, out, _ = run(*words, f"--output={tmp_path}/store", "--name=zoo")
  assert status == 0
  report = json.loads(out)
  assert report["task"] == "zoo_pairs"
  assert report["datasets"] == {
    "zoo": {
      "all": {
        "read": 2,
        "kept": 1,
        "prompts": 1,
        "dropped": {"empty_response": 1},
        "malformed": {},
        "notes": {},
      }
    }
  }
  assert made_up.skipped(tmp_path / "store") == [(2, "empty_response")]


@pytest.mark.parametrize(
  ("words", "told"),
  [
    ([], "--source=FILES is missing"),
    (["--source=none.jsonl"], "none.jsonl: no such file"),
    (["--source=gs://bucket/a.jsonl"], "gs://bucket/a.jsonl: is a URL"),
    (["--source=ROWS", "--output=o"], "--vocabulary=FILE is missing"),
    (["--source=ROWS", "--form=x"], "--form='x'; expected one of pairs, soft"),
    (["--source=ROWS", "--columns=x=y"], "no use is called 'x'"),
    (["--source=ROWS", "--kind=x"], "--kind: invalid choice: 'x'"),
    (["--sauce=x"], "unknown flag --sauce; did you mean --source?"),
    (["--source=ROWS", "--output=o", "--vocabulary=no.model"], "not exist"),
  ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, words, told):
  monkeypatch.chdir(tmp_path)
  made_up.write(tmp_path / "rows.jsonl", pair())
  words = [word.replace("ROWS", "rows.jsonl") for word in words]
  status, out, err = run(*words)
  assert (status, out) == (2, "")
  assert told in err
  assert len(err.splitlines()) == 1
  assert not (tmp_path / "o").exists()


def test_help_names_every_form(run):
  status, out, _ = run("--help")
  assert status == 0
  assert [name for name in forms.NAMES if name not in out] == []


def test_every_use_is_read_by_a_form():
  used = {role for f in forms.FORMS for role in (*f.required, *f.optional)}
  assert used == set(columns.ROLES)


_BLOCKED = """
import sys
class Blocked:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ("tensorflow", "seqio", "tensorflow_datasets",
                              "tensorflow_text", "clu"):
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from rlhf_gap.cli import main
"""


def blocked(program: str, cwd: pathlib.Path) -> str:
  """Runs a program that cannot import TensorFlow; returns what it prints."""
  done = subprocess.run(
    [sys.executable, "-c", _BLOCKED + textwrap.dedent(program)],
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout + done.stderr


def test_own_files_need_no_tensorflow(tmp_path):
  made_up.write(tmp_path / "rows.jsonl", *map(pair, range(4)))
  out = blocked(
    f"""
    def data(*words):
      assert main.main(["data", *words]) == 0
    words = ["--source=rows.jsonl", "--vocabulary={mini.VOCABULARY_PATH}"]
    data("own", *words)
    data("own", *words, "--output=store")
    data("show", "store")
    data("export", "store", "--format=parquet")
    data("--list")
    """,
    tmp_path,
  )
  assert re.search(r"rows written +4\n", out)
  assert (tmp_path / "store.parquet").exists()


def test_every_command_explains_itself_without_tensorflow(tmp_path):
  out = blocked(
    """
    for command in main.COMMANDS:
      try:
        main.main([command, "--help"])
      except SystemExit as done:
        assert done.code == 0, command
    """,
    tmp_path,
  )
  assert [name for name in main.COMMANDS if f"rlhf-gap {name}" not in out] == []


def test_published_data_say_what_to_install(tmp_path):
  out = blocked(
    """
    assert main.main(["data", "mini_arena_pairs", "--output=o"]) == 2
    """,
    tmp_path,
  )
  assert len(out.splitlines()) == 1
  assert 'pip install -e ".[data]"' in out


def test_only_modules_of_the_extra_import_tensorflow(tmp_path):
  """Every module is imported; those of seqio and TFDS are the known ones."""
  out = blocked(
    """
    import importlib, pkgutil, rlhf_gap
    for module in pkgutil.walk_packages(rlhf_gap.__path__, "rlhf_gap."):
      try:
        importlib.import_module(module.name)
      except ModuleNotFoundError:
        print("needs", module.name)
    """,
    tmp_path,
  )
  needs = {
    line.removeprefix("needs rlhf_gap.data.")
    for line in out.splitlines()
    if line.startswith("needs ") and line != "needs rlhf_gap.t5x"
  }
  assert needs == {
    "builders",
    "own.tasks",
    "pipeline",
    "preprocessors",
    "procedural",
    "sources",
    "tasks",
  }
