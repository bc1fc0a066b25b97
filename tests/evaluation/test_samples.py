"""Samples: drawn once, the same however they are drawn, kept with care."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, stores
from rlhf_gap.evaluation import batches, models, samples
from rlhf_gap.inference import score
from tests.evaluation import tiny


@pytest.fixture(scope="module")
def store(tmp_path_factory):
  return tiny.prompts(tmp_path_factory.mktemp("prompts") / "store")


@pytest.fixture(scope="module")
def policy():
  params = tiny.params(0)
  return models.Model(
    tiny.CONFIG, params, stores.CheckpointIdentity("p", "ab", 7)
  )


def _plan(store, num_prompts=20, num_seconds=10, role="policy", **changes):
  prompts = samples.choose_prompts(store, num_prompts, 0)
  settings = {"max_length": 6, "batch_size": 8, "seed": 0, **changes}
  return samples.Plan(prompts, num_seconds, role=role, **settings)


def _draw(path, policy, plan):
  seen = []
  using = batches.Batches(plan.batch_size, seen.append)
  return samples.sample_missing(str(path), policy, plan, using), seen


def _all(store):
  return store.read(range(store.num_rows))


def test_the_order_of_prompts_is_seeded(store):
  twenty = samples.choose_prompts(store, 20, 0)
  ten = samples.choose_prompts(store, 10, 0)
  np.testing.assert_array_equal(ten.rows, twenty.rows[:10])
  np.testing.assert_array_equal(ten.tokens, twenty.tokens[:10])
  assert len(set(twenty.rows.tolist())) == 20
  stored = stores.open(store).read(twenty.rows)
  np.testing.assert_array_equal(stored["prompt_tokens"], twenty.tokens)
  assert samples.choose_prompts(store, 20, 1).rows.tolist() != (
    twenty.rows.tolist()
  )
  assert ten.fingerprint != twenty.fingerprint


@pytest.mark.parametrize("count", [0, 1, 41])
def test_more_prompts_than_there_are(store, count):
  with pytest.raises(errors.UserError, match="holds 40 prompts.*2 to 40"):
    samples.choose_prompts(store, count, 0)


def test_rows_are_first_samples_then_second_ones(tmp_path, store, policy):
  plan = _plan(store)
  drawn, seen = _draw(tmp_path / "drawn", policy, plan)
  assert (drawn.num_rows, sum(seen)) == (30, 30)
  values = _all(drawn)
  assert values["draw"].tolist() == [0] * 20 + [1] * 10
  rows = np.concatenate([plan.prompts.rows, plan.prompts.rows[:10]])
  np.testing.assert_array_equal(values["prompt_row"], rows)
  np.testing.assert_array_equal(
    values["prompt_tokens"], stores.open(store).read(rows)["prompt_tokens"]
  )
  first, second = (samples.responses(drawn, 10, n) for n in (0, 1))
  np.testing.assert_array_equal(first, values["response_tokens"][:10])
  np.testing.assert_array_equal(second, values["response_tokens"][20:])
  assert (first != second).any(axis=1).mean() > 0.8
  scores = jax.jit(score.token_log_probs, static_argnums=0)(
    policy.config,
    policy.params,
    jnp.asarray(values["prompt_tokens"]),
    jnp.asarray(values["response_tokens"]),
  )
  np.testing.assert_allclose(values["token_log_probs"], scores, atol=1e-5)


def test_a_sample_depends_on_its_prompt_alone(tmp_path, store, policy):
  """Not on the batch size, nor on how many prompts are sampled."""
  one, _ = _draw(tmp_path / "one", policy, _plan(store))
  other, _ = _draw(
    tmp_path / "other", policy, _plan(store, 40, 5, batch_size=32)
  )
  for number, count in ((0, 20), (1, 5)):
    np.testing.assert_array_equal(
      *(samples.responses(drawn, count, number) for drawn in (one, other))
    )


def test_roles_and_seeds_are_independent(tmp_path, store, policy):
  plans = [
    *(_plan(store, role=r) for r in ("policy", "golden_policy", "reference")),
    _plan(store, seed=1),
  ]
  drawn = [
    samples.responses(_draw(tmp_path / str(n), policy, plan)[0], 20)
    for n, plan in enumerate(plans)
  ]
  for n, one in enumerate(drawn):
    for other in drawn[:n]:
      assert (one == other).all(axis=1).mean() < 0.3


def test_another_plan_or_checkpoint_has_another_folder(store, policy):
  plan = _plan(store)
  other = dataclasses.replace(policy.checkpoint, sha256="cd")
  moved = dataclasses.replace(policy.checkpoint, path="elsewhere")
  folders = [
    plan.folder(policy.checkpoint),
    plan.folder(other),
    _plan(store, role="reference").folder(policy.checkpoint),
    _plan(store, seed=1).folder(policy.checkpoint),
    _plan(store, num_seconds=9).folder(policy.checkpoint),
    _plan(store, num_prompts=21).folder(policy.checkpoint),
    _plan(store, max_length=5).folder(policy.checkpoint),
    _plan(store, batch_size=7).folder(policy.checkpoint),
  ]
  assert len(set(folders)) == len(folders)
  assert plan.folder(moved) == folders[0]


def test_sampling_goes_on_where_it_stopped(tmp_path, store, policy):
  plan = _plan(store)
  whole, _ = _draw(tmp_path / "whole", policy, plan)
  path = str(tmp_path / "broken")

  def interrupt(rows):
    if rows and stores.open(path).num_rows >= 16:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    samples.sample_missing(path, policy, plan, batches.Batches(8, interrupt))
  assert stores.open(path).num_rows == 16
  assert not samples.is_complete(path)
  again, seen = _draw(path, policy, plan)
  assert seen == [16, 8, 6]
  assert samples.is_complete(path)
  assert again.manifest == whole.manifest
  for name, value in _all(whole).items():
    np.testing.assert_array_equal(_all(again)[name], value)


def test_evaluations_side_by_side_read_what_is_drawn(tmp_path, store, policy):
  """None of them becomes its writer, who would tell the others to stop."""
  plan = _plan(store)
  path = tmp_path / "shared"
  _draw(path, policy, plan)
  before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
  again, seen = _draw(path, policy, plan)
  assert (again.num_rows, seen) == (30, [30])
  assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
  with pytest.raises(errors.UserError, match="holds another store"):
    _draw(path, policy, _plan(store, seed=1))


def test_a_policy_that_has_diverged(tmp_path, store, policy):
  params = tiny.params(0)
  mlp = params["decoder"]["layers_0"]["mlp"]["wo"]
  mlp["kernel"] = mlp["kernel"] * np.float32(np.nan)
  broken = dataclasses.replace(policy, params=params)
  expected = "p: logits are not finite at step 0.*decoder/layers_0/mlp/wo"
  with pytest.raises(errors.UserError, match=expected):
    _draw(tmp_path / "out", broken, _plan(store))


def test_samples_of_others_are_taken_if_they_fit(tmp_path, store, policy):
  plan = _plan(store, num_seconds=0, role="golden_policy")
  more = _plan(store, 30, 0, role="golden_policy")
  path = str(tmp_path / "golden")
  _draw(path, policy, more)
  drawn = samples.open_existing(path, plan)
  assert samples.responses(drawn, 20).shape == (20, 6)
  for changed, expected in (
    (_plan(store, 31, 0, "golden_policy"), "a sample of each of the 31"),
    (_plan(store, 20, 0, "reference"), "expected samples of the reference"),
    (_plan(store, 20, 0, "golden_policy", max_length=5), "--max_length=5"),
  ):
    with pytest.raises(errors.UserError, match=expected):
      samples.open_existing(path, changed)
  reordered = dataclasses.replace(
    plan, prompts=samples.choose_prompts(store, 20, 5)
  )
  with pytest.raises(errors.UserError, match="does not hold a sample of each"):
    samples.open_existing(path, reordered)
  with pytest.raises(errors.UserError, match="expected samples of the golden"):
    samples.open_existing(store, plan)
  assert os.listdir(tmp_path) == ["golden"]
