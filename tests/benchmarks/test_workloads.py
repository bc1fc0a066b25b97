"""Workloads have the operation counts of T5's formulas and compile once."""

import jax
import numpy as np
import pytest

from rlhf_gap import errors
from rlhf_gap.benchmarks import timing, workloads
from rlhf_gap.models import t5

pytestmark = pytest.mark.slow

CONFIG = t5.T5Config(
  vocab_size=32,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=2,
  num_decoder_layers=1,
)
SHAPE = workloads.Shape(batch=3, responses=2, source=6, target=4)


@pytest.fixture(scope="module")
def params():
  return t5.init(CONFIG, jax.random.key(0))


def _encoder_flops(rows, length):
  """Four projections of 8 x 8, three of 8 x 16, two products of attention."""
  projections = rows * length * (4 * 8 * 8 + 3 * 8 * 16)
  return 2 * 2 * (projections + 2 * rows * length**2 * 8)


def _decoder_flops(rows, length, source, prompts):
  """Self-attention, cross-attention over projected prompts, mlp, head."""
  own = rows * length * 4 * 8 * 8 + 2 * rows * length**2 * 8
  cross = 2 * prompts * source * 8 * 8 + rows * length * 2 * 8 * 8
  cross += 2 * rows * length * source * 8
  rest = rows * length * (3 * 8 * 16 + 8 * 32)
  return 2 * (own + cross + rest)


def test_scoring_encodes_each_prompt_once(params):
  """Both responses of a prompt share its encoding and projections."""
  scoring = workloads.scoring(CONFIG, params, SHAPE)
  expected = _encoder_flops(3, 6) + _decoder_flops(6, 4, 6, prompts=3)
  assert scoring.work.flops == expected
  assert (scoring.steps, scoring.tokens) == (6, 24)


def test_sampling_encodes_and_projects_each_prompt_once(params):
  """Every step reads a cache of the full length."""
  sampling = workloads.sampling(CONFIG, params, SHAPE)
  once = _encoder_flops(3, 6) + 2 * (2 * 3 * 6 * 8 * 8)
  step = 6 * (4 * 8 * 8 + 2 * 4 * 8)  # self-attention over 4 places
  step += 6 * (2 * 8 * 8 + 2 * 6 * 8)  # cross-attention
  step += 6 * (3 * 8 * 16 + 8 * 32)
  assert sampling.work.flops == once + 4 * 2 * step
  assert (sampling.steps, sampling.tokens) == (4, 24)


def test_a_gradient_costs_three_times_the_value(params):
  """Two more products for each product, and no recomputation."""
  scoring = workloads.scoring(CONFIG, params, SHAPE)
  gradient = workloads.gradient(CONFIG, params, SHAPE)
  assert gradient.work.flops == 3 * scoring.work.flops


def test_judging_encodes_both_orders_once_and_decodes_one_step(params):
  """Three pairs in two orders are six encoder rows."""
  shape = workloads.Shape(batch=3, responses=1, source=20, target=4)
  judging = workloads.judging(CONFIG, params, shape)
  expected = _encoder_flops(6, 20) + _decoder_flops(6, 1, 20, prompts=6)
  assert judging.work.flops == expected
  one_pass = workloads.one_judging_pass(CONFIG, params, rows=6, length=20)
  assert one_pass.flops == expected


def test_everything_compiles_once(params):
  shape = SHAPE._replace(source=20)
  lengths = np.array([[1, 2], [2, 1], [2, 2]], np.int32)
  made = {
    "sample": workloads.sampling(CONFIG, params, shape),
    "early": workloads.sampling(CONFIG, params, shape, lengths),
    "score": workloads.scoring(CONFIG, params, shape),
    "judge": workloads.judging(CONFIG, params, shape),
    "train": workloads.gradient(CONFIG, params, shape),
  }
  calls = {name: workload.call for name, workload in made.items()}
  timings = timing.alternate(calls, repeats=2)
  counts = {k: (t.compilations, t.recompilations) for k, t in timings.items()}
  assert counts == dict.fromkeys(calls, (1, 0))
  ended = np.asarray(made["early"].call())
  assert ((ended > 0).sum(-1) == lengths).all()
  assert made["early"].steps == 2
  assert made["early"].work.flops < made["sample"].work.flops


def test_response_lengths_are_realistic():
  shape = workloads.Shape(batch=500, responses=2, source=8, target=128)
  lengths = workloads.response_lengths(shape, seed=0)
  assert 35 <= np.median(lengths) <= 39
  assert lengths.min() >= 1
  assert 100 < lengths.max() <= 128


def test_an_input_too_short_for_both_responses_is_rejected(params):
  shape = workloads.Shape(batch=1, responses=1, source=15, target=4)
  with pytest.raises(errors.UserError, match="more than 15"):
    workloads.judging(CONFIG, params, shape)
