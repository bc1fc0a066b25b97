"""How intervals decide claims."""

import pytest

from rlhf_gap.analysis import verdicts
from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.records import Measurement

YES, NO, OPEN = (
  Verdict.SUPPORTED,
  Verdict.CONTRADICTED,
  Verdict.UNDERPOWERED,
)


def _estimate(low, high, seeds=3):
  middle = (low + high) / 2
  return Estimate(middle, (high - low) / 4, low, high, 100, seeds, 50.0)


@pytest.mark.parametrize(
  ("low", "high", "seeds", "verdict"),
  [
    (0.01, 0.20, 3, YES),
    (0.001, 0.01, 3, NO),  # sure to be there, but too small to matter
    (-0.20, -0.01, 3, NO),
    (-0.01, 0.019, 3, NO),  # not sure to be 0, but too small to matter
    (-0.01, 0.021, 3, OPEN),
    (-0.5, 0.5, 3, OPEN),
    (0.01, 0.20, 2, OPEN),
    (-0.20, -0.01, 1, OPEN),
  ],
)
def test_how_an_interval_decides_a_difference(low, high, seeds, verdict):
  found, reason = verdicts.exceeds(_estimate(low, high, seeds))
  assert found is verdict
  assert bool(reason) == (verdict is OPEN or 0 < low < high < 0.02)


@pytest.mark.parametrize(
  ("low", "high", "verdict"),
  [
    (-0.01, 0.019, YES),
    (0.001, 0.021, OPEN),  # a loss, but most likely a small one
    (-0.05, 0.05, OPEN),
    (0.021, 0.05, NO),
  ],
)
def test_how_an_interval_decides_a_loss(low, high, verdict):
  found, reason = verdicts.harmless(_estimate(low, high))
  assert found is verdict
  assert bool(reason) == (verdict is OPEN)
  assert verdicts.harmless(_estimate(low, high, seeds=2))[0] is OPEN


def test_one_of_several_parts_contradicts_less_easily():
  # 95% ends just below 0.02; 98.3%, of three looked at, reaches beyond.
  found = _estimate(-0.06, 0.019)
  assert verdicts.exceeds(found)[0] is NO
  assert verdicts.exceeds(found, num_parts=3)[0] is OPEN
  sure = _estimate(-0.2, -0.1)
  assert verdicts.exceeds(sure, num_parts=3)[0] is NO
  outside = _estimate(0.56, 0.62)
  assert verdicts.within(outside, 0.45, 0.55)[0] is NO
  assert verdicts.within(outside, 0.45, 0.55, num_parts=9)[0] is OPEN
  assert verdicts.within(_estimate(0.6, 0.7, seeds=2), 0.4, 0.5)[0] is OPEN


@pytest.mark.parametrize(
  ("low", "high", "verdict"),
  [
    (0.71, 0.94, YES),
    (0.60, 0.69, NO),
    (0.96, 0.99, NO),
    (0.69, 0.80, OPEN),
    (0.90, 0.96, OPEN),
  ],
)
def test_how_an_interval_decides_a_range(low, high, verdict):
  middle = (low + high) / 2
  measured = Measurement(middle, 0.01, low, high, 9)
  assert verdicts.within(measured, 0.70, 0.95)[0] is verdict
