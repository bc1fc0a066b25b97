"""What is read from a run's log, and what a damaged one says."""

import json
import os

import pytest

from rlhf_gap import errors
from rlhf_gap.training import metric_log

LINES = "".join(
  json.dumps({"step": step, "train/loss": 0.5}) + "\n" for step in (1, 2)
)


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
  (tmp_path / "metrics.jsonl").write_text(LINES + '{"step": 3, "train/lo')
  assert [line["step"] for line in metric_log.read(str(tmp_path))] == [1, 2]


def test_undefined_values_are_left_out(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": null}\n')
  assert metric_log.read(str(tmp_path)) == [{"step": 1}]


@pytest.mark.parametrize(
  "line", ["null", "[1]", "{}", '{"step": "1"}', "[" * 10_000, "\0", "{"]
)
def test_a_damaged_line_is_named(tmp_path, line):
  (tmp_path / "metrics.jsonl").write_text(f"{LINES}{line}\n{LINES}")
  with pytest.raises(errors.UserError, match="metrics.jsonl:3: expected"):
    metric_log.read(str(tmp_path))


def test_a_fifo_is_refused(tmp_path):
  os.mkfifo(tmp_path / "metrics.jsonl")
  with pytest.raises(errors.UserError, match="FIFO"):
    metric_log.read(str(tmp_path))
