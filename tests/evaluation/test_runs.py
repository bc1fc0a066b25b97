"""The checkpoints of a run, found while it trains."""

import json

import pytest

from rlhf_gap import errors, records
from rlhf_gap.evaluation import runs


def _steps(paths):
  return [int(path.rsplit("_", 1)[1]) for path in paths]


def test_checkpoints_are_in_order_and_whole(tmp_path):
  for step in (1000, 200, 0):
    (tmp_path / f"checkpoint_{step}").mkdir()
  for other in ("checkpoint_300.tmp-7", "pairs", "checkpoint_", "checkpoint_x"):
    (tmp_path / other).mkdir()
  assert _steps(runs.checkpoints_of(str(tmp_path))) == [0, 200, 1000]
  assert _steps(runs.all_of(str(tmp_path))) == [0, 200, 1000]


def test_a_folder_without_checkpoints(tmp_path):
  assert runs.checkpoints_of(str(tmp_path)) == []
  with pytest.raises(errors.UserError, match="holds no folder checkpoint_"):
    list(runs.all_of(str(tmp_path)))
  with pytest.raises(errors.UserError, match="no such folder"):
    runs.checkpoints_of(str(tmp_path / "absent"))


def test_following_ends_when_the_run_is_complete(tmp_path):
  (tmp_path / "checkpoint_0").mkdir()
  waits = []

  def wait(seconds):
    waits.append(seconds)
    if len(waits) == 2:
      (tmp_path / "checkpoint_200").mkdir()
      (tmp_path / "checkpoint_100").mkdir()
    if len(waits) == 3:
      (tmp_path / "complete").write_text("300")

  found = []
  for path in runs.follow(str(tmp_path), poll_seconds=7.0, wait=wait):
    found.append(path)
    if path.endswith("_200"):
      # Saved while the one before it was being evaluated.
      (tmp_path / "checkpoint_300").mkdir()
  assert _steps(found) == [0, 100, 200, 300]
  assert waits == [7.0] * 3


def test_the_last_checkpoint_is_not_missed(tmp_path):
  """Saved, and the run completed, after the folder was looked at."""
  (tmp_path / "checkpoint_0").mkdir()
  following = runs.follow(str(tmp_path), poll_seconds=1.0, wait=pytest.fail)
  found = [next(following)]
  (tmp_path / "checkpoint_50").mkdir()
  (tmp_path / "complete").write_text("50")
  assert _steps([*found, *following]) == [0, 50]


def test_a_run_says_what_it_is(tmp_path):
  folder = tmp_path / "online_1"
  (folder / "checkpoint_5").mkdir(parents=True)
  assert runs.run_of(str(folder / "checkpoint_5")) == records.TrainingRun(
    "online_1"
  )
  fields = {
    "initial": "/data/sft/checkpoint_9",
    "initial.sha256": "ab",
    "objective": "Contrastive",
    "objective.loss": "Ipo",
    "objective.loss.beta": "0.1",
    "seed": "3",
    "source": "Online",
  }
  (folder / "run.json").write_text(json.dumps(fields))
  described = runs.run_of(str(folder / "checkpoint_5"))
  del fields["initial"]  # where it lay is no part of what it is
  assert described == records.TrainingRun(
    "online_1", "online", "ipo", fields, 3
  )
  assert runs.describe(str(folder)) == described


def test_a_folder_that_is_no_step_is_a_run_of_its_own(tmp_path):
  (tmp_path / "flan").mkdir()
  assert runs.run_of(str(tmp_path / "flan")) == records.TrainingRun("flan")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{", "run.json: not valid JSON"),
    ("[1]", "run.json: Expected `object`"),
    ('{"seed": "x"}', "run.json: does not describe a run"),
  ],
)
def test_a_description_that_is_none(tmp_path, content, message):
  (tmp_path / "run.json").write_text(content)
  with pytest.raises(errors.UserError, match=message) as error:
    runs.describe(str(tmp_path))
  assert "\n" not in str(error.value)


def test_an_input_is_described_by_what_it_holds(tmp_path):
  """A relative path is no hyper-parameter either, nor is a store's size."""
  fields = {
    "source": "Offline",
    "source.store": "pairs",
    "source.store.rows": "24",
    "source.store.sha256": "0a" * 32,
  }
  (tmp_path / "run.json").write_text(json.dumps(fields))
  assert runs.describe(str(tmp_path)).hyperparameters == {
    "source": "Offline",
    "source.store.sha256": "0a" * 32,
  }
