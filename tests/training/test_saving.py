"""Checkpoints that are kept and removed; whose folder it is; its log."""

import dataclasses
import json
import multiprocessing
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from rlhf_gap import checkpoints, errors
from rlhf_gap.training import (
  identity,
  metric_log,
  model_dir,
  optimizers,
  saving,
  step,
)
from tests.evaluation import tiny

pytestmark = pytest.mark.slow

OPTIMIZER = optimizers.adamw(lambda count: 0.1 + 0 * count)


def _state(number):
  params = tiny.moved(tiny.params(0), tiny.params(1), number / 10)
  count = jnp.int32(number)
  state = step.init(params, OPTIMIZER)
  # Every count of the optimizer's is the number of its updates.
  optimizer = jax.tree.map(
    lambda leaf: count if leaf.dtype == count.dtype else leaf + number,
    state.opt_state,
  )
  return step.TrainState(count, params, optimizer)


def _save(path, numbers, **settings):
  saver = saving.Saver(str(path), tiny.CONFIG, **settings)
  for number in numbers:
    saver.save(_state(number), {})
  saver.close()
  return saving.steps_in(str(path))


@pytest.mark.parametrize(
  ("settings", "expected"),
  [
    ({}, [0, 1, 2, 3, 4, 5]),
    ({"keep": 1}, [5]),
    ({"keep": 2}, [4, 5]),
    ({"keep": 2, "keep_steps": (1, 3)}, [1, 3, 4, 5]),
  ],
)
def test_which_checkpoints_are_kept(tmp_path, settings, expected):
  assert _save(tmp_path, range(6), **settings) == expected


def test_the_best_is_kept_until_there_is_a_better(tmp_path):
  saver = saving.Saver(str(tmp_path), tiny.CONFIG, keep=1)
  for number, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
    saver.keep_best(best)
    saver.save(_state(number), {})
    saver.wait()
    assert saving.steps_in(str(tmp_path)) == sorted({best, number})
  saver.close()


def test_the_last_whole_checkpoint_outlives_the_writing_of_the_next(
  tmp_path, monkeypatch
):
  """With one to keep, a kill in between must find it."""
  saver = saving.Saver(str(tmp_path), tiny.CONFIG, keep=1)
  saver.save(_state(1), {})
  saver.wait()
  seen = []
  save = ocp.AsyncCheckpointer.save

  def watched(*arguments, **named):
    save(*arguments, **named)
    seen.append(saving.steps_in(str(tmp_path)))

  monkeypatch.setattr(ocp.AsyncCheckpointer, "save", watched)
  saver.save(_state(2), {})
  assert 1 in saving.steps_in(str(tmp_path)) or [1, 2] in seen
  saver.close()
  assert saving.steps_in(str(tmp_path)) == [2]


def test_what_is_restored_is_what_was_saved(tmp_path):
  state = _state(3)
  memory = {"sampler": tiny.params(4)}
  saver = saving.Saver(str(tmp_path), tiny.CONFIG)
  saver.save(state, memory)
  saver.close()
  path = saving.path_of(str(tmp_path), 3)
  restored, remembered = saving.restore(path, tiny.CONFIG, OPTIMIZER)
  for found, expected in ((restored, state), (remembered, memory)):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(
      jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
      assert np.asarray(mine).dtype == np.asarray(theirs).dtype
      assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


def test_a_checkpoint_tells_its_activations(tmp_path):
  config = dataclasses.replace(
    tiny.CONFIG, mlp_activations=("silu", "linear"), max_distance=24
  )
  saver = saving.Saver(str(tmp_path), config)
  saver.save(_state(1), {})
  saver.close()
  stored = checkpoints.open(saving.path_of(str(tmp_path), 1))
  assert stored.config.mlp_activations == ("silu", "linear")
  assert stored.config.max_distance == 24
  assert not stored.notes


def test_another_architecture_is_not_restored(tmp_path):
  _save(tmp_path, [1])
  config = dataclasses.replace(tiny.CONFIG, mlp_dim=24)
  path = saving.path_of(str(tmp_path), 1)
  with pytest.raises(errors.UserError, match="its architecture differs"):
    saving.restore(path, config, optax.identity())


def test_what_a_kill_left_is_cleared_away(tmp_path):
  _save(tmp_path, [1])
  for name in ("checkpoint_2.orbax-checkpoint-tmp-7", "deleting-0"):
    (tmp_path / name / "state").mkdir(parents=True)
  saving.Saver(str(tmp_path), tiny.CONFIG).close()
  assert os.listdir(tmp_path) == ["checkpoint_1"]


def _train_elsewhere(path, held, done):
  with model_dir.locked(path):
    held.set()
    done.wait(30)


def test_one_process_at_a_time(tmp_path):
  spawning = multiprocessing.get_context("fork")
  held, done = spawning.Event(), spawning.Event()
  other = spawning.Process(
    target=_train_elsewhere, args=(str(tmp_path), held, done)
  )
  other.start()
  assert held.wait(30)
  with (
    pytest.raises(errors.UserError, match="another process is training"),
    model_dir.locked(str(tmp_path)),
  ):
    pass
  done.set()
  other.join()
  with model_dir.locked(str(tmp_path)):  # it went with its process
    assert other.exitcode == 0


def _same(settings):
  return identity.Identity(settings, settings)


PAIRS = {
  "source": "Offline",
  "source.store": "here/pairs",
  "source.store.rows": "24",
  "source.store.sha256": "0a" * 32,
}


def test_an_input_is_what_it_holds_and_not_its_path(tmp_path):
  path = str(tmp_path)
  model_dir.claim(path, _same(PAIRS))
  model_dir.claim(path, _same({**PAIRS, "source.store": "there/pairs"}))
  assert model_dir.identity_of(path) == PAIRS
  for name, value, line in (
    (
      "source.store.sha256",
      "0b" * 32,
      f"store.sha256 was {'0a' * 6}, is {'0b' * 6} now at here/pairs",
    ),
    ("source.store.rows", "32", "source.store.rows was 24, is 32"),
  ):
    with pytest.raises(errors.UserError, match=line):
      model_dir.check(path, _same({**PAIRS, name: value}))


def test_notes_without_fingerprints_are_completed(tmp_path, capsys):
  """As long as the path, which is all they have, is the same."""
  path = str(tmp_path)
  old = {"source": "Offline", "source.store": "here/pairs"}
  model_dir.claim(path, _same({**old, "initial.sha256": ""}))
  with pytest.raises(errors.UserError, match=r"store was here/pairs, is there"):
    model_dir.claim(path, _same({**PAIRS, "source.store": "there/pairs"}))
  assert not capsys.readouterr().out
  model_dir.claim(path, _same(PAIRS))
  assert "predates input fingerprints" in capsys.readouterr().out
  assert model_dir.identity_of(path) == {**PAIRS, "initial.sha256": ""}
  model_dir.claim(path, _same(PAIRS))
  assert not capsys.readouterr().out


def _refuse(folder):
  with pytest.raises(errors.UserError), model_dir.locked(str(folder)):
    raise errors.UserError("refused")


def test_a_refused_run_leaves_no_lock_and_no_folder(tmp_path):
  theirs = tmp_path / "theirs"
  theirs.mkdir()
  (theirs / "notes.txt").write_text("")
  _refuse(theirs)
  assert os.listdir(theirs) == ["notes.txt"]
  _refuse(tmp_path / "new" / "below")
  assert os.listdir(tmp_path) == ["theirs"]
  model_dir.claim(str(theirs), _same(PAIRS))
  _refuse(theirs)
  assert {"run.json", "lock"} <= set(os.listdir(theirs))


def _damage(checkpoint):
  """Truncates the index and every data file of a checkpoint."""
  names = [p for p in checkpoint.rglob("*") if p.is_file()]
  for file in names:
    file.write_bytes(file.read_bytes()[:16])


def test_a_damaged_newest_checkpoint_is_named_with_the_newest_whole_one(
  tmp_path,
):
  path = str(tmp_path)
  _save(tmp_path, [1, 2, 3])
  for number in (2, 3):
    _damage(tmp_path / f"checkpoint_{number}")
  with pytest.raises(errors.UserError) as caught:
    saving.restore_latest(path, [1, 2, 3], tiny.CONFIG, OPTIMIZER)
  message, newest = str(caught.value), tmp_path / "checkpoint_3"
  assert message.startswith(f"{newest} cannot be resumed from")
  assert "the latest complete checkpoint is checkpoint_1" in message
  for number in (2, 3):
    name = f"checkpoint_{number}"
    command = f"mv {tmp_path / name} {tmp_path / 'damaged_'}{name}"
    assert command in message
    os.rename(tmp_path / name, tmp_path / f"damaged_{name}")
  assert saving.steps_in(path) == [1]
  state, _ = saving.restore_latest(path, [1], tiny.CONFIG, OPTIMIZER)
  assert int(state.step) == 1
  _damage(tmp_path / "checkpoint_1")
  with pytest.raises(errors.UserError, match="no earlier checkpoint is"):
    saving.restore_latest(path, [1], tiny.CONFIG, OPTIMIZER)


def test_an_undefined_value_is_null_and_no_reader_sees_it(tmp_path):
  log = metric_log.MetricLog(str(tmp_path), 0, tensorboard=True)
  log.write(1, {"train/loss": None, "train/weight": 0.0})
  log.close()
  text = (tmp_path / "metrics.jsonl").read_text()
  assert text == '{"step": 1, "train/loss": null, "train/weight": 0.0}\n'
  assert metric_log.read(str(tmp_path)) == [{"step": 1, "train/weight": 0.0}]
  (events,) = tmp_path.glob("events.*")
  assert b"train/weight" in events.read_bytes()
  assert b"train/loss" not in events.read_bytes()
  metric_log.MetricLog(str(tmp_path), 1, tensorboard=False).close()
  assert (tmp_path / "metrics.jsonl").read_text() == text


def test_a_folder_belongs_to_one_run(tmp_path):
  path = str(tmp_path)
  mine = {"seed": "0", "batch_size": "32", "source": "Offline"}
  model_dir.claim(path, _same(mine))
  model_dir.claim(path, _same(mine))
  with pytest.raises(errors.UserError) as caught:
    model_dir.claim(
      path, _same({"seed": "1", "batch_size": "32", "beta": "0.1"})
    )
  message = str(caught.value)
  assert "seed was 0, is 1" in message
  assert "beta was not set, is 0.1" in message
  assert "source was Offline, is not set" in message
  assert "batch_size" not in message
  assert model_dir.identity_of(path) == mine


def test_checkpoints_of_others_are_not_gone_on_with(tmp_path):
  (tmp_path / "checkpoint_1000").mkdir()
  with pytest.raises(
    errors.UserError, match="holds checkpoint_1000, which rlhf-gap did not"
  ):
    model_dir.claim(str(tmp_path), _same({"seed": "0"}))
  assert os.listdir(tmp_path) == ["checkpoint_1000"]


def test_a_file_in_the_folders_place(tmp_path):
  (tmp_path / "run").write_text("")
  for path in (tmp_path / "run", tmp_path / "run" / "below"):
    with (
      pytest.raises(errors.UserError, match="is a file, not a folder"),
      model_dir.locked(str(path)),
    ):
      pass


def test_a_restart_takes_back_lines_beyond_its_checkpoint(tmp_path):
  log = metric_log.MetricLog(str(tmp_path), 0, tensorboard=False)
  for number in range(1, 6):
    log.write(number, {"train/loss": 1 / number, "train/seconds": 0.5})
  log.close()
  with open(tmp_path / "metrics.jsonl", "a") as file:
    file.write('{"step": 6, "train/l')
  assert [line["step"] for line in metric_log.read(str(tmp_path))] == [
    *range(1, 6)
  ]
  log = metric_log.MetricLog(str(tmp_path), 3, tensorboard=False)
  log.write(4, {"train/loss": 9.0})
  log.close()
  text = (tmp_path / "metrics.jsonl").read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  assert [line["step"] for line in lines] == [1, 2, 3, 4]
  assert lines[2] == {"step": 3, "train/loss": 1 / 3, "train/seconds": 0.5}
  assert metric_log.without_times(lines[2]) == {
    "step": 3,
    "train/loss": 1 / 3,
  }
