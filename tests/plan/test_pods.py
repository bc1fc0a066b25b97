"""The settings for pod slices, and the committed plans that chose them."""

import json
import pathlib
import re

import pytest

from rlhf_gap import partitioning, plan
from rlhf_gap.cli import gin_files
from rlhf_gap.training import description

ROOT = pathlib.Path(__file__).parents[2]
PARTS = ROOT / "gin_configs" / "runs" / "parts"
# The paper's, of policies; the golden preference model's is twice XXL's.
BATCH_SIZES = {"large": 32, "xl": 16, "xxl": 8}
RUNS = ("sft", "preference", "offline", "online")


def _described(run, size, *bindings):
  files = [
    f"gin_configs/runs/{run}.gin",
    f"gin_configs/runs/parts/{size}_pod.gin",
    f"gin_configs/models/t5_1_1_{size}.gin",
  ]
  gin_files.parse(files, bindings)
  given = [f"{name} = '/nowhere'" for name in gin_files.required_macros()]
  gin_files.parse(files, [*bindings, *given])
  model = gin_files.macro("MODEL")
  run = gin_files.construct(description.Run, files, [*bindings, *given])
  return run, model


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_the_slices_that_a_header_names_take_every_run(size):
  text = (PARTS / f"{size}_pod.gin").read_text()
  header = text[: text.index("from __gin__")].replace("\n# ", " ")
  slices = re.findall(
    r"\b(v\w+:\d+(?:x\d+)+)(?: with NUM_PARTITIONS=(\d+))?", header
  )
  assert slices
  for run in RUNS:
    bindings = [f"BATCH_SIZE = {BATCH_SIZES[size]}"]
    if size == "large" and run in ("sft", "preference"):
      assert "sft.gin and preference.gin take NUM_MICROBATCHES=4" in header
      bindings.append("NUM_MICROBATCHES = 4")
    for name, ways in slices:
      other = [f"NUM_PARTITIONS = {ways}"] if ways else []
      described, model = _described(run, size, *bindings, *other)
      assert described.dtype == "bfloat16"
      topology = plan.Topology.parse(name)
      mesh = described.mesh.abstract(topology.num_chips)
      partitioning.check_model(model, mesh)
      partitioning.check_batch(
        described.batch_size, described.num_microbatches, mesh
      )


@pytest.fixture(scope="module")
def rows():
  found = json.loads((ROOT / "gin_configs" / "runs" / "plans.json").read_text())
  return {row["name"]: row["plan"] for row in found}


def test_every_planned_experiment_fits_its_slice(rows):
  assert [name for name, row in rows.items() if not row["fits"]] == []


def test_no_experiment_moves_parameters_for_a_sampled_token(rows):
  sampling = [row["per_token"] for row in rows.values() if row["per_token"]]
  assert sampling
  assert all(found["parameters"] == [] for found in sampling)
  assert all(found["exchanges"] > 0 for found in sampling)


def test_large_online_is_ten_times_as_fast_as_reported(rows):
  """Calandriello et al. 2024: about 0.25 steps/s on v5e 4x4, batch 32."""
  row = rows["large_online"]
  assert (row["topology"], row["fits"]) == ("v5e:4x4", True)
  assert 1 / row["step_seconds"] >= 2.5
  assert {bound["term"] for bound in row["bounds"]} == {
    "sampling: prompts",
    "sampling: tokens",
    "judging",
    "reference",
    "step",
  }
