"""study.json: what is written is read; what is no summary is named."""

import json
import math

import pytest

from rlhf_gap import errors
from rlhf_gap.analysis import summary
from tests.analysis import made_up


def test_a_summary_survives_its_file(tmp_path):
  whole = made_up.study(("one", "two"), failed=True)
  summary.write(tmp_path, whole)
  assert summary.read(tmp_path) == whole
  task = summary.TaskSummary(
    "t", arms=("online",), online_data="t/o.jsonl", sizes={"": 4, "xl": 16}
  )
  bare = summary.Summary("bare", tasks=(summary.TaskSummary("u"), task))
  summary.write(tmp_path, bare)
  assert summary.read(tmp_path) == bare
  assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_a_file_from_before_there_were_ablations_is_read(tmp_path):
  summary.write(tmp_path, made_up.study())
  path = tmp_path / "study.json"
  fields = json.loads(path.read_text())
  for task in fields["tasks"]:
    for new in ("arms", "online_data", "sizes"):
      del task[new]
  path.write_text(json.dumps(fields))
  assert summary.read(tmp_path) == made_up.study()


def test_without_a_file_there_is_none(tmp_path):
  assert summary.read(tmp_path) is None


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda text: text[:-20], "does not describe a study"),
    (lambda text: "[1]", "does not describe a study"),
    (
      lambda text: text.replace('"schema_version": 1', '"schema_version": 9'),
      "version 9; this rlhf-gap reads version 1",
    ),
    (
      lambda text: text.replace('"done"', '"finished"'),
      "does not describe a study",
    ),
    (lambda text: text.replace('"tasks"', '"task"'), "unknown key `task`"),
    (lambda text: text.replace('"value"', '"worth"'), "does not describe"),
    (
      lambda text: json.dumps(
        {"schema_version": 1, "name": "x", "stages": [], "tasks": ["y"]}
      ),
      "does not describe a study",
    ),
  ],
)
def test_what_is_no_summary_is_named(tmp_path, spoil, message):
  summary.write(tmp_path, made_up.study())
  path = tmp_path / "study.json"
  path.write_text(spoil(path.read_text()))
  with pytest.raises(errors.UserError, match=message) as caught:
    summary.read(tmp_path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_curves_are_thinned_to_means_of_stretches():
  lines = [{"step": i, "train/loss": float(i)} for i in range(1, 8)]
  lines.insert(3, {"step": 3, "validation/loss": 9.0})
  lines.append({"step": 8, "train/loss": math.nan})
  assert summary.thinned(lines, "train/loss", most=3) == (
    (3, 6, 7),
    (2.0, 5.0, 7.0),
  )
  whole = summary.thinned(lines, "train/loss", most=7)
  assert whole == (tuple(range(1, 8)), tuple(map(float, range(1, 8))))
  assert summary.thinned([], "train/loss") == ((), ())


def test_a_stage_has_a_status_that_is_known():
  with pytest.raises((ValueError, TypeError)):
    summary.StageSummary("sft", "rlhf-gap train", "finished")


def test_a_curve_has_a_value_a_step():
  with pytest.raises(ValueError, match="2 steps and 1 values"):
    summary.LoggedCurve("run", "arm", "loss", (1, 2), (0.5,))
