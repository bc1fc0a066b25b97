"""Trackers get the lines of metrics.jsonl, each once, and never stop a run."""

import dataclasses
import json
import os
import signal
import struct
import threading

import pytest

from rlhf_gap import errors, pairs
from rlhf_gap.training import metric_log, run, trackers, tracking
from tests.evaluation import tiny
from tests.training import ingredients
from tests.training.test_runs import check_equal

pytestmark = pytest.mark.slow


class Kept:
  """A tracker that keeps what it gets; a run's id is its number."""

  def __init__(self):
    self.runs = {}
    self.about, self.failed, self.starts = None, None, 0
    self.before_log = lambda step: None

  def __call__(self, about):
    """Stands for the class: keeps what is shown of the run."""
    self.about = about
    return self

  def start(self, run_id):
    """Starts or continues a run."""
    self.starts += 1
    self.current = run_id or str(len(self.runs))
    self.runs.setdefault(self.current, [])
    return self.current

  def log(self, step, values):
    """Keeps a line."""
    self.before_log(step)
    self.runs[self.current].append({"step": step, **values})

  def finish(self, *, failed):
    """Keeps how the run ended."""
    self.failed = failed

  def lines(self):
    """Returns the lines of the only run, times apart."""
    (lines,) = self.runs.values()
    return [metric_log.without_times(line) for line in lines]


@pytest.fixture
def kept(monkeypatch):
  """Registers the tracker under the name of MLflow, so that one is "found"."""
  made = Kept()
  monkeypatch.setitem(trackers.LIBRARIES, "mlflow", made)
  monkeypatch.setattr(tracking.Tracking, "check_installed", lambda _: None)
  monkeypatch.setattr(tracking, "_START_SECONDS", 0.0)
  return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  base = tmp_path_factory.mktemp("tracking")
  ingredients.write(base / "pairs", "pairs")
  tiny.save(base / "policy", tiny.params(1))
  return base


@pytest.fixture(scope="module")
def describe(folder):
  def described(path, names="mlflow", **changes):
    source = changes.pop("source", pairs.Offline(str(folder / "pairs")))
    return ingredients.describe(
      path,
      source,
      initial=str(folder / "policy"),
      validation=str(folder / "pairs"),
      validation_batches=1,
      tracking=names and tracking.Tracking(names),
      **changes,
    )

  return described


def test_a_tracker_has_the_lines_of_the_log(kept, describe, tmp_path):
  run.train(describe(tmp_path / "study" / "offline"))
  assert kept.lines() == ingredients.lines(tmp_path / "study" / "offline")
  assert [line["step"] for line in kept.lines()] == [1, 2, 3, 3, 4, 5, 6, 6]
  assert kept.failed is False
  assert kept.about.name == "study/offline"
  assert kept.about.settings["optimizer.learning_rate.peak"] == 1e-3
  assert kept.about.settings["dtype"] == "float32"


def test_a_resumed_run_goes_on_where_the_tracked_one_ended(
  kept, describe, tmp_path
):
  run.train(describe(tmp_path, train_steps=4))
  # The process was killed before it saved: steps 4 to 6 are done again.
  for name in ("checkpoint_4", "complete"):
    os.rename(tmp_path / name, tmp_path.parent / f"{tmp_path.name}_{name}")
  run.train(describe(tmp_path))
  assert kept.starts == 2
  assert kept.lines() == [
    # Validation at step 4 was that of the shorter run's end.
    *ingredients.lines(tmp_path)[:5],
    *[line for line in kept.lines() if line["step"] == 4][1:],
    *ingredients.lines(tmp_path)[5:],
  ]
  # A run that is done logs nothing, and starts no tracker.
  run.train(describe(tmp_path))
  assert kept.starts == 2


def test_a_tracker_that_comes_late_gets_the_earlier_steps(
  kept, describe, tmp_path
):
  run.train(describe(tmp_path, None, train_steps=3))
  run.train(describe(tmp_path))
  assert kept.lines() == ingredients.lines(tmp_path)


def test_a_tracker_that_fails_stops_nothing_and_catches_up(
  kept, describe, tmp_path, capfd
):
  untracked = run.train(describe(tmp_path / "without", None))

  def fail(step):
    if step == 3:
      raise ConnectionError("no route\nto host")

  kept.before_log = fail
  outcome = run.train(describe(tmp_path / "run"))
  check_equal(outcome, untracked)
  (line,) = capfd.readouterr().err.splitlines()
  assert "tracking by mlflow ended (ConnectionError: no route to host)" in line
  assert [line["step"] for line in kept.lines()] == [1, 2]
  kept.before_log = lambda step: None
  run.train(describe(tmp_path / "run"))
  assert kept.lines() == ingredients.lines(tmp_path / "run")


@pytest.mark.parametrize("error", [RuntimeError("down"), SystemExit(1)])
def test_a_tracker_that_cannot_start_stops_nothing(
  kept, describe, tmp_path, capfd, monkeypatch, error
):
  def start(run_id):
    raise error

  monkeypatch.setattr(kept, "start", start)
  assert run.train(describe(tmp_path)).reason == "done"
  assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_start_is_tried_again(kept, describe, tmp_path, monkeypatch):
  start, tries = kept.start, []

  def locked(run_id):
    tries.append(run_id)
    if len(tries) < 3:
      raise RuntimeError("database is locked")
    return start(run_id)

  monkeypatch.setattr(kept, "start", locked)
  run.train(describe(tmp_path))
  assert kept.lines() == ingredients.lines(tmp_path)


def test_a_tracker_that_hangs_stops_nothing(
  kept, describe, tmp_path, capfd, monkeypatch
):
  released = threading.Event()
  kept.before_log = lambda step: released.wait(60)
  monkeypatch.setattr(tracking, "_CLOSE_SECONDS", 0.5)
  monkeypatch.setattr(tracking, "_MAX_WAITING", 3)
  assert run.train(describe(tmp_path)).reason == "done"
  released.set()
  (line,) = capfd.readouterr().err.splitlines()
  assert "3 lines wait for it" in line


def test_a_damaged_note_is_one_line(kept, describe, tmp_path, capfd):
  run.train(describe(tmp_path, train_steps=3))
  (tmp_path / "tracking_mlflow.json").write_text('{"run": 1}')
  assert run.train(describe(tmp_path)).reason == "done"
  assert "tracking_mlflow.json" in capfd.readouterr().err


def test_a_run_that_fails_is_tracked_as_failed(kept, describe, tmp_path):
  def fail(step, params, context):
    if step == 3:
      raise errors.UserError("the disk is full")

  source = describe(tmp_path).source
  watched = ingredients.Watched(source, fail)
  with pytest.raises(errors.UserError, match="disk"):
    run.train(describe(tmp_path, source=watched))
  assert kept.failed is True


def test_tracking_is_no_part_of_a_runs_identity(kept, describe, tmp_path):
  run.train(describe(tmp_path, None, train_steps=3))
  before = (tmp_path / "run.json").read_text()
  run.train(describe(tmp_path))
  assert (tmp_path / "run.json").read_text() == before


@pytest.mark.parametrize("names", ["tensorboard", "mlflow,", "mlflow,mlflow"])
def test_unknown_trackers_are_refused(names):
  with pytest.raises(errors.UserError, match="trackers="):
    tracking.Tracking(names)


def test_a_missing_library_is_named_with_its_extra(
  describe, tmp_path, monkeypatch
):
  # A folder of wandb's own output does not stand for the library.
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setitem(trackers.LIBRARIES, "not_there", Kept())
  os.mkdir("not_there")
  described = describe(tmp_path / "run", "not_there")
  with pytest.raises(errors.UserError, match=r"pip install -e '.\[not_there\]"):
    run.train(described)
  assert os.listdir(tmp_path) == ["not_there"]


def _of_mlflow(tmp_path, note):
  """Returns MLflow's points: (metric, step) to value; no point twice."""
  import mlflow

  client = mlflow.MlflowClient()
  stored = client.get_run(note["run"])
  assert stored.info.status == "FINISHED"
  assert stored.data.params["optimizer.learning_rate.peak"] == "0.001"
  points = [
    ((name, point.step), point.value)
    for name in stored.data.metrics
    for point in client.get_metric_history(note["run"], name)
  ]
  assert len(dict(points)) == len(points)
  return dict(points)


def _of_trackio(tmp_path, note):
  from trackio import sqlite_storage

  lines = sqlite_storage.SQLiteStorage.get_logs("rlhf_gap", note["run"])
  points = [
    ((name, line["step"]), value)
    for line in lines
    for name, value in line.items()
    if name not in ("step", "timestamp")
  ]
  assert len(dict(points)) == len(points)
  return dict(points)


def _records_of(content):
  """Yields the records of a .wandb file, which is a LevelDB log.

  Blocks of 32 KiB hold chunks: checksum (4 bytes), length (2), kind (1; 1 is a
  whole record, 4 its last chunk), data. The first chunk follows a header of 7.
  """
  at, record = 7, b""
  while at < len(content):
    if 32768 - at % 32768 < 7:  # no chunk begins here
      at += 32768 - at % 32768
      continue
    length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
    record += content[at + 7 : at + 7 + length]
    at += 7 + length
    if kind in (1, 4):
      yield record
      record = b""


def _of_wandb(tmp_path, note):
  """Reads the files that `wandb sync` would upload."""
  from wandb.proto import wandb_internal_pb2

  points = []
  for path in sorted(tmp_path.glob("run/wandb/offline-run-*/run-*.wandb")):
    assert path.name == f"run-{note['run']}.wandb"
    for data in _records_of(path.read_bytes()):
      record = wandb_internal_pb2.Record()
      record.ParseFromString(data)
      if record.WhichOneof("record_type") == "history":
        step = record.history.step.num
        points += [
          (("/".join(item.nested_key) or item.key, step), item)
          for item in record.history.item
          if not (item.key or item.nested_key[0]).startswith("_")
        ]
  assert len(dict(points)) == len(points)
  return {key: json.loads(item.value_json) for key, item in points}


@pytest.mark.parametrize(
  ("name", "points_of"),
  [("mlflow", _of_mlflow), ("trackio", _of_trackio), ("wandb", _of_wandb)],
)
def test_the_library_itself_without_a_network(
  describe, tmp_path, monkeypatch, name, points_of
):
  """A run that is stopped and resumed has each logged value once."""
  store = f"sqlite:///{tmp_path}/mlflow.db"
  monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
  monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # before it is imported
  monkeypatch.setenv("HOME", str(tmp_path))
  for variable in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
    monkeypatch.delenv(variable, raising=False)
  pytest.importorskip(name, reason=f"needs the extra [{name}]")
  described = describe(tmp_path / "run", name)

  def interrupt(step, params, context):
    if step == 3 and not (tmp_path / "run" / "checkpoint_4").exists():
      signal.raise_signal(signal.SIGTERM)

  watched = ingredients.Watched(described.source, interrupt)
  stopped = run.train(dataclasses.replace(described, source=watched))
  assert stopped.reason == "stopped"
  run.train(dataclasses.replace(described, source=watched))
  note = json.loads((tmp_path / "run" / f"tracking_{name}.json").read_text())
  expected = {
    (metric, line["step"]): value
    for line in metric_log.read(str(tmp_path / "run"))
    for metric, value in line.items()
    if metric != "step"
  }
  assert len(expected) > 60
  assert points_of(tmp_path, note) == expected
