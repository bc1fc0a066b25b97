"""A run on eight devices computes what a run on one does."""

import dataclasses

import jax
import numpy as np
import pytest

from rlhf_gap import errors, pairs, partitioning, stores
from rlhf_gap.training import configured, objectives, run, saving
from tests.evaluation import tiny
from tests.training import ingredients

pytestmark = pytest.mark.slow

MESHES = {
  "rows": partitioning.Mesh(data=4, model=2),
  "all axes": partitioning.Mesh(data=2, fsdp=2, model=2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("mesh")
  tiny.save(root / "policy", tiny.params(0))
  tiny.save(root / "judge", tiny.params(1))
  ingredients.write(root / "prompts", "prompts")
  ingredients.write(root / "pairs", "pairs")
  return root


def _online(folder, **changes):
  sampling = pairs.Sampling(max_length=tiny.LENGTHS["response"])
  paths = str(folder / "prompts"), str(folder / "judge")
  return pairs.Online(*paths, sampling, **changes)


def _train(folder, name, source, **changes):
  described = ingredients.describe(
    folder / name, source, initial=str(folder / "policy"), **changes
  )
  return run.train(described)


def _losses(folder):
  return [line["train/loss"] for line in ingredients.lines(folder)]


@pytest.fixture(scope="module")
def alone(folder):
  """The folder of an online run on one device; it records its pairs."""
  _train(folder, "alone", _online(folder), record=True)
  return folder / "alone"


@pytest.mark.parametrize("shape", MESHES)
def test_online_losses_samples_and_stores_are_those_of_one_device(
  folder, alone, shape
):
  mesh = MESHES[shape]
  _train(folder, shape, _online(folder), record=True, mesh=mesh)
  np.testing.assert_allclose(_losses(folder / shape), _losses(alone), rtol=1e-5)
  one, many = (
    stores.open(str(path / "pairs")) for path in (alone, folder / shape)
  )
  assert one.num_rows == many.num_rows == 24
  found = [store.read(range(24)) for store in (one, many)]
  for name, expected in found[0].items():
    np.testing.assert_allclose(found[1][name], expected, rtol=1e-5, atol=1e-6)
    if expected.dtype != np.float32:
      np.testing.assert_array_equal(found[1][name], expected)


def test_a_judge_that_the_mesh_does_not_divide_judges_as_on_one_device(folder):
  """Three heads over two devices: each computes them all."""
  config = dataclasses.replace(tiny.CONFIG, num_heads=3)
  judge = tiny.save(folder / "odd", tiny.params(2, config), config=config)
  source = dataclasses.replace(_online(folder), judge=judge)
  settings = {"record": True, "train_steps": 2}
  _train(folder, "odd alone", source, **settings)
  _train(folder, "odd spread", source, mesh=MESHES["all axes"], **settings)
  one, many = (
    stores.open(str(folder / name / "pairs")).read(range(8))
    for name in ("odd alone", "odd spread")
  )
  for name in ("judge_r12", "judge_r21", "chosen_reference_log_prob"):
    np.testing.assert_allclose(many[name], one[name], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(many["chosen_tokens"], one["chosen_tokens"])


def test_nothing_is_moved_between_the_steps(folder):
  """The state comes out of a step where it went in; the batch as it is read."""
  mesh = MESHES["all axes"]
  outcome = _train(folder, "places", _online(folder), mesh=mesh, train_steps=2)
  made = mesh.make()
  optimizer = configured.AdamW(configured.LearningRate(1.0)).make()
  expected = run.step.shardings_of(tiny.CONFIG, optimizer, made)
  same = jax.tree.map(
    lambda x, place: x.sharding.is_equivalent_to(place, x.ndim),
    outcome.state,
    expected,
  )
  assert all(jax.tree.leaves(same))
  kernel = outcome.state.params["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
  assert kernel.sharding.shard_shape(kernel.shape) == (4, 8)  # of 8 x 16


def test_a_run_goes_on_with_another_mesh(folder):
  """Semi-online, so that the lagging sampler has to find its place too."""
  source = _online(folder, sync_every_steps=4)
  settings = {"optimizer": configured.Adafactor(configured.LearningRate(1e-3))}
  _train(folder, "straight", source, **settings)
  for steps, mesh in ((3, MESHES["all axes"]), (6, MESHES["rows"])):
    _train(folder, "moved", source, mesh=mesh, train_steps=steps, **settings)
  moved, straight = (folder / name for name in ("moved", "straight"))
  np.testing.assert_allclose(_losses(moved), _losses(straight), rtol=1e-5)
  assert saving.steps_in(str(moved)) == [0, 3, 6]


def test_a_run_goes_on_without_a_mesh(folder):
  """All that it remembers moves to the one device: eight need not be there."""
  source = _online(folder, sync_every_steps=4)
  settings = {"reference_every_steps": 4}
  _train(folder, "one", source, **settings)
  mesh = MESHES["all axes"]
  _train(folder, "left", source, mesh=mesh, train_steps=3, **settings)
  path = saving.path_of(str(folder / "left"), 3)
  optimizer = configured.AdamW(configured.LearningRate(1.0)).make()
  restored = saving.restore(path, tiny.CONFIG, optimizer)
  assert set(restored[1]) == {"sampler", "reference"}
  devices = {x.device for x in jax.tree.leaves(restored)}
  assert devices == {jax.devices()[0]}
  _train(folder, "left", source, **settings)
  np.testing.assert_allclose(
    _losses(folder / "left"), _losses(folder / "one"), rtol=1e-5
  )


def test_offline_on_a_mesh_in_microbatches(folder):
  source = pairs.Offline(str(folder / "pairs"))
  settings = {"train_steps": 3, "batch_size": 8, "num_microbatches": 2}
  _train(folder, "offline", source, **settings)
  _train(folder, "spread", source, mesh=MESHES["all axes"], **settings)
  np.testing.assert_allclose(
    _losses(folder / "spread"), _losses(folder / "offline"), rtol=1e-5
  )


@pytest.mark.parametrize(
  ("mesh", "message"),
  [
    (partitioning.Mesh(fsdp=2, data=1), "does not multiply out to the 8"),
    (partitioning.Mesh(model=4), "model=4 does not divide the model's 2 att"),
    (partitioning.Mesh(), "batch of 4 rows in 1 microbatches cannot be split"),
  ],
)
def test_a_mesh_that_does_not_fit_is_told_before_anything_is_written(
  folder, mesh, message
):
  source = pairs.Offline(str(folder / "pairs"))
  with pytest.raises(errors.UserError, match=message):
    _train(folder, "unfit", source, mesh=mesh)
  assert not (folder / "unfit").exists()


def test_new_parameters_that_a_mesh_does_not_divide_are_told_as_early(folder):
  described = ingredients.describe(
    folder / "new",
    pairs.Responses(ingredients.write(folder / "responses", "sft")),
    objective=objectives.Sft(),
    model=tiny.CONFIG,
    mesh=partitioning.Mesh(model=4),
  )
  with pytest.raises(errors.UserError, match="model=4 does not divide the mod"):
    run.train(described)
  assert not (folder / "new").exists()
