"""A tiny online run, planned for eight CPU devices."""

import dataclasses
import json
import math

import jax
import pytest

from rlhf_gap import errors, pairs, partitioning, plan
from rlhf_gap.cli import command_plan, main
from rlhf_gap.models import t5
from rlhf_gap.plan import chips, summary, topologies
from rlhf_gap.plan.summary import Bound
from rlhf_gap.training import configured
from tests.training import ingredients

# Every kernel, even split over the model axis, is larger than what one token's
# activations and logits need: so that one that is moved is seen.
CONFIG = t5.T5Config(
  vocab_size=128,
  emb_dim=64,
  num_heads=2,
  head_dim=32,
  mlp_dim=128,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
SMALLEST_KERNEL_BYTES = 64 * 64 * 4 // 2
MESH = partitioning.Mesh(fsdp=2, model=2)
# A chip that is slow enough for the numbers to be seen.
CHIP = chips.Chip(1e9, 2**20, 1e6, 1e5, "made up")


@pytest.fixture(scope="module")
def subject():
  run = ingredients.describe(
    "nowhere",
    pairs.Online("nowhere", "nowhere", pairs.Sampling(max_length=4)),
    initial="nowhere",
    mesh=MESH,
    optimizer=configured.AdamW(configured.LearningRate(1.0)),
  )
  return plan.Subject(run, CONFIG, CONFIG, prompt_tokens=8, response_tokens=4)


@pytest.fixture(scope="module")
def planned(subject):
  return plan.of(subject, plan.Topology.parse("cpu:8"))


def test_no_parameter_is_moved_for_a_sampled_token(planned):
  assert 0 < planned.largest_per_token_bytes < SMALLEST_KERNEL_BYTES


def test_what_lies_in_memory_is_what_the_shapes_say(planned):
  whole = sum(
    math.prod(x.shape) * 4 for x in jax.tree.leaves(t5.param_shapes(CONFIG))
  )
  resident = planned.resident_bytes
  # Kernels are split four ways; norms and biases, some 1%, two ways.
  assert whole / 4 < resident["parameters"] < 1.02 * whole / 4
  assert resident["reference"] == resident["judge"] == resident["parameters"]
  counts = 4 * 2  # AdamW's and the schedule's
  moments = resident["optimizer"] - 2 * resident["parameters"]
  assert 0 < moments <= counts
  assert planned.needed_bytes == sum(resident.values()) + max(
    planned.program_bytes.values()
  )


def test_every_part_of_an_online_step_has_its_line(planned):
  parts = {bound.term: bound for bound in planned.bounds}
  assert set(parts) == {
    "step",
    "sampling: prompts",
    "sampling: tokens",
    "judging",
    "reference",
  }
  # 2 x parameters that are multiplied with x positions: 4 rows, 2 responses.
  kernels = 4 * 64 * 64 + 3 * 64 * 128
  prompts = 2 * 4 * 8 * (kernels + 2 * 64 * 64) / 8
  assert parts["sampling: prompts"].flops == pytest.approx(prompts, rel=0.1)
  assert all(bound.seconds is None for bound in planned.bounds)
  assert planned.step_seconds is None
  text = "\n".join(command_plan.lines(planned))
  assert "sampling: tokens" in text
  assert "no published peak" in text
  assert json.loads(json.dumps(command_plan.figures(planned)))["fits"]


def test_the_bound_is_the_slowest_of_three():
  expected = {
    "arithmetic": (2e9, 1_000, 0.0, 2.0),
    "memory": (1e6, 3_000_000, 0.0, 3.0),
    "links": (1e6, 1_000, 4e5, 4.0),
  }
  for limit, (flops, moved, sent, seconds) in expected.items():
    bound = summary._bound("step", flops, moved, sent, CHIP)
    assert (bound.limit, bound.seconds) == (limit, seconds)


def test_steps_and_chip_hours_follow_from_the_bounds(planned):
  bounds = (
    Bound("step", 197e12, 0, 0.0, 3.0, "memory"),
    Bound("judging", 0.0, 0, 0.0, 1.0, "links"),
  )
  made = dataclasses.replace(
    planned,
    topology="v5e:4x4",
    num_chips=16,
    bounds=bounds,
    train_steps=900,
    available_bytes=planned.needed_bytes - 1,
  )
  assert made.step_seconds == 4.0
  assert made.utilisation_at_bound == pytest.approx(0.25)
  assert made.chip_hours == pytest.approx(16.0)
  assert not made.fits
  text = "\n".join(command_plan.lines(made))
  assert "DOES NOT FIT, 0.00 too much" in text
  assert "0.25 steps/s, 900 steps/h, MFU 25%; 900 steps: 16 chip-hours" in text


def test_what_the_compiler_says_of_a_program_too_large():
  message = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in"
    " memory space hbm. Used 20.50G of 15.75G hbm. Exceeded hbm capacity by"
    " 4.75G."
  )
  assert summary._too_large(message) == (
    "the compiler needs 20.5 GiB a chip, 4.8 GiB more than there is"
  )
  assert summary._too_large("INTERNAL: something else") == ""


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--topology=v5e"], "expected a kind and its size, such as v5e:4x4"),
    (["--topology=v5q:4x4"], "unknown kind v5q, .*did you mean v5"),
    (["--topology=cpu:8"], "the model's size is not known: add --gin_file="),
  ],
)
def test_mistakes_are_one_line(words, message, capsys):
  run = "--gin_file=gin_configs/runs/online.gin"
  assert main.main(["plan", run, *words]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  with pytest.raises(errors.UserError, match=message):
    raise errors.UserError(error)


def test_without_libtpu_the_extra_is_named(monkeypatch):
  monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(errors.UserError, match=r'pip install "rlhf-gap\[tpu\]"'):
    plan.Topology.parse("v5e:4x4").devices()


def test_a_run_file_with_its_mesh_and_a_models_size(monkeypatch):
  """What the command line describes, up to the compiler."""
  seen = []
  monkeypatch.setattr(
    plan, "of", lambda subject, topology: seen.append(subject)
  )
  monkeypatch.setattr(command_plan, "lines", lambda found: [])
  words = [
    "plan",
    "--gin_file=gin_configs/runs/online.gin",
    "--gin_file=gin_configs/runs/parts/mesh.gin",
    "--gin_file=gin_configs/models/t5_1_1_large.gin",
    "--judge_model=gin_configs/models/t5_1_1_xxl.gin",
    "--gin.NUM_PARTITIONS=4",
    "--gin.DTYPE=bfloat16",
    "--topology=cpu:8",
  ]
  assert main.main(words) == 0
  (subject,) = seen
  assert subject.run.mesh == partitioning.Mesh(model=4)
  assert (subject.policy.emb_dim, subject.judge.emb_dim) == (1024, 4096)
  assert subject.policy.dtype == "bfloat16"
  assert (subject.prompt_tokens, subject.response_tokens) == (1024, 128)
