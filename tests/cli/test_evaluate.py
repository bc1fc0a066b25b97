"""`rlhf-gap evaluate`: a checkpoint, a run, a run in training; mistakes."""

import contextlib
import dataclasses
import io
import json
import os
import re
import threading

import pytest

from rlhf_gap import records, stores
from rlhf_gap.cli import main
from tests.evaluation import tiny

pytestmark = pytest.mark.slow

SIZES = ("--num_prompts=12", "--num_pairs=6", "--batch_size=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Stores, judges, reference, golden policy, and a run of two checkpoints."""
  base = tmp_path_factory.mktemp("study")
  tiny.prompts(base / "prompts")
  tiny.pairs(base / "pairs")
  for number, name in enumerate(("golden", "proxy", "sft", "golden_policy")):
    tiny.save(base / name, tiny.params(number))
  for step, fraction in ((0, 0.0), (20, 0.4)):
    params = tiny.moved(tiny.params(2), tiny.params(4), fraction)
    tiny.save(base / "run" / f"checkpoint_{step}", params, step)
  description = {"source": "Online", "objective.loss": "Ipo", "seed": "3"}
  (base / "run" / "run.json").write_text(json.dumps(description))
  return base


def _given(folder, output):
  """Flags by name, so that a test can replace or remove one."""
  return {
    "golden": folder / "golden",
    "proxy": folder / "proxy",
    "reference": folder / "sft",
    "golden_policy": folder / "golden_policy",
    "prompts": folder / "prompts",
    "pairs": folder / "pairs",
    "output": output,
  }


@pytest.fixture
def flags(folder, tmp_path):
  return _given(folder, tmp_path / "out")


def _run(paths, flags, *more):
  given = [f"--{name}={value}" for name, value in flags.items()]
  words = [str(path) for path in paths]
  return main.main(["evaluate", *words, *given, *SIZES, *more])


def _records(flags):
  return records.read(flags["output"] / "records.jsonl")


@pytest.fixture(scope="module")
def evaluated(folder, tmp_path_factory):
  """Evaluates the run; returns the flags and the printed lines."""
  flags = _given(folder, tmp_path_factory.mktemp("evaluated") / "out")
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    assert _run([folder / "run"], flags, "--all") == 0
  return flags, printed.getvalue().splitlines()


def test_a_line_and_a_record_for_each_checkpoint(evaluated):
  flags, lines = evaluated
  number = r"-?\d\.\d+ \[-?\d\.\d+, -?\d\.\d+\]"
  for step, line, record in zip((0, 20), lines, _records(flags), strict=True):
    assert re.fullmatch(
      rf"run step {step}: win rate {number}, KL {number} nats, vs reference"
      rf" {number}, proxy {number}, utility {number} \(\d+\.\d s\)",
      line,
    )
    rate = record.metrics["win_rate"]
    shown = f"{rate.value:.3f} [{rate.ci95_low:.3f}, {rate.ci95_high:.3f}]"
    assert f"win rate {shown}," in line


def test_records_say_how_it_was_measured(evaluated):
  record = _records(evaluated[0])[1]
  assert record.checkpoint.step == 20
  assert record.run == records.TrainingRun(
    "run",
    "online",
    "ipo",
    {"source": "Online", "objective.loss": "Ipo", "seed": "3"},
    3,
  )
  settings = record.evaluation.settings
  assert settings["max_length"] == tiny.LENGTHS["response"]
  assert settings["judge_length"] == tiny.LENGTHS["prompt"]
  assert (settings["kl_prompts"], settings["own_pairs"]) == (12, 12)
  assert settings["has_utility"]


def test_nothing_is_measured_twice(capsys, folder, evaluated):
  flags, _ = evaluated
  path = flags["output"] / "records.jsonl"
  before = path.read_bytes(), path.stat().st_mtime_ns
  assert _run([folder / "run"], flags, "--all") == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line.endswith("(recorded before)") for line in lines] == [True, True]
  assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_identical_records_through_interruption_in_another_order(
  capsys, folder, flags, evaluated, monkeypatch
):
  put = records.put

  def interrupted(path, record):
    put(path, record)
    raise KeyboardInterrupt

  run = folder / "run"
  backwards = [run / "checkpoint_20", run / "checkpoint_0"]
  monkeypatch.setattr(records, "put", interrupted)
  assert _run(backwards, flags) == 130
  assert [r.checkpoint.step for r in _records(flags)] == [20]
  monkeypatch.setattr(records, "put", put)
  assert _run(backwards, flags, "--json") == 0
  printed = capsys.readouterr().out.splitlines()
  steps = [records.loads(line, "out").checkpoint.step for line in printed]
  assert steps == [20, 0]
  mine, others = _records(flags), _records(evaluated[0])
  assert [r.identity() for r in mine] == [r.identity() for r in others]


def test_checkpoints_of_one_run_may_be_given_its_name(folder, flags):
  steps = [folder / "run" / f"checkpoint_{step}" for step in (0, 20)]
  assert _run(steps, flags, "--run_name=a/b") == 0
  assert {record.run.name for record in _records(flags)} == {"a/b"}


def test_two_runs_cannot_have_one_name(capsys, folder, flags):
  paths = [folder / "run" / "checkpoint_0", folder / "golden"]
  assert _run(paths, flags, "--run_name=a") == 2
  assert "--run_name" in capsys.readouterr().err


def test_a_run_is_followed_to_its_end(capsys, folder, flags, tmp_path):
  run = tmp_path / "training"
  params = tiny.moved(tiny.params(2), tiny.params(4), 0.1)
  tiny.save(run / "checkpoint_10", params, 10)

  def finish():
    tiny.save(run / "checkpoint_30", params, 30)
    (run / "complete").write_text("30\n")

  timer = threading.Timer(0.5, finish)
  timer.start()
  more = ["--follow", "--poll_seconds=0.05", "--arm=online"]
  assert _run([run], flags, *more) == 0
  timer.join()
  steps = re.findall(r"^training step (\d+):", capsys.readouterr().out, re.M)
  assert steps == ["10", "30"]
  runs = [record.run for record in _records(flags)]
  assert runs == [records.TrainingRun("training", arm="online")] * 2


def test_one_broken_checkpoint_does_not_spoil_a_run(
  capsys, folder, flags, tmp_path
):
  run = tmp_path / "run"
  tiny.save(run / "checkpoint_0", tiny.params(2), 0)
  (run / "checkpoint_10").mkdir()
  tiny.save(run / "checkpoint_20", tiny.params(4), 20)
  assert _run([run], flags, "--all", "--utility=none") == 2
  captured = capsys.readouterr()
  assert len(captured.out.splitlines()) == 2
  assert "utility" not in captured.out
  error = captured.err.strip().splitlines()[-1]
  assert "1 not evaluated" in error
  assert "checkpoint_10: not a checkpoint" in error
  assert [r.checkpoint.step for r in _records(flags)] == [0, 20]


def test_samples_are_shared_and_given(folder, flags, evaluated):
  """Nothing is sampled again for another output or for given samples."""
  samples = evaluated[0]["output"] / "samples"
  before = sorted(os.listdir(samples))
  (golden,) = (name for name in before if name.startswith("golden_policy"))
  del flags["golden_policy"]
  flags["golden_samples"] = samples / golden
  path = folder / "run" / "checkpoint_20"
  assert _run([path], flags, f"--samples={samples}") == 0
  assert sorted(os.listdir(samples)) == before
  assert os.listdir(flags["output"]) == ["records.jsonl"]
  (record,) = _records(flags)
  assert record.identity() == _records(evaluated[0])[1].identity()


def _other_vocabulary(folder, tmp_path):
  return {"pairs": tiny.pairs(tmp_path / "bytes", vocabulary=stores.byte())}


def _another_architecture(folder, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, emb_dim=16)
  params = tiny.params(0, config)
  return {"reference": tiny.save(tmp_path / "wide", params, config=config)}


@pytest.mark.parametrize(
  ("changes", "more", "expected"),
  [
    (lambda f, t: {"golden": f / "nowhere"}, [], "nowhere: no such directory"),
    (lambda f, t: {"golden_policy": t / "x"}, [], "x: no such directory"),
    (lambda f, t: {"proxy": f / "run"}, [], "holds 2 checkpoints"),
    (_another_architecture, [], "emb_dim is 8, but 16 in the reference"),
    (_other_vocabulary, [], "but .* was given; use the store's vocabulary"),
    (lambda f, t: {"prompts": f / "run"}, [], "holds no store"),
    (lambda f, t: {"pairs": f / "prompts"}, [], "expected labelled pairs"),
    (lambda f, t: {}, ["--num_prompts=50"], "40 prompts.*2 to 40"),
    (lambda f, t: {}, ["--num_pairs=28"], "27 pairs that are not ties"),
    (lambda f, t: {}, ["--judge_length=18"], "--judge_length=18 cannot hold"),
    (lambda f, t: {}, ["--kl_prompts=13"], "--kl_prompts=13; expected 2 to 12"),
    (lambda f, t: {}, ["--golden_samples=x"], "either --golden_policy"),
    (lambda f, t: {}, ["--utility=mini_arenas"], "did you mean 'mini_arena'"),
    (lambda f, t: {}, ["--all"], "checkpoint_0: holds no folder checkpoint_"),
  ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
  capsys, folder, flags, tmp_path, changes, more, expected
):
  changed = {**flags, **changes(folder, tmp_path)}
  before = sorted(os.listdir(tmp_path))
  path = folder / "run" / "checkpoint_0"
  assert _run([path], changed, *more) == 2
  error = capsys.readouterr().err.strip()
  assert re.search(expected, error)
  assert len(error.splitlines()) == 1
  assert sorted(os.listdir(tmp_path)) == before


def test_a_checkpoint_that_is_missing(capsys, folder, flags, tmp_path):
  assert _run([folder / "run" / "checkpoint_7"], flags) == 2
  assert "checkpoint_7: no such directory" in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


def test_records_that_are_damaged_are_not_replaced(capsys, folder, flags):
  flags["output"].mkdir()
  path = flags["output"] / "records.jsonl"
  path.write_text('{"schema_version": 1, "run"')
  assert _run([folder / "run" / "checkpoint_0"], flags) == 2
  assert "records.jsonl:1: not a record, or one cut short" in (
    capsys.readouterr().err
  )
  assert os.listdir(flags["output"]) == ["records.jsonl"]
