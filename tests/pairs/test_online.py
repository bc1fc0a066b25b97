"""Sampled pairs: whose they are, when they repeat, and what is recorded."""

import dataclasses

import jax
import numpy as np
import pytest

from rlhf_gap import errors, pairs, stores
from rlhf_gap.inference import judge, sample
from rlhf_gap.pairs.recording import columns_of
from tests.evaluation import tiny
from tests.training import ingredients

pytestmark = pytest.mark.slow

SIZE = 6
SAMPLING = pairs.Sampling(max_length=tiny.LENGTHS["response"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Prompts, a judge and a policy."""
  base = tmp_path_factory.mktemp("online")
  ingredients.write(base / "prompts", "prompts")
  for number, name in enumerate(("judge", "policy", "other")):
    tiny.save(base / name, tiny.params(number), 10 * number)
  return base


@pytest.fixture
def context():
  identity = stores.CheckpointIdentity("reference", "mine", 0)
  reference = pairs.Reference(tiny.CONFIG, tiny.params(1), identity)
  return pairs.Context(tiny.CONFIG, reference, SIZE, seed=3)


def _online(folder, **changes):
  spec = pairs.Online(str(folder / "prompts"), str(folder / "judge"), SAMPLING)
  return dataclasses.replace(spec, **changes)


def _policies(count):
  """A policy that moves a little at every step."""
  ends = tiny.params(1), tiny.params(2)
  return [tiny.moved(*ends, 0.1 * t) for t in range(count)]


def _draws(source, policies):
  return [source.fetch(t, params) for t, params in enumerate(policies)]


def _same(one, other):
  return all(
    np.array_equal(a, b) for a, b in zip(one.batch, other.batch, strict=True)
  )


def _loaded(source_spec, context, step):
  """Samples and judges a step's pairs by the public parts, one by one."""
  prompts = stores.open(source_spec.prompts)
  rows = stores.rows(
    stores.Epochs(),
    context.seed,
    step,
    num_rows=prompts.num_rows,
    batch_size=SIZE,
  )
  return prompts.read(rows)


def test_online_pairs_are_two_samples_and_the_judges_verdict(folder, context):
  spec = _online(folder)
  params = tiny.params(2)
  draw = spec.open(context).fetch(5, params)
  values = _loaded(spec, context, 5)
  prompt = jax.numpy.asarray(values["prompt_tokens"])
  key = jax.random.fold_in(jax.random.key(context.seed), 5)
  drawn = sample.sample(
    tiny.CONFIG,
    params,
    prompt,
    jax.random.fold_in(key, 0),
    num_samples=2,
    max_length=SAMPLING.max_length,
  ).tokens
  words = judge.words_of(stores.open(spec.prompts).manifest.vocabulary)
  length = tiny.LENGTHS["prompt"] + 2 * SAMPLING.max_length
  length += len(words.response_a) + len(words.response_b) + 1
  verdict = judge.compare(
    tiny.CONFIG,
    tiny.params(0),
    words,
    prompt,
    drawn[:, 0],
    drawn[:, 1],
    length=length,
  )
  batch, (first, second) = draw.batch, np.moveaxis(np.asarray(drawn), 1, 0)
  np.testing.assert_array_equal(batch.prompt, prompt)
  wins = np.asarray(verdict.label) > 0.5
  assert len(set(wins)) == 2  # both orders are met
  np.testing.assert_array_equal(
    batch.chosen, np.where(wins[:, None], first, second)
  )
  np.testing.assert_array_equal(
    batch.rejected, np.where(wins[:, None], second, first)
  )
  np.testing.assert_array_equal(draw.provenance.chosen_sample, ~wins)
  assert (np.asarray(batch.probability) > 0.5).all()
  np.testing.assert_array_equal(draw.provenance.prompt_id, values["prompt_id"])
  assert (draw.provenance.sampling_step, draw.provenance.policy_step) == (5, 5)


def test_a_restart_draws_the_same_pairs(folder, context):
  policies = _policies(3)
  whole = _draws(_online(folder).open(context), policies)
  restarted = _online(folder).open(context, start_step=2)
  assert _same(restarted.fetch(2, policies[2]), whole[2])
  assert not _same(whole[1], whole[2])


def test_the_sampler_lags_behind_until_it_is_synced(folder, context):
  policies = _policies(6)
  online = _draws(_online(folder).open(context), policies)
  source = _online(folder, sync_every_steps=3).open(context)
  lagging = _draws(source, policies)
  assert [d.provenance.policy_step for d in lagging] == [0, 0, 0, 3, 3, 3]
  # The sampled tokens are the synced policy's own at that step's key.
  for step in range(6):
    synced = _online(folder).open(context).fetch(step, policies[step // 3 * 3])
    assert _same(lagging[step], synced)
  assert not _same(lagging[5], online[5])
  restored = _online(folder, sync_every_steps=3).open(context, start_step=5)
  restored.restore(source.state())
  assert _same(restored.fetch(5, policies[0]), lagging[5])


def test_never_synced_draws_what_the_initial_policy_generates(folder, context):
  once = _online(folder, sync_every_steps=None).open(context)
  path = str(folder / "policy")
  generated = pairs.Generated(
    path, path, str(folder / "prompts"), str(folder / "judge"), SAMPLING
  ).open(context)
  for step, params in enumerate(_policies(3)):
    assert _same(once.fetch(step, params), generated.fetch(step, {}))


def test_two_policies_each_write_one_side(folder, context):
  def drawn(first, second):
    spec = pairs.Generated(
      str(folder / first),
      str(folder / second),
      str(folder / "prompts"),
      str(folder / "judge"),
      SAMPLING,
    )
    return spec.open(context).fetch(0, {})

  def sides(draw):
    """Tokens by which sample they are, whatever the judge said."""
    chosen = np.asarray(draw.provenance.chosen_sample)[:, None] == 0
    one, other = np.asarray(draw.batch.chosen), np.asarray(draw.batch.rejected)
    return np.where(chosen, one, other), np.where(chosen, other, one)

  mixed = drawn("policy", "other")
  assert mixed.provenance.policy_step == stores.NO_POLICY
  reversed_ = drawn("other", "policy")
  for mine, theirs in zip(sides(mixed), sides(reversed_), strict=True):
    assert not np.array_equal(mine, theirs)


def test_later_passes_repeat_the_blocks_pairs(folder, context):
  source = _online(folder, sync_every_steps=4, passes=2).open(context)
  draws = _draws(source, _policies(8))
  for first in (0, 4):
    assert _same(draws[first + 2], draws[first])
    assert _same(draws[first + 3], draws[first + 1])
  for one in (0, 1, 4):
    assert not _same(draws[one], draws[one + 1])
  assert not _same(draws[0], draws[4])
  repeated, fresh = columns_of(draws[6]), columns_of(draws[4])
  np.testing.assert_array_equal(repeated["chosen_seed"], fresh["chosen_seed"])
  # Two blocks of two fresh batches: four batches of prompts.
  assert [d.provenance.sampling_step for d in draws] == [0, 1, 0, 1, 2, 3, 2, 3]


@pytest.mark.parametrize(
  ("every", "passes", "expected"),
  [
    (0, 1, "sync_every_steps=0"),
    (4, 3, "passes=3 does not divide"),
    (None, 2, "passes=2 does not divide"),
    (4, 0, "passes=0; expected a whole number"),
  ],
)
def test_settings_that_make_no_sense(folder, every, passes, expected):
  with pytest.raises(errors.UserError, match=expected):
    _online(folder, sync_every_steps=every, passes=passes)


def test_what_is_recorded_is_what_was_drawn(folder, context, tmp_path):
  source = _online(folder).open(context)
  draws = _draws(source, _policies(4))
  recorder = pairs.record(source, str(tmp_path / "pairs"))
  for step, draw in enumerate(draws):
    recorder.append(step, draw)
  recorder.finish()
  store = stores.open(str(tmp_path / "pairs"))
  assert store.manifest.complete
  assert store.manifest.chunk_rows == SIZE
  assert store.manifest.label.by == "judge"
  assert store.manifest.reference.sha256 == "mine"
  for step, draw in enumerate(draws):
    rows = range(step * SIZE, (step + 1) * SIZE)
    stored, batch = store.read(rows), draw.batch
    for name, value in (
      ("prompt_tokens", batch.prompt),
      ("chosen_tokens", batch.chosen),
      ("rejected_tokens", batch.rejected),
      ("chosen_reference_log_prob", batch.chosen_reference),
      ("rejected_reference_log_prob", batch.rejected_reference),
      ("judge_r12", batch.judge_r12),
      ("judge_r21", batch.judge_r21),
      ("weight", batch.weight),
      ("prompt_id", draw.provenance.prompt_id),
      ("policy_step", [step] * SIZE),
    ):
      np.testing.assert_array_equal(stored[name], value)
    numbers = 2 * (step * SIZE + np.arange(SIZE))
    won = np.asarray(draw.provenance.chosen_sample)
    np.testing.assert_array_equal(stored["chosen_seed"], numbers + won)
    np.testing.assert_array_equal(stored["rejected_seed"], numbers + 1 - won)
    for side, flag in (
      ("chosen", stores.Truncated.CHOSEN),
      ("rejected", stores.Truncated.REJECTED),
    ):
      full = stored[f"{side}_tokens"][:, -1]
      cut = (stored["truncated"] & flag) > 0
      np.testing.assert_array_equal(cut, full > 1)


def test_only_sampled_pairs_are_recorded(folder, context, tmp_path):
  store = ingredients.write(tmp_path / "pairs", "pairs")
  source = pairs.Offline(store).open(context)
  with pytest.raises(errors.UserError, match="only sampled pairs are recorded"):
    pairs.record(source, str(tmp_path / "record"))


def test_a_judge_whose_window_is_too_small(folder, context):
  sampling = dataclasses.replace(SAMPLING, judge_length=17)
  with pytest.raises(errors.UserError, match="judge_length=17 cannot hold"):
    _online(folder, sampling=sampling).open(context)


def test_generated_by_another_architecture(folder, context, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, emb_dim=16)
  wide = tiny.save(tmp_path / "wide", tiny.params(0, config), config=config)
  spec = pairs.Generated(
    str(folder / "policy"),
    wide,
    str(folder / "prompts"),
    str(folder / "judge"),
    SAMPLING,
  )
  with pytest.raises(
    errors.UserError, match="wide has a different architecture"
  ):
    spec.open(context)
