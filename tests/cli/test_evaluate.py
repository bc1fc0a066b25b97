"""`rlhf-gap evaluate`: one checkpoint, a run, a run that trains; mistakes."""

import dataclasses
import json
import os
import re
import threading

import pytest

from rlhf_gap import records, stores
from rlhf_gap.cli import main
from tests.evaluation import tiny

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


@pytest.fixture
def flags(folder, tmp_path):
  """By name, so that a test can replace or drop one."""
  return {
    "golden": folder / "golden",
    "proxy": folder / "proxy",
    "reference": folder / "sft",
    "golden_policy": folder / "golden_policy",
    "prompts": folder / "prompts",
    "pairs": folder / "pairs",
    "output": tmp_path / "out",
  }


def _run(paths, flags, *more):
  given = [f"--{name}={value}" for name, value in flags.items()]
  words = [str(path) for path in paths]
  return main.main(["evaluate", *words, *given, *SIZES, *more])


def _records(flags):
  return records.read(flags["output"] / "records.jsonl")


def test_one_checkpoint_one_line_one_record(capsys, folder, flags):
  assert _run([folder / "run" / "checkpoint_20"], flags) == 0
  line = capsys.readouterr().out
  number = r"-?\d\.\d+ \[-?\d\.\d+, -?\d\.\d+\]"
  assert re.fullmatch(
    rf"run step 20: win rate {number}, KL {number} nats, vs reference {number},"
    rf" proxy {number}, utility {number} \(\d+\.\d s\)\n",
    line,
  )
  (record,) = _records(flags)
  assert record.run == records.Run(
    "run",
    "online",
    "ipo",
    {"source": "Online", "objective.loss": "Ipo", "seed": "3"},
    3,
  )
  rate = record.metrics["win_rate"]
  shown = f"{rate.value:.3f} [{rate.ci95_low:.3f}, {rate.ci95_high:.3f}]"
  assert f"win rate {shown}," in line
  settings = record.evaluation.settings
  assert settings["max_length"] == tiny.LENGTHS["response"]
  assert settings["judge_length"] == tiny.LENGTHS["prompt"]
  assert (settings["kl_prompts"], settings["own_pairs"]) == (12, 12)
  assert settings["has_utility"]


def test_a_run_is_evaluated_once(capsys, folder, flags):
  assert _run([folder / "run"], flags, "--all") == 0
  assert len(capsys.readouterr().out.splitlines()) == 2
  path = flags["output"] / "records.jsonl"
  before = path.read_bytes(), path.stat().st_mtime_ns
  assert _run([folder / "run"], flags, "--all") == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line.endswith("(recorded before)") for line in lines] == [True, True]
  assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_identical_records_whatever_the_order(capsys, folder, flags, tmp_path):
  other = {**flags, "output": tmp_path / "other"}
  run = folder / "run"
  assert _run([run], flags, "--all") == 0
  backwards = [run / "checkpoint_20", run / "checkpoint_0"]
  assert _run(backwards, other, "--json") == 0
  printed = capsys.readouterr().out.splitlines()[2:]
  assert [records.loads(x, "out").checkpoint.step for x in printed] == [20, 0]
  mine, others = _records(flags), _records(other)
  assert [r.checkpoint.step for r in mine] == [0, 20]
  assert [r.identity() for r in mine] == [r.identity() for r in others]


def test_an_interrupted_evaluation_goes_on(folder, flags, monkeypatch):
  put = records.put

  def interrupted(path, record):
    put(path, record)
    raise KeyboardInterrupt

  monkeypatch.setattr(records, "put", interrupted)
  assert _run([folder / "run"], flags, "--all") == 130
  assert [r.checkpoint.step for r in _records(flags)] == [0]
  monkeypatch.setattr(records, "put", put)
  assert _run([folder / "run"], flags, "--all") == 0
  assert [r.checkpoint.step for r in _records(flags)] == [0, 20]


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
  assert runs == [records.Run("training", arm="online")] * 2


def test_one_broken_checkpoint_does_not_spoil_a_run(
  capsys, folder, flags, tmp_path
):
  run = tmp_path / "run"
  tiny.save(run / "checkpoint_0", tiny.params(2), 0)
  (run / "checkpoint_10").mkdir()
  tiny.save(run / "checkpoint_20", tiny.params(4), 20)
  assert _run([run], flags, "--all") == 2
  captured = capsys.readouterr()
  assert len(captured.out.splitlines()) == 2
  error = captured.err.strip().splitlines()[-1]
  assert "1 not evaluated" in error
  assert "checkpoint_10: no checkpoint is there" in error
  assert [r.checkpoint.step for r in _records(flags)] == [0, 20]


def test_samples_that_runs_share(folder, flags, tmp_path):
  """The opponents are sampled once for both outputs, and can be given."""
  shared = tmp_path / "samples"
  more = f"--samples={shared}"
  assert _run([folder / "run" / "checkpoint_0"], flags, more) == 0
  first = {name for name in os.listdir(shared) if "policy_0" not in name}
  other = {**flags, "output": tmp_path / "other"}
  assert _run([folder / "run" / "checkpoint_20"], other, more) == 0
  assert len([n for n in os.listdir(shared) if n.startswith("golden")]) == 1
  assert first <= set(os.listdir(shared))
  (golden,) = (n for n in os.listdir(shared) if n.startswith("golden"))
  del other["golden_policy"]
  other["golden_samples"] = shared / golden
  assert _run([folder / "run" / "checkpoint_20"], other) == 0
  assert len(_records(other)) == 1  # the same evaluation, so the same record


def test_a_corpus_without_utility(capsys, folder, flags):
  path = folder / "run" / "checkpoint_0"
  assert _run([path], flags, "--utility=none") == 0
  assert "utility" not in capsys.readouterr().out
  assert "utility" not in _records(flags)[0].metrics


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
    (lambda f, t: {}, ["--num_pairs=28"], "27 pairs that are no ties"),
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
  assert "records.jsonl:1: no record, or one cut short" in (
    capsys.readouterr().err
  )
  assert os.listdir(flags["output"]) == ["records.jsonl"]
