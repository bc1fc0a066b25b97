"""Imitation: minus the log-probability of a response."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import losses
from tests.losses.cases import slope

both = pytest.mark.parametrize("loss", [losses.sft, losses.best_of_two])


@both
def test_is_minus_the_log_probability(loss):
  """Two tokens of probability 1/2 and 1/4: log 8 nats."""
  log_probs = jnp.array([math.log(1 / 8), -0.25, 0.0], jnp.float32)
  np.testing.assert_allclose(
    loss(log_probs), [math.log(8), 0.25, 0.0], rtol=1e-6
  )


@both
def test_falls_as_the_response_gets_likelier(loss):
  """It has no minimiser below probability 1: the slope is -1 everywhere."""
  slopes = slope(loss, [-300.0, -1.0, 0.0])
  np.testing.assert_array_equal(slopes, [-1.0, -1.0, -1.0])
