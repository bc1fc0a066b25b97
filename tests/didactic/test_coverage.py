"""The 8 x 8 example: pairs and estimands."""

import jax
import numpy as np

from rlhf_gap.didactic import coverage


def test_losers_are_distinct_and_off_the_diagonal():
  lost = np.asarray(coverage.losers(jax.random.key(3)))
  assert lost.shape == (8, 2)
  assert (lost[:, 0] != lost[:, 1]).all()
  assert (lost != np.arange(8)[:, None]).all()


def test_estimands_of_hand_made_tables():
  even = np.full((1, 8, 8), 1 / 8)
  moved = even.copy()
  moved[0, 0, 0], moved[0, 0, 7] = 0.0, 0.25
  covered = np.eye(8)[None]
  tables = {"reference": even, "DPO": moved, "RL": even, "covered": covered}
  curves = coverage.summarize(tables)
  np.testing.assert_allclose(curves["DPO: rise"], [[0.125]])
  np.testing.assert_allclose(curves["RL: rise"], [[0.0]])
  np.testing.assert_allclose(curves["DPO: diagonal"], [[7 / 64]])
  np.testing.assert_allclose(curves["DPO: uncovered"], [[(7 * 7 / 8 + 1) / 8]])


def test_rl_ends_near_the_diagonal():
  curves = coverage.measure(1)
  assert curves["RL: diagonal"][0, 0] > 0.9
  assert curves["reference: diagonal"][0, 0] < 0.3
