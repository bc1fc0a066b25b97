"""Stages run in order, once, side by side, and say why they do not."""

import os

import pytest

from rlhf_gap import errors
from rlhf_gap.study import scheduler, stages
from tests.study.commands import execute


def _write(name, text="x", needs=()):
  command = ("write", f"{{workdir}}/{name}/out", text)
  return stages.Stage(name, command, tuple(needs))


def _run(planned, workdir, **kwargs):
  results = scheduler.run(
    planned, str(workdir), execute, num_workers=2, **kwargs
  )
  return {name: result.status for name, result in results.items()}


def _chain(text="x"):
  copy = ("copy", "{workdir}/a/out", "{workdir}/b/out")
  return [_write("a", text), stages.Stage("b", copy, ("a",))]


def test_stages_run_in_order_and_only_once(tmp_path):
  assert _run(_chain("first"), tmp_path) == {"a": "done", "b": "done"}
  assert (tmp_path / "b" / "out").read_text() == "first"
  os.remove(tmp_path / "a" / "out")  # a finished stage does not write it again
  assert _run(_chain("first"), tmp_path) == {"a": "done", "b": "done"}
  assert not (tmp_path / "a" / "out").exists()


def test_a_failure_holds_up_those_that_need_it_alone(tmp_path):
  planned = [
    stages.Stage("bad", ("fail",)),
    _write("after", needs=["bad"]),
    _write("later", needs=["after"]),
    _write("other"),
  ]
  results = scheduler.run(planned, str(tmp_path), execute, num_workers=2)
  assert {n: r.status for n, r in results.items()} == {
    "bad": "failed",
    "after": "blocked",
    "later": "blocked",
    "other": "done",
  }
  assert "what went wrong" in results["bad"].reason
  assert results["after"].reason == "needs bad"


def test_a_process_that_dies_is_a_failed_stage(tmp_path):
  planned = [stages.Stage("dies", ("die",)), _write("after", needs=["dies"])]
  assert _run(planned, tmp_path) == {"dies": "failed", "after": "blocked"}
  # The next attempt has a process again.
  assert _run([_write("dies")], tmp_path) == {"dies": "done"}


def test_half_a_stage_of_other_settings_is_stale(tmp_path):
  """A killed stage is resumed only if its settings have not changed."""
  os.makedirs(tmp_path / "dies")
  planned = [stages.Stage("dies", ("die",))]
  _run(planned, tmp_path)
  assert scheduler.standing(planned, str(tmp_path))["dies"].status == "missing"
  changed = [_write("dies")]
  with pytest.raises(errors.UserError, match=r"write is new.*--force"):
    scheduler.forget_stale(changed, str(tmp_path), force=False)
  scheduler.forget_stale(changed, str(tmp_path), force=True)
  assert not (tmp_path / "dies").exists()
  assert _run(changed, tmp_path) == {"dies": "done"}


def test_one_stage_alone(tmp_path):
  assert _run(_chain(), tmp_path, only=["b"]) == {
    "a": "missing",
    "b": "blocked",
  }
  assert _run(_chain(), tmp_path, only=["a"]) == {"a": "done", "b": "missing"}
  assert _run(_chain(), tmp_path, only=["b"]) == {"a": "done", "b": "done"}


def test_every_worker_has_a_core_to_itself(tmp_path):
  planned = [
    stages.Stage(n, ("sleep", "0.2", f"{{workdir}}/{n}/out")) for n in "ab"
  ]
  _run(planned, tmp_path)
  share = max(len(os.sched_getaffinity(0)) // 2, 1)
  for name in "ab":
    assert int((tmp_path / name / "out").read_text()) >= share


def test_a_stale_stage_says_what_changed(tmp_path):
  _run(_chain("first"), tmp_path)
  changed = _chain("second")
  standing = scheduler.standing(changed, str(tmp_path))
  assert standing["a"].status == standing["b"].status == "stale"
  assert "second is new" in standing["a"].reason
  assert "stage a changed" in standing["b"].reason
  with pytest.raises(errors.UserError, match="second is new.*--force"):
    scheduler.forget_stale(changed, str(tmp_path), force=False)
  assert (tmp_path / "b" / "out").read_text() == "first"
  scheduler.forget_stale(changed, str(tmp_path), force=True)
  assert _run(changed, tmp_path) == {"a": "done", "b": "done"}
  assert (tmp_path / "b" / "out").read_text() == "second"


def test_a_gin_file_and_what_it_includes_are_part_of_a_stage(tmp_path):
  inner, outer = tmp_path / "inner.gin", tmp_path / "outer.gin"
  inner.write_text("A = 1\n")
  outer.write_text(f"include '{inner}'\n")
  stage = stages.Stage("a", ("train", f"--gin_file={outer}"))
  before = stages.recipes([stage])["a"]
  assert stages.recipes([stage])["a"] == before
  inner.write_text("A = 2\n")
  assert stages.fingerprint(stages.recipes([stage])["a"]) != stages.fingerprint(
    before
  )


def test_a_moved_study_is_the_same_study(tmp_path):
  _run(_chain(), tmp_path / "here")
  os.rename(tmp_path / "here", tmp_path / "there")
  standing = scheduler.standing(_chain(), str(tmp_path / "there"))
  assert {r.status for r in standing.values()} == {"done"}


def test_a_stage_that_nothing_makes():
  with pytest.raises(errors.UserError, match="b needs a, which no stage"):
    stages.check([_write("b", needs=["a"])])
  with pytest.raises(errors.UserError, match="two stages are called a"):
    stages.check([_write("a"), _write("a")])


def test_one_study_at_a_time(tmp_path):
  with (
    scheduler.locked(str(tmp_path)),
    pytest.raises(errors.UserError, match="study is being run by another"),
    scheduler.locked(str(tmp_path)),
  ):
    pass


def test_different_stages_run_at_a_time(tmp_path):
  workdir = str(tmp_path)
  with scheduler.locked(workdir, ["a"]), scheduler.locked(workdir, ["x/b"]):
    with (
      pytest.raises(errors.UserError, match="the stage a is being run"),
      scheduler.locked(workdir, ["a", "c"]),
    ):
      pass
    with (
      pytest.raises(errors.UserError, match="study is being run by another"),
      scheduler.locked(workdir),
    ):
      pass
    with scheduler.locked(workdir, ["c"]):  # what failed holds nothing
      pass


def test_a_stage_alone_asks_for_no_other_to_be_fresh(tmp_path):
  _run(_chain("first"), tmp_path)
  changed = _chain("second")
  with pytest.raises(errors.UserError, match="stage a was run with other inp"):
    scheduler.forget_stale(changed, str(tmp_path), force=False, only=["a"])
  scheduler.forget_stale(
    [*changed, _write("c")], str(tmp_path), force=False, only=["c"]
  )
