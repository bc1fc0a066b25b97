"""What a report on one's own pairs says of its golden labels."""

from rlhf_gap.analysis import summary
from rlhf_gap.records import Measurement
from rlhf_gap.report import own_pairs


def _task(own_golden):
  accuracy = Measurement(0.8, 0.05, 0.7, 0.9, 64)
  judge = summary.Judge("golden", {"human": accuracy})
  return summary.TaskSummary("own", judges=(judge,), own_golden=own_golden)


def test_a_trained_golden_model_is_named_with_its_agreement():
  (note,) = own_pairs.notes(_task("trained"))
  assert "a model trained on the same pairs" in note
  assert "0.800 [0.700, 0.900] of 64 held-out pairs" in note
  assert "no hidden utility" in note


def test_a_given_golden_model_was_not_trained_on_them():
  (note,) = own_pairs.notes(_task("given"))
  assert "that was given" in note
  assert "trained on the same pairs" not in note


def test_built_in_tasks_need_no_note():
  assert own_pairs.notes(_task("")) == []
