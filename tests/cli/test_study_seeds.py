"""`rlhf-gap study --seeds` and `--decide`."""

import argparse
import dataclasses

import pytest

from rlhf_gap import errors, records
from rlhf_gap.analysis import summary
from rlhf_gap.cli import gin_files, main, study_seeds
from rlhf_gap.study import experiment, pipeline, scheduler, stages
from tests.analysis import made_up

pytestmark = pytest.mark.slow

LAPTOP = "gin_configs/studies/laptop.gin"


@pytest.fixture(scope="module")
def laptop():
  gin_files.parse([LAPTOP], ())
  return gin_files.construct(experiment.Study, [LAPTOP], ())


def _flags(**given):
  flags = {"max_seeds": None, "budget_minutes": None, "workers": 2, **given}
  return argparse.Namespace(**flags)


@pytest.mark.parametrize(
  ("own", "count", "expected"),
  [
    ((0, 1, 2), None, (0, 1, 2)),
    ((0, 1, 2), 5, (0, 1, 2, 3, 4)),
    ((7, 1), 4, (7, 1, 0, 2)),
    ((0, 1, 2), 2, (0, 1)),
  ],
)
def test_seeds_are_added_to_the_study_s_own(laptop, own, count, expected):
  study = dataclasses.replace(laptop, seeds=own)
  assert study_seeds.with_seeds(study, count).seeds == expected


def test_more_seeds_repeat_no_stage(laptop):
  before = stages.recipes(pipeline.stages(laptop))
  more = stages.recipes(pipeline.stages(study_seeds.with_seeds(laptop, 5)))
  assert {name: more[name] for name in before} == before
  assert len(more) > len(before)


def test_fewer_seeds_than_were_run_are_refused(laptop, tmp_path):
  planned = pipeline.stages(laptop)
  ledger = stages.Ledger(str(tmp_path))
  for name, recipe in stages.recipes(planned).items():
    ledger.write(name, stages.Done(recipe, 1.0))
  study_seeds.check_kept(planned, str(tmp_path), None)
  two = pipeline.stages(study_seeds.with_seeds(laptop, 2))
  with pytest.raises(errors.UserError, match="more seeds than --seeds=2"):
    study_seeds.check_kept(two, str(tmp_path), 2)
  command = ["study", f"--gin_file={LAPTOP}", f"--workdir={tmp_path}"]
  assert main.main([*command, "--seeds=2", "--workers=1"]) == 2


class _Runs:
  """Writes made-up records instead of training."""

  def __init__(self, folder, **world):
    self.folder, self.world, self.seeds, self.confidences = (
      folder,
      world,
      [],
      [],
    )

  def __call__(self, study, *, confidence):
    count = len(study.seeds)
    world = made_up.World(num_seeds=count, **self.world)
    two = {name: made_up.ARMS[name] for name in ("online", "offline")}
    made = world.records(two)
    name = "mini_helpfulness"
    (self.folder / name).mkdir(exist_ok=True)
    records.write(self.folder / name / "records.jsonl", made)
    described = dataclasses.replace(
      made_up.study((name,)), num_seeds=count, confidence=confidence
    )
    summary.write(self.folder, described)
    self.seeds.append(count)
    self.confidences.append(confidence)
    return 0


SMALL = {"num_prompts": 60, "kl_prompts": 20, "num_checkpoints": 4}


@pytest.fixture(scope="module")
def decided(laptop, tmp_path_factory):
  folder = tmp_path_factory.mktemp("decided")
  runs = _Runs(folder, **SMALL)
  flags = _flags(max_seeds=6)
  assert study_seeds.decide(laptop, str(folder), flags, runs) == 0
  return folder, runs


def test_looks_double_until_the_last(decided):
  folder, runs = decided
  assert runs.seeds == [3, 6]
  assert all(c > 0.95 for c in runs.confidences)
  made = summary.read(folder).decisions
  assert made
  assert {d.num_seeds for d in made} <= {3, 6}
  page = (folder / "report" / "index.html").read_text(encoding="utf-8")
  assert "intervals are wider" in page
  assert any(d.num_seeds == 3 for d in made)
  assert "decided at 3 seeds" in page


def test_a_killed_decision_repeats_its_looks(decided, laptop, tmp_path):
  """Looks are deterministic, so a rerun arrives at the same decisions."""
  folder, _ = decided
  before = summary.read(folder).decisions
  again = _Runs(folder, **SMALL)
  flags = _flags(max_seeds=6)
  assert study_seeds.decide(laptop, str(folder), flags, again) == 0
  assert summary.read(folder).decisions == before


def test_the_plan_cannot_change_after_a_look(decided, laptop):
  folder, _ = decided
  with pytest.raises(
    errors.UserError, match="planned at 3, 6 seeds, not 3, 6,"
  ):
    study_seeds.decide(laptop, str(folder), _flags(max_seeds=12), _Runs(folder))
  with pytest.raises(errors.UserError, match="--decide again"):
    study_seeds.refuse_if_decided(str(folder))
  other = made_up.workdir(folder / "reported", **SMALL)
  with pytest.raises(errors.UserError, match="reported on without --decide"):
    study_seeds.decide(laptop, str(other), _flags(), _Runs(other))


def test_a_budget_ends_before_a_look_that_takes_longer(
  laptop, tmp_path, capsys
):
  planned = pipeline.stages(laptop)
  ledger = stages.Ledger(str(tmp_path))
  for name, recipe in stages.recipes(planned).items():
    ledger.write(name, stages.Done(recipe, 60.0))
  runs = _Runs(tmp_path, **SMALL)
  flags = _flags(max_seeds=6, budget_minutes=5.0)
  assert study_seeds.decide(laptop, str(tmp_path), flags, runs) == 0
  assert runs.seeds == [3]
  more = pipeline.stages(study_seeds.with_seeds(laptop, 6))
  minutes = (len(more) - len(planned)) / 2  # a minute each, two workers
  out = capsys.readouterr().out
  assert f"look 2 of 2, 6 seeds: would take about {minutes:.0f} minutes" in out
  assert "of 5 are left" in out


def test_a_failed_stage_ends_it(laptop, tmp_path):
  def fails(study, *, confidence):
    return 2

  assert study_seeds.decide(laptop, str(tmp_path), _flags(), fails) == 2


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--max_seeds=6"], "--max_seeds only applies with --decide"),
    (["--budget_minutes=5"], "--budget_minutes only applies"),
    (["--decide", "--budget_minutes=0"], "--budget_minutes=0; expected"),
    (["--decide", "--stage=mini_helpfulness/sft"], "without --decide"),
    (["--decide", "--dry_run"], "without --dry_run"),
    (["--seeds=0"], "--seeds=0; expected a whole number"),
    (["--gin.experiment.Study.seeds=(1, 1)"], "expected no duplicates"),
  ],
)
def test_mistakes_at_the_command_line(words, message, capsys, tmp_path):
  where = f"--workdir={tmp_path / 'w'}"
  command = ["study", f"--gin_file={LAPTOP}", where]
  assert main.main([*command, *words]) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "w").exists()


def test_two_decisions_in_one_folder(capsys, tmp_path):
  command = ["study", f"--gin_file={LAPTOP}", f"--workdir={tmp_path}"]
  with scheduler.locked(str(tmp_path)):
    assert main.main([*command, "--decide"]) == 2
  assert "being run by another process" in capsys.readouterr().err
