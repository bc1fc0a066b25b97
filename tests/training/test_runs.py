"""Whole runs of a tiny model: every regime, interrupted, stopped, checked."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from rlhf_gap import checkpoints, errors, losses, pairs, stores
from rlhf_gap.training import (
  configured,
  metric_log,
  model_dir,
  objectives,
  run,
  saving,
)
from tests.evaluation import tiny
from tests.training import ingredients

pytestmark = pytest.mark.slow

SAMPLING = pairs.Sampling(max_length=tiny.LENGTHS["response"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Prompts, pairs, responses, a policy and a judge."""
  base = tmp_path_factory.mktemp("runs")
  for schema in ("prompts", "pairs", "sft"):
    ingredients.write(base / schema, schema)
  tiny.save(base / "policy", tiny.params(1))
  tiny.save(base / "judge", tiny.params(2))
  return base


@pytest.fixture(scope="module")
def describe(folder):
  """Describes a run from the policy; its source is offline if not given."""

  def described(path, source=None, **changes):
    source = source or pairs.Offline(str(folder / "pairs"))
    changes = {"initial": str(folder / "policy"), **changes}
    return ingredients.describe(path, source, **changes)

  return described


@pytest.fixture(scope="module")
def online(folder):
  return pairs.Online(str(folder / "prompts"), str(folder / "judge"), SAMPLING)


def _sft(folder, **changes):
  return {
    "source": pairs.Responses(str(folder / "sft")),
    "objective": objectives.Sft(),
    "validation": str(folder / "sft"),
    "validation_batches": 2,
    **changes,
  }


def check_equal(one, other):
  """Parameters and optimizer state are equal, bit for bit."""
  for mine, theirs in zip(
    jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True
  ):
    assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, describe, online):
  """An online run that was recorded: its folder and its outcome."""
  path = tmp_path_factory.mktemp("recorded")
  return path, run.train(describe(path, online, record=True))


def test_online_then_replayed_in_order_and_out_of_it(
  recorded, describe, tmp_path
):
  path, outcome = recorded
  store = str(path / "pairs")
  same = run.train(describe(tmp_path / "same", pairs.Replay(store)))
  check_equal(same, outcome)
  assert ingredients.lines(tmp_path / "same") == ingredients.lines(path)
  permuted = pairs.Replay(store, 3, "example")
  other = run.train(describe(tmp_path / "other", permuted))
  assert ingredients.lines(tmp_path / "other") != ingredients.lines(path)
  with pytest.raises(AssertionError):
    check_equal(other, outcome)


def test_a_run_that_is_done_stays_as_it_is(recorded, describe, online):
  path, outcome = recorded
  before = stores.open(str(path / "pairs")).manifest
  again = run.train(describe(path, online, record=True))
  assert again.reason == "done"
  check_equal(again, outcome)
  assert stores.open(str(path / "pairs")).manifest == before
  assert model_dir.completed_step(str(path)) == 6


def test_a_run_may_be_prolonged(recorded, describe, online, tmp_path):
  _, outcome = recorded
  short = describe(tmp_path, online, record=True, train_steps=4)
  assert int(run.train(short).state.step) == 4
  longer = run.train(dataclasses.replace(short, train_steps=6))
  check_equal(longer, outcome)
  assert stores.open(str(tmp_path / "pairs")).num_rows == 24


class _Compilations:
  """Counts programs that XLA compiles or takes from the cache."""

  def __init__(self):
    self.count = 0
    self.at = {}

  def listen(self, event, seconds, **_):
    self.count += event == "/jax/core/compile/backend_compile_duration"

  def note(self, step, params, context):
    self.at[step] = self.count


@pytest.mark.parametrize("regime", ["online", "semi-online", "offline"])
def test_nothing_is_compiled_after_the_first_step(
  folder, describe, online, tmp_path, regime
):
  source = {
    "online": online,
    "semi-online": dataclasses.replace(online, sync_every_steps=2),
    "offline": pairs.Offline(str(folder / "pairs")),
  }[regime]
  counter = _Compilations()
  jax.monitoring.register_event_duration_secs_listener(counter.listen)
  path = tmp_path / "run"
  watched = ingredients.Watched(source, counter.note)
  jax.clear_caches()
  described = describe(path, watched, checkpoint_every_steps=8, train_steps=8)
  run.train(described)
  assert counter.at[1] > counter.at[0]
  assert {counter.at[step] for step in range(1, 8)} == {counter.at[1]}
  # Nor where a restored state takes the first step's place.
  os.rename(path / "checkpoint_8", tmp_path / "checkpoint_8")
  counter.at.clear()
  jax.clear_caches()
  run.train(described)
  assert {counter.at[step] for step in range(1, 8)} == {counter.at[1]}


def test_sigterm_saves_and_the_same_command_goes_on(
  recorded, describe, online, tmp_path
):
  path, outcome = recorded

  def interrupt(step, params, context):
    if step == 3 and not (tmp_path / "checkpoint_4").exists():
      signal.raise_signal(signal.SIGTERM)

  watched = ingredients.Watched(online, interrupt)
  before = signal.getsignal(signal.SIGTERM)
  stopped = run.train(describe(tmp_path, watched, record=True))
  assert signal.getsignal(signal.SIGTERM) is before
  assert (stopped.reason, int(stopped.state.step)) == ("stopped", 4)
  assert saving.steps_in(str(tmp_path)) == [0, 3, 4]
  assert model_dir.completed_step(str(tmp_path)) is None
  done = run.train(describe(tmp_path, watched, record=True))
  check_equal(done, outcome)
  assert ingredients.lines(tmp_path) == ingredients.lines(path)


def test_a_restart_goes_on_from_the_last_whole_checkpoint(
  folder, describe, tmp_path
):
  """Supervised, with dropout, validation and two checkpoints kept."""
  settings = _sft(folder, dropout_rate=0.1, keep=2, checkpoint_every_steps=2)
  whole = run.train(describe(tmp_path / "whole", **settings))
  path = tmp_path / "cut"
  run.train(describe(path, **{**settings, "train_steps": 4}))
  half = path / "checkpoint_6.orbax-checkpoint-tmp"
  (half / "state").mkdir(parents=True)
  with open(path / "metrics.jsonl", "a") as log:
    log.write('{"step": 5, "train/loss": 1.0}\n{"step": 6, "train/lo')
  done = run.train(describe(path, **settings))
  check_equal(done, whole)
  assert ingredients.lines(path) == ingredients.lines(tmp_path / "whole")
  assert not half.exists()


def test_a_plateau_ends_a_run_and_stays_one(folder, describe, tmp_path):
  """So high a rate makes the held-out loss worse: the first one stays best."""
  settings = _sft(
    folder,
    optimizer=configured.AdamW(configured.LearningRate(3.0)),
    train_steps=20,
    checkpoint_every_steps=1,
    keep=1,
    patience=2,
  )
  ended = run.train(describe(tmp_path, **settings))
  measured = {
    line["step"]: line["validation/loss"]
    for line in ingredients.lines(tmp_path)
    if "validation/loss" in line
  }
  best = min(measured, key=measured.get)
  assert ended.reason == "plateau"
  assert int(ended.state.step) == best + 2 == max(measured)
  assert saving.steps_in(str(tmp_path)) == [best, best + 2]
  again = run.train(describe(tmp_path, **settings))
  assert again.reason == "plateau"
  check_equal(again, ended)


def test_step_0_notices_another_models_reference_scores(
  folder, describe, tmp_path
):
  """The store says that they are this reference's; they are not."""
  path = str(folder / "policy")
  identity = stores.CheckpointIdentity(path, checkpoints.fingerprint(path), 0)
  wrong = ingredients.write(
    tmp_path / "pairs", "pairs", about={"reference": identity}
  )
  with pytest.raises(errors.UserError) as caught:
    run.train(describe(tmp_path / "run", pairs.Offline(wrong)))
  assert "step 0: rho_size_nats is" in str(caught.value)
  assert "expected 0 within" in str(caught.value)


def test_what_is_not_finite_stops_the_run(folder, describe, tmp_path):
  """A reference score that is no number, in the fifth batch."""
  path = str(folder / "policy")
  identity = stores.CheckpointIdentity(path, checkpoints.fingerprint(path), 0)
  scored = _scored(folder, tmp_path / "scored", identity)
  bad = stores.open(scored).read(range(24))
  bad["chosen_reference_log_prob"][4 * 4 + 1] = np.nan
  rows = {name: bad[name] for name in bad}
  store = ingredients.write(
    tmp_path / "bad",
    "pairs",
    chunk_rows=4,
    about={"reference": identity},
    **rows,
  )
  with pytest.raises(errors.UserError) as caught:
    run.train(describe(tmp_path / "run", pairs.Replay(store)))
  saved = tmp_path / "run" / "not_finite_step_4.npz"
  assert "step 4: loss or gradient not finite" in str(caught.value)
  assert str(saved) in str(caught.value)
  kept = np.load(saved)
  np.testing.assert_array_equal(kept["prompt"], bad["prompt_tokens"][16:20])
  assert np.isnan(kept["chosen_reference"]).tolist() == [False, True] + [
    False,
    False,
  ]
  assert saving.steps_in(str(tmp_path / "run")) == [0, 3]
  latest = checkpoints.load(str(tmp_path / "run" / "checkpoint_3"))
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(latest.params))
  steps = [line["step"] for line in ingredients.lines(tmp_path / "run")]
  assert steps == [1, 2, 3, 4]


def _scored(folder, path, identity):
  """Copies the pairs, scored by the policy as a run without steps would."""
  params = checkpoints.load(str(folder / "policy")).params
  reference = pairs.Reference(tiny.CONFIG, params, identity)
  values = stores.open(str(folder / "pairs")).read(range(24))
  responses = np.stack([values["chosen_tokens"], values["rejected_tokens"]], 1)
  scores = np.concatenate(
    [
      reference.log_probs(
        jax.numpy.asarray(values["prompt_tokens"][i : i + 4]),
        jax.numpy.asarray(responses[i : i + 4]),
      )
      for i in range(0, 24, 4)
    ]
  )
  values["chosen_reference_log_prob"] = scores[:, 0]
  values["rejected_reference_log_prob"] = scores[:, 1]
  return ingredients.write(
    path, "pairs", about={"reference": identity}, **values
  )


def test_an_iterative_run_starts_again_from_its_own_policy(
  folder, describe, tmp_path
):
  """Validation in between leaves the reference alone."""
  settings = {
    "reference_every_steps": 2,
    "checkpoint_every_steps": 3,
    "validation": str(folder / "pairs"),
    "validation_batches": 4,
    "optimizer": configured.AdamW(configured.LearningRate(1e-2)),
  }
  seen = {}

  def note(step, params, context):
    equal = jax.tree.map(np.array_equal, params, context.reference.params)
    seen[step] = all(jax.tree.leaves(equal))

  watched = ingredients.Watched(pairs.Offline(str(folder / "pairs")), note)
  whole = run.train(describe(tmp_path / "whole", watched, **settings))
  assert seen == {t: t % 2 == 0 for t in range(6)}
  rho = {
    line["step"] - 1: line["train/rho_size_nats"]
    for line in ingredients.lines(tmp_path / "whole")
    if "train/rho_size_nats" in line
  }
  for step, size in rho.items():
    assert (size < 1e-3) == (step % 2 == 0)
  path = tmp_path / "cut"
  run.train(describe(path, watched, **{**settings, "train_steps": 3}))
  seen.clear()
  check_equal(run.train(describe(path, watched, **settings)), whole)
  assert seen == {3: False, 4: True, 5: False}


def test_soft_labels_weigh_both_orders_by_the_judges_probability(
  folder, describe, tmp_path
):
  """The logged loss of single rows is p f(rho) + (1 - p) f(-rho)."""
  objective = objectives.Contrastive(losses.Ipo(0.1), "sum", "soft")
  run.train(
    describe(
      tmp_path,
      objective=objective,
      batch_size=1,
      optimizer=configured.AdamW(configured.LearningRate(1e-2)),
    )
  )
  values = stores.open(str(folder / "pairs")).read(range(24))
  for line in ingredients.lines(tmp_path):
    step = line["step"] - 1
    (row,) = stores.rows(stores.Epochs(), 0, step, num_rows=24, batch_size=1)
    p = 0.5 * (values["judge_r12"][row] + 1 - values["judge_r21"][row])
    rho = line["train/rho_nats"]
    hard, swapped = ((0.1 * sign * rho - 0.5) ** 2 for sign in (1, -1))
    expected = p * hard + (1 - p) * swapped
    assert line["train/loss"] == pytest.approx(expected, rel=1e-5)
  assert abs(rho) > 0.01


def _rewrite(path, **changes):
  """Writes other pairs at the same path."""
  shutil.rmtree(path)
  ingredients.write(path, "pairs", **changes)


def test_other_pairs_at_the_same_path_are_another_run(describe, tmp_path):
  store, path = tmp_path / "pairs", tmp_path / "run"
  ingredients.write(store, "pairs")
  described = describe(path, pairs.Offline(str(store)), train_steps=1)
  run.train(described)
  before = (path / "metrics.jsonl").read_text()
  moved = shutil.copytree(store, tmp_path / "copy")
  run.train(describe(path, pairs.Offline(str(moved)), train_steps=2))
  values = ingredients.columns(stores.PAIRS)
  values["chosen_tokens"][23, 0] += 1
  _rewrite(store, **values)
  lines = (path / "metrics.jsonl").read_text()
  assert lines.startswith(before)
  with pytest.raises(errors.UserError, match=r"source\.store\.sha256 was"):
    run.train(dataclasses.replace(described, train_steps=3))
  assert (path / "metrics.jsonl").read_text() == lines
  assert saving.steps_in(str(path)) == [0, 1, 2]


def test_a_replay_of_a_run_still_recording_goes_on_in_what_was_added(
  describe, tmp_path
):
  """What was there when it began must not change; more may follow."""
  store, path = tmp_path / "pairs", tmp_path / "run"
  values = ingredients.columns(stores.PAIRS)
  values["weight"] = np.ones(24, np.float32)
  early = {name: value[:12] for name, value in values.items()}
  ingredients.write(store, "pairs", 12, chunk_rows=4, **early)
  described = describe(path, pairs.Replay(str(store)), train_steps=2)
  run.train(described)
  _rewrite(store, chunk_rows=4, **values)
  longer = dataclasses.replace(described, train_steps=5)
  run.train(longer)
  noted = model_dir.identity_of(str(path))
  assert noted["source.store.rows"] == "24"
  values["chosen_tokens"][13, 0] += 1
  _rewrite(store, chunk_rows=4, **values)
  with pytest.raises(errors.UserError, match=r"source\.store\.sha256 was"):
    run.train(dataclasses.replace(longer, train_steps=6))


def test_a_judge_that_ties_everything_stops_the_run(
  describe, online, tmp_path, capsys
):
  """A model of zeros gives both answers the same score."""
  nothing = jax.tree.map(jax.numpy.zeros_like, tiny.params(2))
  judge = tiny.save(tmp_path / "judge", nothing)
  path = tmp_path / "run"
  source = dataclasses.replace(online, judge=judge)
  message = "step 5: every pair of the last 6 batches is a tie"
  with pytest.raises(errors.UserError, match=message):
    run.train(describe(path, source))
  assert "step 0: every pair of the batch is a tie" in capsys.readouterr().err
  assert saving.steps_in(str(path)) == [0, 3]
  raw = (path / "metrics.jsonl").read_text().splitlines()
  assert raw
  for line in map(json.loads, raw):
    assert line["train/loss"] is line["train/accuracy"] is None
    assert line["train/weight"] == line["train/gradient_norm"] == 0
    assert 1 <= line["train/response_length_tokens"] <= 8
    assert 0 <= line["train/eos_rate"] <= 1
    assert line["train/tokens_per_second"] > 0


def test_a_store_of_ties_is_refused(describe, tmp_path):
  ties = ingredients.write(
    tmp_path / "ties", "pairs", weight=np.zeros(24, np.float32)
  )
  for changes in (_offline(ties), {"validation": ties}):
    _before_anything(
      describe, tmp_path / "run", "all 24 rows have weight 0", **changes
    )
  assert sorted(os.listdir(tmp_path)) == ["ties"]


def test_slic_without_a_reference_in_its_loss_is_reported_with_one(
  describe, tmp_path
):
  objective = objectives.Contrastive(losses.Slic(1.0), "sum")
  run.train(describe(tmp_path, objective=objective, train_steps=2))
  first, second = ingredients.lines(tmp_path)
  assert first["train/rho_size_nats"] < 1e-3 < second["train/rho_size_nats"]


def test_a_preference_model_learns_the_labels_of_its_pairs(describe, tmp_path):
  """The winner begins with one word and the loser with another."""
  values = ingredients.columns(stores.PAIRS)
  values["chosen_tokens"][:, 0], values["rejected_tokens"][:, 0] = 50, 60
  store = ingredients.write(tmp_path / "pairs", "pairs", **values)
  settings = {
    "objective": objectives.PreferenceModel(),
    "optimizer": configured.AdamW(configured.LearningRate(3e-3)),
    "source": pairs.Offline(store),
    "validation": store,
    "validation_batches": 6,
    "train_steps": 240,
    "checkpoint_every_steps": 240,
  }
  run.train(describe(tmp_path / "run", **settings))
  (measured,) = (
    line
    for line in ingredients.lines(tmp_path / "run")
    if "validation/accuracy" in line
  )
  assert measured["validation/accuracy"] > 0.9
  assert measured["validation/loss"] < np.log(2)


def test_what_a_run_is_made_with_lies_beside_it(recorded):
  path, _ = recorded
  names = set(os.listdir(path))
  assert names == {
    "checkpoint_0",
    "checkpoint_3",
    "checkpoint_6",
    "complete",
    "config.gin",
    "environment.json",
    "lock",
    "metrics.jsonl",
    "pairs",
    "run.json",
  }
  line = metric_log.read(str(path))[0]
  for name in (
    "loss",
    "rho_nats",
    "accuracy",
    "log_ratio_nats",
    "response_length_tokens",
    "eos_rate",
    "gradient_norm",
    "tokens_per_second",
  ):
    assert f"train/{name}" in line


def _before_anything(describe, path, message, **changes):
  with pytest.raises(errors.UserError, match=message):
    run.train(describe(path, **changes))
  assert not pathlib.Path(path).exists()


def test_a_wrong_run_writes_nothing(folder, describe, online, tmp_path):
  """So the same folder serves once the mistake is put right."""
  path = tmp_path / "run"
  wide = dataclasses.replace(tiny.CONFIG, emb_dim=16)
  other = tiny.save(tmp_path / "wide", tiny.params(0, wide), config=wide)
  few = ingredients.write(tmp_path / "few", "pairs", 3)
  identity = stores.CheckpointIdentity("elsewhere", "00ff" * 16, 0)
  foreign = ingredients.write(
    tmp_path / "foreign", "pairs", chunk_rows=4, about={"reference": identity}
  )
  away = dataclasses.replace(online, judge=str(folder / "nowhere"))
  for message, changes in (
    ("nowhere: no such directory", {"source": away}),
    ("reference has a different architecture", {"reference": other}),
    ("was scored with the reference elsewhere", _offline(foreign)),
    ("holds 6 batches of 4, but TRAIN_STEPS=9", _replay(folder, 9)),
    ("few holds 3 rows to validate on", {"validation": few}),
    ("holds no store", {"validation": str(folder / "policy")}),
    ("sft holds sft; expected pairs", _offline(str(folder / "sft"))),
    ("prompts of 48 tokens, but TASK", {"feature_lengths": {"inputs": 40}}),
    ("responses of 8 tokens, but TASK", {"feature_lengths": {"targets": 7}}),
    ("only sampled pairs are recorded", {"record": True}),
    ("policy optimisation starts from", {"initial": None, "model": wide}),
  ):
    _before_anything(describe, path, message, **changes)
  assert not path.exists()


def _offline(store):
  return {"source": pairs.Offline(store)}


def _replay(folder, steps):
  return {"source": pairs.Replay(str(folder / "pairs")), "train_steps": steps}
