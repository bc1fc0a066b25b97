"""A metric over training: one thin line per seed, and their mean."""

import numpy as np
import pytest
from matplotlib import figure

from rlhf_gap.analysis import arms, resampling, statistics
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.plotting import metric_over_steps, styles
from tests.analysis import made_up

_METRIC = "response_length_tokens"


def _evidence(**world):
  measured = tuple(
    made_up.World(num_prompts=20, kl_prompts=10, **world).records()
  )
  settings = statistics.BootstrapSettings(replicates=100)
  return Evidence("task", arms.group(measured), measured, settings=settings)


def _plot(evidence, metric=_METRIC, level=None):
  picture = metric_over_steps.plot(
    evidence, metric, name="n", title="t", caption="c", y_label="y", level=level
  )
  ax = figure.Figure().add_subplot()
  picture.plot(ax)
  return picture, ax


def _values(evidence, arm):
  """Step to the values of all seeds of an arm's baseline runs."""
  by_step = {}
  for record in evidence.records:
    if record.run.name.startswith(f"{arm}/beta_0.1"):
      values = by_step.setdefault(record.checkpoint.step, [])
      values.append(record.metrics[_METRIC].value)
  return by_step


def test_lines_are_the_records_of_each_seed_and_their_mean():
  evidence = _evidence(num_seeds=2, num_checkpoints=3)
  _, ax = _plot(evidence)
  *seeds, mean = [
    line.get_xydata()
    for line in ax.get_lines()
    if line.get_color() == styles.GREEN
  ]
  expected = _values(evidence, "tandem")
  steps = sorted(expected)
  assert len(seeds) == 2
  for number, line in enumerate(seeds):
    np.testing.assert_array_equal(line[:, 0], steps)
    np.testing.assert_allclose(line[:, 1], [expected[s][number] for s in steps])
  np.testing.assert_allclose(mean[:, 1], [np.mean(expected[s]) for s in steps])


def test_rows_hold_the_value_of_every_plotted_record():
  evidence = _evidence(num_seeds=2, num_checkpoints=3)
  picture, _ = _plot(evidence)
  online = [row for row in picture.rows if row[0] == "online"]
  expected = _values(evidence, "online")
  assert sorted((step, value) for _, _, _, step, value, *_ in online) == sorted(
    (step, value) for step, values in expected.items() for value in values
  )
  assert picture.missing == ()


def test_a_seed_with_a_single_checkpoint_leaves_a_mean_of_one_point():
  evidence = _evidence(num_seeds=2, num_checkpoints=3)
  run = "online/beta_0.1_seed_1"
  first = min(r.checkpoint.step for r in evidence.records if r.run.name == run)
  kept = tuple(
    record
    for record in evidence.records
    if record.run.name != run or record.checkpoint.step == first
  )
  begun = Evidence("task", arms.group(kept), kept, settings=evidence.settings)
  picture, ax = _plot(begun)
  *seeds, mean = [
    line.get_xydata()
    for line in ax.get_lines()
    if line.get_color() == styles.BLUE
  ]
  assert sorted(map(len, seeds)) == [1, 3]
  expected = np.mean(_values(evidence, "online")[first])
  np.testing.assert_allclose(mean, [[first, expected]])
  assert [line for line in picture.missing if run in line]


@pytest.mark.parametrize(
  ("level", "label"), [(0.5, "chance"), (0.0, "SFT"), (None, None)]
)
def test_a_level_is_a_horizontal_line_with_its_meaning(level, label):
  _, ax = _plot(_evidence(num_seeds=1, num_checkpoints=2), level=level)
  _, labels = ax.get_legend_handles_labels()
  assert labels[3:] == ([] if label is None else [label])
  if level is not None:
    assert list(ax.get_lines()[-1].get_ydata()) == [level, level]


def test_a_metric_that_no_record_has_is_an_error_for_every_method():
  with pytest.raises(resampling.UndefinedError) as error:
    _plot(_evidence(num_seeds=1, num_checkpoints=2), "none")
  assert str(error.value).count("no record has none") == 3


def test_a_method_without_records_is_listed():
  evidence = _evidence(num_seeds=1, num_checkpoints=2)
  kept = tuple(r for r in evidence.records if r.run.arm != "offline")
  fewer = Evidence("task", arms.group(kept), kept, settings=evidence.settings)
  picture, _ = _plot(fewer)
  assert {row[0] for row in picture.rows} == {"online", "tandem"}
  assert picture.missing == (
    "offline: there are no records of the arm offline",
  )
