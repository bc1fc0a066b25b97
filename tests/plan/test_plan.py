"""Plans of a tiny online run on eight CPU devices."""

import dataclasses
import json
import math
import re

import jax
import numpy as np
import pytest

from rlhf_gap import errors, pairs, partitioning, plan
from rlhf_gap.cli import command_plan, gin_sources, main
from rlhf_gap.models import t5
from rlhf_gap.plan import (
  chips,
  hlo,
  links,
  programs,
  report,
  summary,
  topologies,
)
from rlhf_gap.plan import subject as subjects
from rlhf_gap.plan.summary import Bound
from rlhf_gap.training import configured
from tests.training import ingredients

pytestmark = pytest.mark.slow

# Every kernel, even split over the model axis, is larger than one token's
# activations and logits, so that a collective that moves one is recognised.
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
# A slow chip, for readable numbers.
CHIP = chips.Chip(1e9, 1.0, 1e6, 1e5, 2, 4)


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
  return plan.make(subject, plan.Topology.parse("cpu:8"))


def test_sampling_a_token_moves_no_parameters(planned):
  per_token = planned.per_token
  assert per_token.exchanges > 0
  assert 0 < per_token.largest_bytes < SMALLEST_KERNEL_BYTES
  assert per_token.parameters == ()
  assert "none of which moves parameters" in "\n".join(report.lines(planned))


def test_the_inputs_of_a_plan_are_known_before_compiling(subject, planned):
  made = programs.made_of(subject, 8)
  assert made["resident_bytes"] == planned.resident_bytes
  products = 8 * sum(bound.flops for bound in planned.bounds)
  assert sum(made["flops"].values()) == pytest.approx(products)
  assert programs.made_of(subject, 8) == made
  shorter = dataclasses.replace(subject, prompt_tokens=7)
  assert programs.made_of(shorter, 8)["fingerprint"] != made["fingerprint"]
  narrow = dataclasses.replace(CONFIG, dtype="bfloat16")
  held = programs.made_of(dataclasses.replace(subject, policy=narrow), 8)
  halved = made["resident_bytes"]["reference"] / 2
  wide = held["resident_bytes"]["reference"] - halved
  head = 64 * 128 * 4 // 4  # stays float32, as the position biases do
  assert head / 2 <= wide <= 1.1 * head / 2
  assert held["resident_bytes"]["parameters"] == 2 * halved


def test_a_program_is_compiled_once_per_slice(subject, planned):
  known = {}
  offline = dataclasses.replace(subject.run, source=pairs.Offline("nowhere"))
  cheaper = dataclasses.replace(subject, run=offline)
  topology = plan.Topology.parse("cpu:8")
  first = plan.make(cheaper, topology, known)
  again = plan.make(cheaper, topology, known)
  peak = first.peak_host_bytes
  assert dataclasses.replace(again, peak_host_bytes=peak) == first
  assert first.per_token is None
  step, scoring = first.bounds
  assert len(known) == 2
  assert [step] == [b for b in planned.bounds if b.term == "step"]
  # Online, the reference scores pairs of the same shape.
  (online,) = (b for b in planned.bounds if b.term == "reference")
  assert (scoring.term, scoring.flops) == ("reference", online.flops)


def test_a_judge_that_the_mesh_does_not_divide_is_reported(subject, planned):
  assert planned.undivided == ()
  line = "judge: every chip of the model axis computes all 3 attention heads"
  assert line not in "\n".join(report.lines(planned))
  mesh = plan.mesh_of(subject, plan.Topology.parse("cpu:8"))
  judge = dataclasses.replace(CONFIG, num_heads=3)
  layers = tuple(partitioning.undivided(judge, mesh))
  undivided = dataclasses.replace(planned, undivided=layers)
  assert line in "\n".join(report.lines(undivided))


def test_repeated_work_counts_but_is_not_useful(subject, planned):
  judge = dataclasses.replace(CONFIG, num_heads=3)
  mesh = subject.run.mesh.abstract(8)
  flops = programs.made_of(subject, 8)["flops"]["draw"]
  eight = dataclasses.replace(subject.run, batch_size=8)
  odd = dataclasses.replace(subject, judge=judge)
  assert programs.judge_repeats(CONFIG, mesh) == {}
  scopes = {scope for _, scope in programs.judge_repeats(judge, mesh)}
  assert scopes == {"attention", "self_attention", "encoder_decoder_attention"}
  repeated = programs.made_of(odd, 8)["flops"]["draw"]
  whole = dataclasses.replace(eight, mesh=partitioning.Mesh())
  once = programs.made_of(dataclasses.replace(odd, run=whole), 8)
  once = once["flops"]["draw"] / 2  # of twice the rows
  # Attention of a judge of 3 heads instead of 2, and then all of it again.
  assert flops < once < repeated < 2 * once
  assert planned.useful_flops == pytest.approx(
    8 * sum(bound.flops for bound in planned.bounds)
  )


def test_recomputation_is_not_useful_work(subject):
  offline = dataclasses.replace(subject.run, source=pairs.Replay("nowhere"))
  subject = dataclasses.replace(subject, run=offline)
  policy = dataclasses.replace(subject.policy, remat_policy="full")
  topology = plan.Topology.parse("cpu:8")
  plain, again = (
    plan.make(dataclasses.replace(subject, policy=config), topology)
    for config in (subject.policy, policy)
  )
  assert again.useful_flops == plain.useful_flops
  assert again.bounds[0].flops > 1.2 * plain.bounds[0].flops


def test_a_stale_sampling_policy_takes_memory(subject):
  mesh = subject.run.mesh.abstract(8)

  def resident(**changes):
    source = dataclasses.replace(subject.run.source, **changes)
    run = dataclasses.replace(subject.run, source=source)
    changed = dataclasses.replace(subject, run=run)
    return subjects.resident_bytes(changed, mesh)

  assert "sampled from" not in resident()
  stale = resident(sync_every_steps=4)
  assert stale["sampled from"] == stale["parameters"]
  assert resident(sync_every_steps=None) == stale


def test_recorded_pairs_need_no_reference_scoring(subject):
  replay = dataclasses.replace(subject.run, source=pairs.Replay("nowhere"))
  recorded = dataclasses.replace(subject, run=replay)
  assert set(programs.made_of(recorded, 8)["flops"]) == {"step"}


def test_a_mixture_cannot_be_planned(subject):
  """The sampling and judging of its components would be missing."""
  mixture = pairs.Mixture((subject.run.source,), (1.0,))
  run = dataclasses.replace(subject.run, source=mixture)
  with pytest.raises(errors.UserError, match="Mixture cannot be planned; .*of"):
    dataclasses.replace(subject, run=run)


def test_resident_memory_follows_from_the_shapes(planned):
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
  besides = [
    memory.temporary_bytes + memory.output_bytes
    for memory in planned.program_memory.values()
  ]
  assert planned.needed_bytes == sum(resident.values()) + max(besides)


def test_every_part_of_an_online_step_has_a_bound(planned):
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
  text = "\n".join(report.lines(planned))
  assert "sampling: tokens" in text
  assert "no published peak" in text
  assert re.search(r"step +[\d.]+ +[\d.]+ +[\d.]+\n", text)
  assert "GiB of host memory" in text
  assert json.loads(json.dumps(report.figures(planned)))["fits"]


def _gather(payload, members):
  place = hlo.Place("step", False)
  arguments = ("all-gather", place, 1, len(members), payload, 0)
  return hlo.Collective(*arguments, frozenset(), "", members)


def test_the_bound_is_the_slowest_resource():
  # A ring of four sends three quarters, in both directions.
  gather = _gather(800_000, (0, 1, 2, 3))
  places = tuple((x,) for x in range(4))
  expected = {
    "arithmetic": (2e9, 1_000, [], 2.0),
    "memory": (1e6, 3_000_000, [], 3.0),
    "links": (1e6, 1_000, [gather], 3.0),
  }
  for limit, (flops, moved, sent, seconds) in expected.items():
    bound = summary.bound_of_part("step", flops, moved, sent, CHIP, places)
    assert (bound.limit, bound.seconds) == (limit, seconds)
  # Collectives along different dimensions overlap.
  grid = tuple((x, y) for x in range(4) for y in range(4))
  row, column = (0, 1, 2, 3), (0, 4, 8, 12)
  both = [_gather(800_000, row), _gather(400_000, column)]
  assert summary.bound_of_part("step", 0.0, 0, both, CHIP, grid).seconds == 3.0
  same = [_gather(800_000, row), _gather(400_000, row)]
  assert summary.bound_of_part("step", 0.0, 0, same, CHIP, grid).seconds == 4.5


@pytest.mark.parametrize(
  ("members", "multiple", "seconds"),
  [
    # Of 8 bytes, 6 are sent; a ring's two links carry 2 a second, an open
    # row's middle one 1 each way: half of the 8.
    ((0, 1, 2, 3), 4, {0: 3.0}),
    ((0, 1, 2, 3), 16, {0: 4.0}),
    # Two neighbours have one link.
    ((0, 1), 4, {0: 4.0}),
    # Both dimensions at once: 15 / 16 of 8 bytes over 4 links.
    (tuple(range(16)), 4, {0: 1.875, 1: 1.875}),
    ((), 4, {0: 1.5, 1: 1.5}),
    ((5,), 4, {}),
  ],
)
def test_a_collective_uses_the_links_between_its_chips(
  members, multiple, seconds
):
  places = [(x, y, 0) for y in range(4) for x in range(4)]
  chip = chips.Chip(1.0, 1.0, 1.0, 1.0, 2, multiple)
  # Without members all take part, by however many the group says: here 4.
  group = members or (0, 1, 2, 3)
  exchange = dataclasses.replace(_gather(8, group), members=members)
  assert links.grid_shape(places) == (4, 4, 1)
  assert links.seconds(exchange, chip, places) == pytest.approx(seconds)


@pytest.mark.parametrize(
  ("kind", "sizes", "rings"),
  [
    # Of cubes all rows close or none: Google's "4x4x4 and larger".
    ("v5p", (4, 4, 4), {0, 1, 2}),
    ("v4", (4, 4, 8), {0, 1, 2}),
    ("v5p", (2, 2, 4), set()),
    ("v5p", (2, 4, 4), set()),
    ("v5e", (4, 4, 1), set()),
    ("v6e", (8, 16, 1), {1}),
    ("v5e", (16, 16, 1), {0, 1}),
  ],
)
def test_which_rows_of_a_slice_form_rings(kind, sizes, rings):
  places = list(np.ndindex(*sizes))
  chip = chips.CHIPS[kind]
  for dimension, size in enumerate(sizes):
    row = tuple(
      number
      for number, place in enumerate(places)
      if sum(place) == place[dimension]
    )
    if size > 1:
      # A ring's two links; of an open row, half goes through the middle.
      share = 1 if dimension in rings else (size - 1) / size
      sent = 1e9 * (size - 1) / size
      expected = sent / (2 * share * chip.link_bytes_per_second)
      found = links.seconds(_gather(10**9, row), chip, places)
      assert found == {dimension: pytest.approx(expected)}


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
    useful_flops=16 * 197 * 10**12,
    available_bytes=planned.needed_bytes - 1,
  )
  assert made.step_seconds == 4.0
  assert made.utilisation_at_bound == pytest.approx(0.25)
  assert made.chip_hours == pytest.approx(16.0)
  assert not made.fits
  text = "\n".join(report.lines(made, num_runs=3))
  assert "DOES NOT FIT, 0.00 too much" in text
  assert "0.25 steps/s, 900 steps/h, MFU 25%; 900 steps: 16 chip-hours" in text
  assert "3 such runs: 48" in text
  assert report.figures(made, 3)["study_chip_hours"] == pytest.approx(48.0)
  larger = dataclasses.replace(
    made, topology="v5e:8x8", num_chips=64, available_bytes=made.needed_bytes
  )
  largest = dataclasses.replace(larger, topology="v5e:16x16", num_chips=256)
  assert plan.smallest_that_fits([made, largest, larger]) is larger
  assert plan.smallest_that_fits([made]) is None
  rows = report.table([made, larger])
  assert [row.split()[0] for row in rows] == ["slice", "v5e:4x4", "v5e:8x8"]
  assert [row.split()[4] for row in rows[1:]] == ["NO", "yes"]


def test_a_negative_estimate_of_the_compiler_is_marked(planned):
  made = dataclasses.replace(
    planned, compiler_seconds={"step": -0.5, "draw": 0.25}
  )
  text = "\n".join(report.lines(made))
  assert "step -500 ms (negative: unusable), draw 250 ms" in text


def test_the_compilers_message_about_a_program_too_large():
  message = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in"
    " memory space hbm. Used 20.50G of 15.75G hbm. Exceeded hbm capacity by"
    " 4.75G."
  )
  assert summary.reason_too_large(message) == (
    "the compiler needs 20.5 GiB per chip, 4.8 GiB more than available"
  )
  message = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required"
    " for HLO temporaries (298.12G) exceeds available HBM (30.75G)."
  )
  assert "needs 298.1 GiB per chip, 267.4 GiB more" in summary.reason_too_large(
    message
  )
  assert summary.reason_too_large("INTERNAL: something else") == ""


ONLINE = "--gin_file=gin_configs/runs/online.gin"
SEMI_ONLINE = "--gin_file=gin_configs/runs/semi_online.gin"
MODEL = "--gin_file=gin_configs/models/t5_1_1_large.gin"
HELP = command_plan.__doc__
ON_A_MESH = [ONLINE, "--gin_file=gin_configs/runs/parts/mesh.gin", MODEL]


def _mistake(words, capsys):
  assert main.main(["plan", *words]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  return error


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ([ONLINE, "--topology=v5e"], "expected a kind and its size, such as v5e:4"),
    ([ONLINE, "--topology=v5q:4x4"], "unknown kind v5q, .*did you mean v5"),
    ([*ON_A_MESH, "--topology=gpu:8"], "0 GPU devices; .* the extra .gpu."),
    ([*ON_A_MESH, "--topology=cpu:99"], "8 CPU devices; set XLA_FLAGS="),
    (
      [ONLINE, MODEL, "--topology=cpu:8"],
      "without a mesh a run uses only one of 8 devices; add --gin_file=",
    ),
    ([ONLINE, "--topology=v5e:0x4"], "sizes of 1 or more, such as v5e:4x4"),
    ([ONLINE, "--topology=v5p:4x0x4"], "1 or more, such as v5p:4x4x4$"),
    (
      [ONLINE, "--topology=v5e:4x4x4"],
      "a slice of v5e has 2 dimensions, got 3; such as v5e:4x4$",
    ),
    ([ONLINE, "--topology=v4:2x2"], "3 dimensions, got 2; such as v4:4x4x4$"),
    (
      [ONLINE, "--topology=v6e:16x32"],
      "expected at most 16x16, the largest slice of v6e; such as v6e:4x4$",
    ),
    ([ONLINE, "--topology=cpu:8"], "architecture is unknown; add --gin_file="),
    (
      [SEMI_ONLINE, MODEL, "--topology=cpu:8"],
      "plan: SYNC_EVERY_STEPS must be set: add --gin.SYNC_EVERY_STEPS=...$",
    ),
    (
      [*ON_A_MESH, "--topology=cpu:8", "--gin.DROPOUT_RATE=2.0"],
      r"plan: dropout_rate=2.0 is not in \[0, 1\)$",
    ),
    (
      [*ON_A_MESH, "--topology=cpu:8", "--gin.description.Run.dtype=int8"],
      "Run.dtype: dtype='int8'; expected one of float32, bfloat16$",
    ),
    (
      [*ON_A_MESH, "--topology=cpu:8", "--runs=0"],
      "--runs=0; expected a whole number, 1 or more",
    ),
    (
      [*ON_A_MESH, "--topology=cpu:6", "--gin.NUM_PARTITIONS=4"],
      "fsdp=1 x model=4 does not multiply out to the 6 devices",
    ),
    (
      [*ON_A_MESH, "--topology=cpu:6", "--gin.NUM_PARTITIONS=3"],
      "model=3 does not divide the model's 16 attention heads",
    ),
    (
      [*ON_A_MESH, "--topology=cpu:8", "--gin.BATCH_SIZE=12"],
      "a batch of 12 rows .* cannot be split over data=8",
    ),
  ],
)
def test_mistakes_are_one_line(words, message, capsys):
  assert re.search(message, _mistake(words, capsys))


def test_all_slices_are_checked_before_any_is_compiled(monkeypatch, capsys):
  def compile_nothing(*arguments):
    raise AssertionError("compiled although a slice is wrong")

  monkeypatch.setattr(plan, "make", compile_nothing)
  words = [*ON_A_MESH, "--gin.NUM_PARTITIONS=4", "--gin.BATCH_SIZE=2"]
  error = _mistake([*words, "--topology=cpu:8", "--topology=cpu:6"], capsys)
  assert "to the 6 devices" in error


def test_every_slice_in_the_documentation_parses():
  folder = gin_sources.ROOT
  suffixes = ("gin", "md", "json")
  pages = [
    page
    for place in ("gin_configs", "docs")
    for suffix in suffixes
    for page in folder.glob(f"{place}/**/*.{suffix}")
  ]
  text = "\n".join(page.read_text() for page in pages)
  names = set(re.findall(rf"\b(?:{'|'.join(chips.CHIPS)}):\d+(?:x\d+)*", text))
  assert names >= {"v5e:4x4", "v5p:2x2x4", "v5p:4x4x4", "v5e:16x16"}
  for name in names:
    assert plan.Topology.parse(name).num_chips >= 16


def test_without_libtpu_the_extra_is_named(monkeypatch, capsys):
  monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: None)
  error = _mistake([*ON_A_MESH, "--topology=v5e:4x4"], capsys)
  assert 'pip install -e ".[tpu]"' in error


def test_a_slice_that_the_tpu_compiler_does_not_know(capsys):
  pytest.importorskip("libtpu", reason="the extra [tpu] is not installed")
  error = _mistake([*ON_A_MESH, "--topology=v5e:3x9"], capsys)
  assert "--topology=v5e:3x9: the TPU compiler does not know this" in error


def test_sampling_on_a_tpu_moves_no_parameters(subject):
  pytest.importorskip("libtpu", reason="the extra [tpu] is not installed")
  run = dataclasses.replace(subject.run, dtype="bfloat16")
  policy = dataclasses.replace(subject.policy, dtype="bfloat16")
  planned = plan.make(
    dataclasses.replace(subject, run=run, policy=policy),
    plan.Topology.parse("v5e:2x4"),
  )
  assert planned.fits
  assert planned.per_token.exchanges > 0
  assert planned.per_token.parameters == ()
  assert planned.step_seconds > 0


def test_moving_parameters_while_sampling_is_reported(planned):
  mlp = 64 * 128
  inside, outside = hlo.Place("sampling", True), hlo.Place("sampling", False)

  def exchange(place, size, turns):
    return hlo.Collective(
      "all-gather", place, turns, 2, 4 * size, 2 * size, frozenset({size}), "wo"
    )

  def found(*exchanges):
    draw = programs.Compiled(
      "draw",
      programs.Memory(0, 0, 0),
      4,
      0.0,
      {},
      0,
      hlo.Traffic({}, exchanges),
      0.0,
    )
    return summary.count_per_token([draw], frozenset({mlp, mlp // 2}))

  small = exchange(inside, 2 * 64, 4 * 3)
  once = exchange(outside, mlp, 1)
  assert found(small, once) == summary.PerToken(3, 4 * 2 * 64, ())
  moving = found(small, once, exchange(inside, mlp // 2, 4))
  assert moving == summary.PerToken(4, 2 * mlp, ("all-gather for wo",))
  made = dataclasses.replace(planned, per_token=moving)
  text = "\n".join(report.lines(made))
  assert "MOVES PARAMETERS 1 times: all-gather for wo" in text


def test_the_example_in_the_help_is_complete(monkeypatch):
  """Checked up to compilation: no required setting is missing."""
  seen = []
  monkeypatch.setattr(command_plan, "_make_virtual_devices", lambda _: None)
  monkeypatch.setattr(plan, "mesh_of", lambda *_: None)
  monkeypatch.setattr(plan, "make", lambda *given: seen.append(given))
  monkeypatch.setattr(report, "lines", lambda found, num_runs: [])
  example = re.search(r"rlhf-gap plan ((?:\\\n|[^\n])*)", HELP)[1]
  assert main.main(["plan", *example.replace("\\\n", "").split()]) == 0
  ((subject, topology),) = seen
  assert (subject.policy.emb_dim, topology.name) == (1024, "v5e:4x4")
  # As the page of plans has it: with a mesh that the slice can have.
  mesh = subject.run.mesh.abstract(topology.num_chips)
  partitioning.check_model(subject.policy, mesh)
  partitioning.check_batch(subject.run.batch_size, 1, mesh)


def test_a_model_bound_without_the_macro_is_planned(monkeypatch, tmp_path):
  """`description.Run.model` is bound directly, without MODEL."""
  seen = []
  monkeypatch.setattr(plan, "make", lambda *given: seen.append(given))
  monkeypatch.setattr(report, "lines", lambda found, num_runs: [])
  sizes = {**dataclasses.asdict(CONFIG), "emb_dim": 96}
  own = [
    "from __gin__ import dynamic_registration",
    "from rlhf_gap.models import t5",
    "from rlhf_gap.training import description",
    "description.Run.model = @t5.T5Config()",
    "t5.T5Config:",
    *(f"  {name} = {value!r}" for name, value in sizes.items()),
  ]
  (tmp_path / "own.gin").write_text("\n".join(own))
  files = ["gin_configs/runs/pretrain.gin", tmp_path / "own.gin"]
  words = [f"--gin_file={file}" for file in files]
  assert main.main(["plan", *words, "--topology=cpu:1"]) == 0
  ((subject, _),) = seen
  assert subject.policy.emb_dim == 96


def test_a_run_file_with_its_mesh_and_a_models_size(monkeypatch):
  """Checked up to compilation."""
  seen = []
  monkeypatch.setattr(
    plan, "make", lambda subject, topology: seen.append(subject)
  )
  monkeypatch.setattr(report, "lines", lambda found, num_runs: [])
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
