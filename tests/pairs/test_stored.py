"""Pairs from stores: their order, their labels, their reference scores."""

import collections
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, pairs, stores
from rlhf_gap.models import t5
from tests.evaluation import tiny
from tests.training import ingredients

SIZE = 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  """Twenty-four pairs that nobody scored, recorded in batches of four."""
  folder = tmp_path_factory.mktemp("pairs") / "store"
  return ingredients.write(folder, "pairs", chunk_rows=SIZE)


def _context(reference=None, seed=5):
  return pairs.Context(tiny.CONFIG, reference, SIZE, seed)


def _reference(seed=0, sha256="mine"):
  identity = stores.CheckpointIdentity("reference", sha256, 0)
  return pairs.Reference(tiny.CONFIG, tiny.params(seed), identity)


def _prompts(spec, steps, **context):
  source = spec.open(_context(**context))
  return [np.asarray(source.fetch(t, None).batch.prompt) for t in steps]


def test_offline_takes_the_rows_that_the_seeded_order_names(path):
  stored = stores.open(path).read(range(ingredients.ROWS))
  source = pairs.Offline(path).open(_context())
  for step in range(8):  # over the end of an epoch
    batch = source.fetch(step, None).batch
    rows = stores.rows(
      stores.Epochs(), 5, step, num_rows=ingredients.ROWS, batch_size=SIZE
    )
    for field, name in (
      ("prompt", "prompt_tokens"),
      ("chosen", "chosen_tokens"),
      ("rejected", "rejected_tokens"),
      ("chosen_reference", "chosen_reference_log_prob"),
      ("rejected_reference", "rejected_reference_log_prob"),
      ("judge_r12", "judge_r12"),
      ("judge_r21", "judge_r21"),
      ("weight", "weight"),
    ):
      np.testing.assert_array_equal(getattr(batch, field), stored[name][rows])


def test_a_restart_and_a_jump_give_the_same_batches(path):
  whole = _prompts(pairs.Offline(path), range(7))
  restarted = pairs.Offline(path).open(_context(), start_step=3)
  for step in (3, 4, 6, 1):
    batch = restarted.fetch(step, None).batch
    np.testing.assert_array_equal(batch.prompt, whole[step])


def test_another_seed_is_another_order(path):
  one, other = (_prompts(pairs.Offline(path), [0], seed=s)[0] for s in (5, 6))
  assert not np.array_equal(one, other)


def _counted(rows):
  return collections.Counter(map(bytes, rows))


def test_replay_in_exact_order_and_in_blocks(path):
  stored = stores.open(path).read(range(24), ["prompt_tokens"])
  recorded = list(stored["prompt_tokens"].reshape(6, SIZE, -1))
  exact = _prompts(pairs.Replay(path), range(6))
  np.testing.assert_array_equal(exact, recorded)
  for block, unit in ((3, "batch"), (3, "example"), (None, "example")):
    drawn = _prompts(pairs.Replay(path, block, unit), range(6))
    assert not np.array_equal(drawn, recorded)
    for first in range(0, 6, block or 6):
      part = slice(first, first + (block or 6))
      expected = np.concatenate(recorded[part])
      assert _counted(np.concatenate(drawn[part])) == _counted(expected)
    whole = {batch.tobytes() for batch in recorded}
    kept = sum(batch.tobytes() in whole for batch in drawn)
    assert kept == (6 if unit == "batch" else 0)


def test_replay_ends_where_the_record_does(path):
  source = pairs.Replay(path).open(_context())
  with pytest.raises(errors.UserError, match="ends after 6 batches of 4"):
    source.fetch(6, None)


def test_replay_in_other_batches_is_another_run(path):
  with pytest.raises(errors.UserError, match=r"batches of 4.*BATCH_SIZE=4"):
    pairs.Replay(path).open(dataclasses.replace(_context(), batch_size=8))


@pytest.mark.parametrize(
  ("block", "unit", "expected"),
  [(0, "batch", "block_batches=0"), (2, "row", "unit='row'; exp")],
)
def test_blocks_that_make_no_sense(block, unit, expected):
  with pytest.raises(errors.UserError, match=expected):
    pairs.Replay("nowhere", block, unit)


def test_labels_of_people_are_certain(tmp_path):
  unread = np.full(8, np.nan, np.float32)
  read = np.linspace(0.2, 0.9, 8, dtype=np.float32)
  for name, r12, r21 in (("people", unread, unread), ("judge", read, read)):
    store = ingredients.write(
      tmp_path / name, "pairs", 8, judge_r12=r12, judge_r21=r21
    )
    batch = pairs.Replay(store).open(_context_of(8)).fetch(0, None).batch
    expected = np.ones(8) if name == "people" else (read + 1 - read) / 2
    np.testing.assert_allclose(batch.probability, expected, rtol=1e-6)


def _context_of(size):
  return dataclasses.replace(_context(), batch_size=size)


def _log_probs(params, prompt, responses):
  """Sums log-softmax over the tokens up to EOS, in float64."""
  logits = np.float64(
    t5.logits(
      tiny.CONFIG,
      params,
      jnp.asarray(prompt),
      jnp.asarray(np.pad(responses, ((0, 0), (1, 0)))[:, :-1]),
    )
  )
  top = logits.max(-1, keepdims=True)
  logits -= top + np.log(np.exp(logits - top).sum(-1, keepdims=True))
  scores = np.take_along_axis(logits, responses[..., None], -1)[..., 0]
  return (scores * (responses > 0)).sum(-1)


def test_pairs_that_nobody_scored_are_scored_as_they_are_read(path):
  reference = _reference()
  batch = pairs.Offline(path).open(_context(reference)).fetch(0, None).batch
  for responses, scores in (
    (batch.chosen, batch.chosen_reference),
    (batch.rejected, batch.rejected_reference),
  ):
    expected = _log_probs(reference.params, batch.prompt, np.asarray(responses))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_scores_of_another_reference_are_refused_or_computed_anew(tmp_path):
  identity = stores.CheckpointIdentity("runs/other", "0123456789abcdef", 3)
  store = ingredients.write(
    tmp_path / "scored", "pairs", 8, about={"reference": identity}
  )
  same = _context(_reference(sha256="0123456789abcdef"))
  batch = pairs.Offline(store).open(same).fetch(0, None).batch
  assert (np.asarray(batch.chosen_reference) > 0).all()  # as stored
  other = _context(_reference(sha256="fedcba9876543210"))
  with pytest.raises(errors.UserError) as caught:
    pairs.Offline(store).open(other)
  for part in ("runs/other", "0123456789ab", "fedcba987654", "rescore=True"):
    assert part in str(caught.value)
  batch = pairs.Offline(store, rescore=True).open(other).fetch(0, None).batch
  expected = _log_probs(
    other.reference.params, batch.prompt, np.asarray(batch.chosen)
  )
  np.testing.assert_allclose(batch.chosen_reference, expected, rtol=1e-5)


def test_a_store_of_another_kind(tmp_path, path):
  prompts = ingredients.write(tmp_path / "prompts", "prompts")
  with pytest.raises(errors.UserError, match="holds prompts; expected pairs"):
    pairs.Offline(prompts).open(_context())
  with pytest.raises(errors.UserError, match="holds pairs; expected sft"):
    pairs.Responses(path).open(_context())


def test_a_replay_of_less_than_a_batch(tmp_path):
  store = ingredients.write(tmp_path / "few", "pairs", 3, chunk_rows=4)
  with pytest.raises(errors.UserError, match="3 rows, fewer than one batch"):
    pairs.Replay(store).open(_context())


def test_a_mixture_gives_every_batch_its_shares(tmp_path, path):
  other = ingredients.write(tmp_path / "other", "pairs", 16)
  mixture = pairs.Mixture(
    (pairs.Offline(path), pairs.Offline(other)), (3.0, 1.0)
  )
  drawn = mixture.open(_context_of(8)).fetch(2, {}).batch
  for spec, size, part in (
    (mixture.sources[0], 6, slice(0, 6)),
    (mixture.sources[1], 2, slice(6, 8)),
  ):
    alone = spec.open(_context_of(size)).fetch(2, {}).batch
    for mixed, single in zip(drawn, alone, strict=True):
      np.testing.assert_array_equal(mixed[part], single)


@pytest.mark.parametrize(
  ("weights", "total", "expected"),
  [
    ((1.0, 1.0), 5, [3, 2]),
    ((0.2, 0.3, 0.5), 10, [2, 3, 5]),
    ((1.0, 1.0, 1.0), 32, [11, 11, 10]),
    ((0.9, 0.05, 0.05), 32, [29, 2, 1]),
  ],
)
def test_shares_by_largest_remainder(weights, total, expected):
  from rlhf_gap.pairs import mixture

  assert mixture.shares_of(weights, total) == expected


def test_mixtures_that_cannot_be(path):
  offline = pairs.Offline(path)
  with pytest.raises(errors.UserError, match="1 sources with 2 weights"):
    pairs.Mixture((offline,), (1.0, 2.0))
  with pytest.raises(errors.UserError, match="weights=.*above 0"):
    pairs.Mixture((offline, offline), (1.0, 0.0))
  mixture = pairs.Mixture((offline, offline), (1.0, 99.0))
  with pytest.raises(errors.UserError, match="gives a source none"):
    mixture.open(_context())
