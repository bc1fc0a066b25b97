"""Shares of a mixture and origins of recorded rows."""

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, pairs, stores
from rlhf_gap.batches import PreferenceBatch
from rlhf_gap.pairs import mixture, recording


@pytest.mark.parametrize(
  ("weights", "total", "expected"),
  [
    ((1.0, 1.0), 8, [4, 4]),
    ((1.0, 2.0, 4.0), 10, [1, 3, 6]),  # 1.43, 2.86, 5.71
    ((1.0, 1.0, 1.0), 8, [3, 3, 2]),  # equal remainders: the first ones
    ((0.001, 1.0), 4, [0, 4]),
  ],
)
def test_rows_are_allotted_by_largest_remainder(weights, total, expected):
  assert mixture.shares_of(weights, total) == expected


def test_every_source_needs_a_weight():
  with pytest.raises(errors.UserError, match="1 sources with 2 weights"):
    pairs.Mixture((pairs.Offline("store"),), (1.0, 2.0))


def test_recorded_rows_say_which_sample_won_and_what_was_truncated():
  chosen = jnp.array([[5, 1, 0], [5, 6, 7]])
  rejected = jnp.array([[8, 9, 5], [8, 1, 0]])
  number = jnp.zeros(2)
  batch = PreferenceBatch(
    prompt=chosen,
    chosen=chosen,
    rejected=rejected,
    chosen_reference=number,
    rejected_reference=number,
    judge_r12=number,
    judge_r21=number,
    weight=number,
  )
  provenance = pairs.Provenance(
    prompt_id=np.array([11, 12]),
    truncated=np.array([int(stores.Truncated.PROMPT), 0]),
    sampling_step=3,
    policy_step=2,
    chosen_sample=jnp.array([1, 0]),
    first_bad_step=jnp.int32(-1),
  )
  columns = recording.columns_of(pairs.FetchedBatch(batch, provenance))
  # Sample n of row b at step 3 has the number 2 (3 * 2 + b) + n.
  assert columns["chosen_seed"].tolist() == [13, 14]
  assert columns["rejected_seed"].tolist() == [12, 15]
  assert columns["policy_step"].tolist() == [2, 2]
  prompt, first, second = (
    int(flag)
    for flag in (
      stores.Truncated.PROMPT,
      stores.Truncated.CHOSEN,
      stores.Truncated.REJECTED,
    )
  )
  assert columns["truncated"].tolist() == [prompt | second, first]
  with pytest.raises(ValueError, match="were read"):
    recording.columns_of(pairs.FetchedBatch(batch))
