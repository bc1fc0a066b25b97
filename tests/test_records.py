"""Records: what is written is read, and a damaged file says where."""

import dataclasses
import json
import os

import pytest

from rlhf_gap import errors, records

RECORD = records.RunRecord(
  run=records.TrainingRun(
    "ipo_1", "online", "ipo", {"beta": 0.1, "lr": "1e-5"}, 3
  ),
  checkpoint=records.EvaluatedCheckpoint("ab" * 32, 400),
  evaluation=records.Evaluation(
    golden="g",
    proxy=None,
    reference="r",
    golden_policy="p",
    prompts="x",
    pairs=None,
    settings={"num_prompts": 2, "keep": "end"},
  ),
  code=records.Code("c0ffee", "3.11.9", {"jax": "0.10.2"}),
  metrics={
    "win_rate": records.Measurement(0.25, 0.1, 0.1, 0.4, 2),
    "kl_nats": records.Measurement(1 / 3, 0.0, 1 / 3, 1 / 3, 2),
  },
  by_prompt={"win_rate": (0.0, 0.5)},
  examples=(records.Example("où ?", "là\nbas"),),
  environment=records.Environment("1 x cpu", 2.5, {"golden": "/a"}),
)


def _at(step, **changes):
  checkpoint = dataclasses.replace(RECORD.checkpoint, step=step)
  return dataclasses.replace(RECORD, checkpoint=checkpoint, **changes)


def test_a_record_survives_its_line():
  line = records.dumps(RECORD)
  assert "\n" not in line
  assert records.loads(line, "here") == RECORD
  assert records.dumps(records.loads(line, "here")) == line


def test_identity_is_all_but_the_environment():
  elsewhere = records.Environment("8 x TPU v5e", 1.0, {"golden": "gs://b"})
  moved = dataclasses.replace(RECORD, environment=elsewhere)
  assert moved.identity() == RECORD.identity()
  assert "wall_seconds" not in RECORD.identity()
  for field in dataclasses.fields(records.RunRecord):
    if field.name == "environment":
      continue
    fields = json.loads(records.dumps(RECORD))
    other = _CHANGES[field.name](fields[field.name])
    changed = records.loads(json.dumps({**fields, field.name: other}), "here")
    assert changed.identity() != RECORD.identity(), field.name


_CHANGES = {
  "run": lambda x: {**x, "seed": 4},
  "checkpoint": lambda x: {**x, "fingerprint": "cd" * 32},
  "evaluation": lambda x: {**x, "golden": "h"},
  "code": lambda x: {**x, "git_commit": "decaf"},
  "metrics": lambda x: {"win_rate": x["win_rate"]},
  "by_prompt": lambda x: {"win_rate": [0.0, 1.0]},
  "examples": lambda x: [],
}


def test_records_are_sorted_and_replaced_by_key(tmp_path):
  path = tmp_path / "records.jsonl"
  assert records.read(path) == []
  for step in (1000, 200, 0):
    records.put(path, _at(step))
  assert [r.checkpoint.step for r in records.read(path)] == [0, 200, 1000]
  newer = _at(200, by_prompt={})
  records.put(path, newer)
  assert records.read(path) == [_at(0), newer, _at(1000)]
  other = _at(200, run=dataclasses.replace(RECORD.run, arm="offline"))
  records.put(path, other)
  assert records.read(path)[0] == other
  assert len(records.read(path)) == 4
  assert os.listdir(tmp_path) == ["records.jsonl"]


def test_the_order_of_measuring_does_not_show(tmp_path):
  one, other = tmp_path / "one", tmp_path / "other"
  for step in (0, 5, 10):
    records.put(one, _at(step))
  for step in (10, 0, 5):
    records.put(other, _at(step))
  assert one.read_bytes() == other.read_bytes()


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
  path = tmp_path / "records.jsonl"
  records.put(path, RECORD)
  before = path.read_bytes()

  def full(descriptor):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="No space"):
    records.put(path, _at(7))
  assert path.read_bytes() == before


def _edited(change):
  fields = json.loads(records.dumps(RECORD))
  change(fields)
  return json.dumps(fields)


@pytest.mark.parametrize(
  ("line", "expected"),
  [
    (records.dumps(RECORD)[:-20], "not a record, or one cut short"),
    ("[]", "not a record"),
    ("{}", "not a record"),
    (_edited(lambda f: f.update(schema_version=2)), "a record of version 2"),
    (_edited(lambda f: f.pop("code")), "does not describe a measurement"),
    (_edited(lambda f: f.update(extra=1)), "does not describe.*extra"),
    (_edited(lambda f: f["run"].update(extra=1)), "does not describe.*extra"),
    (_edited(lambda f: f["metrics"]["win_rate"].pop("n")), "does not describe"),
    (
      _edited(lambda f: f["metrics"]["win_rate"].update(ci95_low=0.9)),
      "contradict each other",
    ),
  ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line, expected):
  path = tmp_path / "records.jsonl"
  path.write_text(f"{records.dumps(RECORD)}\n{line}\n")
  with pytest.raises(errors.UserError, match=expected) as error:
    records.read(path)
  assert str(error.value).startswith(f"{path}:2: ")
  assert "\n" not in str(error.value)


def test_another_file_is_no_records(tmp_path):
  path = tmp_path / "picture.png"
  path.write_bytes(b"\x89PNG\xff\xfe")
  with pytest.raises(errors.UserError, match="not UTF-8"):
    records.read(path)


@pytest.mark.parametrize(
  "numbers",
  [
    (float("nan"), 0.0, 0.0, 0.0, 1),
    (0.0, float("inf"), 0.0, 0.0, 1),
    (0.0, -1.0, 0.0, 0.0, 1),
    (0.0, 0.0, 1.0, 0.0, 1),
    (0.0, 0.0, 0.0, 0.0, 0),
  ],
)
def test_no_measurement_is_nonsense(numbers):
  with pytest.raises(ValueError, match="contradict|finite"):
    records.Measurement(*numbers)
