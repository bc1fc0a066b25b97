"""Claims about the policy's size (Figures 10, 11 and 14)."""

import dataclasses

import pytest

from rlhf_gap.analysis import sizes
from tests.analysis import exact
from tests.paper import answers
from tests.paper.answers import NO, OPEN, YES

_EVERY_SIZE = "the gap stays at every size"
_SIZES = {"": 300, "small": 100, "large": 900}


def _sizes(gaps, **kw):
  paths = {}
  for size, gap in gaps.items():
    suffix = f"@{size}" if size else ""
    paths[f"online{suffix}"] = exact.flat(0.3 + gap)
    paths[f"offline{suffix}"] = exact.flat(0.3)
  return exact.evidence(paths, sizes=_SIZES, **kw)


@pytest.mark.parametrize(
  ("gaps", "verdict"),
  [
    ({"": 0.1, "small": 0.1, "large": 0.1}, YES),
    ({"": 0.1, "small": 0.1, "large": -0.1}, NO),
    ({"": 0.1, "small": 0.1, "large": 0.0}, NO),
    ({"": 0.1}, OPEN),
  ],
)
def test_the_gap_at_every_size(gaps, verdict):
  answers.check(_EVERY_SIZE, _sizes(gaps), verdict)
  answers.check(_EVERY_SIZE, _sizes(gaps, seeds=(0, 1)), OPEN)


def test_a_size_that_failed_is_one_of_every_size():
  evidence = _sizes({"": 0.1, "small": 0.1})
  answers.check(_EVERY_SIZE, evidence, YES)
  planned = ("online@large", "offline@large")
  evidence = dataclasses.replace(evidence, planned=planned)
  answers.check(_EVERY_SIZE, evidence, OPEN)
  answer = answers.answer(_EVERY_SIZE, evidence)
  assert answer.reason == "there are no records of the arm online@large"


_NARROWS = "scale narrows the gap to shuffled online data"


@pytest.mark.parametrize(
  ("gaps", "verdict"),
  [
    ({"small": 0.2, "": 0.3, "large": 0.1}, YES),
    ({"small": 0.1, "": 0.0, "large": 0.2}, NO),
    ({"small": 0.11, "": 0.0, "large": 0.1}, NO),  # too little to matter
    ({"": 0.1}, OPEN),
  ],
)
def test_whether_scale_helps_shuffled_data(gaps, verdict):
  paths = {}
  for size, gap in gaps.items():
    suffix = f"@{size}" if size else ""
    paths[f"online{suffix}"] = exact.flat(0.4 + gap)
    paths[f"tandem{suffix}"] = exact.flat(0.4)
  evidence = exact.evidence(paths, sizes=_SIZES)
  answers.check(_NARROWS, evidence, verdict)
  answers.check(
    _NARROWS, exact.evidence(paths, sizes=_SIZES, seeds=(0, 1)), OPEN
  )
  if verdict is YES:
    assert (
      "+0.100 [+0.100, +0.100]" in answers.answer(_NARROWS, evidence).numbers
    )


_LARGER = "larger policies win more often"


@pytest.mark.parametrize(
  ("rise", "tandem", "verdict"),
  [(0.1, 0.1, YES), (-0.1, 0.1, NO), (0.1, -0.1, NO)],
)
def test_whether_larger_policies_win_more_often(rise, tandem, verdict):
  paths = {
    f"{name}{size}": exact.flat(0.3 + gain * bool(size))
    for name, gain in (("online", rise), ("offline", rise), ("tandem", tandem))
    for size in ("", "@large")
  }
  sizes = {"": 100, "large": 900}
  answers.check(_LARGER, exact.evidence(paths, sizes=sizes), verdict)
  answers.check(_LARGER, exact.evidence(paths, sizes=sizes, seeds=(0, 1)), OPEN)


def test_an_uncounted_size_is_neither_smallest_nor_largest():
  paths = {
    f"{name}{size}": exact.flat(0.5 if size else 0.3)
    for name in ("online", "offline", "tandem")
    for size in ("", "@large")
  }
  answers.check(_LARGER, exact.evidence(paths, sizes={"": 9, "large": 99}), YES)
  for counted in ({}, {"": 9}):
    evidence = exact.evidence(paths, sizes=counted)
    answers.check(_LARGER, evidence, OPEN)
    assert "is unknown for sizes" in answers.answer(_LARGER, evidence).reason


def test_sizes_are_compared_at_the_settings_that_all_of_them_have():
  """Else a poor setting, or a longer run, of one size alone would decide."""
  paths = {
    f"{name}{size}": exact.flat(0.3)
    for name in ("online", "offline", "tandem")
    for size in ("", "@large")
  }
  made = exact.found(paths)
  # Of this study's own size alone: 0.1 throughout; long: 0.9.
  poor = exact.found({"offline": exact.flat(0.1)})
  for record in poor:
    record.run.hyperparameters["objective.loss.beta"] = "9"
  long = exact.found({"offline": exact.flat(0.9, (0.5, 2.0, 4.0, 8.0))})
  more = [
    dataclasses.replace(
      record,
      run=dataclasses.replace(record.run, name=f"{kind}/{record.run.name}"),
    )
    for kind, several in (("poor", poor), ("long", long))
    for record in several
  ]
  found = tuple(made + more)
  evidence = exact.Evidence(
    "task",
    exact.arms.group(found),
    found,
    settings=exact.SETTINGS,
    sizes={"": 9, "large": 99},
  )
  assert len(evidence.arm("offline").configurations) == 3
  (kept,) = sizes.tuned_alike(evidence, "offline", "").configurations
  assert [run.name for run in kept.runs] == [
    f"offline/seed_{n}" for n in range(3)
  ]
  assert "offline +0.000 [" in answers.answer(_LARGER, evidence).numbers


_PEAKS = "peaks lie at a similar KL for all sizes"


def _peaks(own, other, **kw):
  def path(peak):
    wins = {0.25: 0.2, peak: 0.5, 64.0: 0.3}
    return [(kl, wins[kl], {}) for kl in sorted(wins)]

  paths = {"online": path(own), "online@large": path(other)}
  return exact.evidence(paths, **kw)


@pytest.mark.parametrize(
  ("own", "other", "verdict"),
  [(4.0, 5.0, YES), (2.0, 16.0, NO), (4.0, 64.0, OPEN)],
)
def test_where_peaks_lie(own, other, verdict):
  answers.check(_PEAKS, _peaks(own, other), verdict)
  # Even where it is plain to see, as from the paper's single runs.
  answers.check(_PEAKS, _peaks(own, other, seeds=(0,)), OPEN)


def test_peaks_of_one_size_are_no_answer():
  answers.check(_PEAKS, exact.evidence(answers.flat_arms(online=0.5)), OPEN)
