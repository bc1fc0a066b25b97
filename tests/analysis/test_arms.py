"""Records are grouped as runs were meant; what has no peer is said."""

import dataclasses

import numpy as np
import pytest

from rlhf_gap import errors, records
from rlhf_gap.analysis import arms
from tests.analysis import made_up

OUTCOMES = {"win_rate": [0.0, 1.0, 0.5], "kl_nats": [1.0, 3.0]}


def _run(name, number=0, **hyperparameters):
  return records.TrainingRun(name, "offline", "ipo", hyperparameters, number)


def test_runs_that_differ_in_seeds_and_inputs_are_one_configuration():
  runs = [
    _run("b", 1, **{"beta": "0.1", "seed": "1", "pairs": "1f" * 32}),
    _run("a", 0, **{"beta": "0.1", "seed": "0", "pairs": "0f" * 32}),
    _run("c", 0, **{"beta": "0.5", "seed": "0", "pairs": "0f" * 32}),
  ]
  found = [made_up.record(run, 10, OUTCOMES) for run in runs]
  arm = arms.group(found)["offline"]
  names = [[run.name for run in c.runs] for c in arm.configurations]
  assert [c.label for c in arm.configurations] == ["beta=0.1", "beta=0.5"]
  assert names == [["a", "b"], ["c"]]
  assert arm.seeds == (0, 1)
  assert (arm.num_checkpoints, arm.num_prompts) == (3, 3)


def test_a_nested_name_is_shown_by_its_last_two_words():
  name = "optimizer.learning_rate.peak"
  one = _run("a", **{name: "1e-05", "optimizer": "Adam"})
  two = _run("b", **{name: "3e-05", "optimizer": "Adam"})
  found = [made_up.record(run, 10, OUTCOMES) for run in (one, two)]
  labels = [c.label for c in arms.group(found)["offline"].configurations]
  assert labels == ["learning_rate.peak=1e-05", "learning_rate.peak=3e-05"]


def test_long_and_short_runs_of_one_seed_are_told_apart():
  found = [
    made_up.record(_run("short"), 10, OUTCOMES),
    made_up.record(_run("long"), 10, OUTCOMES),
    made_up.record(_run("long"), 50, OUTCOMES),
  ]
  labels = [c.label for c in arms.group(found)["offline"].configurations]
  assert labels == ["steps=10", "steps=50"]


def test_a_trajectory_is_in_the_order_of_its_steps():
  def at(step, kl):
    return made_up.record(_run("a"), step, OUTCOMES | {"kl_nats": [kl, kl]})

  arm = arms.group([at(30, 3.0), at(10, 1.0), at(20, 2.0)])["offline"]
  (run,) = arm.runs
  assert run.steps.tolist() == [10, 20, 30]
  np.testing.assert_array_equal(run.kl_nats, [[1, 1], [2, 2], [3, 3]])
  np.testing.assert_array_equal(run.by_prompt("win_rate")[2], [0, 1, 0.5])


def test_only_what_every_checkpoint_has_is_an_outcome():
  more = OUTCOMES | {"proxy_win_rate": [1.0, 1.0, 0.0]}
  found = [
    made_up.record(_run("a"), 10, more),
    made_up.record(_run("a"), 20, OUTCOMES),
  ]
  arm = arms.group(found)["offline"]
  assert arm.has("win_rate")
  assert not arm.has("proxy_win_rate")
  assert arms.group(found[:1])["offline"].has("proxy_win_rate")


def _with_other_judge(record):
  by = dataclasses.replace(record.evaluation, golden="another")
  return dataclasses.replace(record, evaluation=by)


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (_with_other_judge, "b step 20 were measured against different judges"),
    (
      lambda r: dataclasses.replace(
        r, by_prompt=r.by_prompt | {"win_rate": (1.0,)}
      ),
      "different judges, opponents or prompts",
    ),
    (
      lambda r: dataclasses.replace(r, by_prompt={"win_rate": (0.0,) * 3}),
      "b step 20 has no kl_nats by prompt",
    ),
  ],
)
def test_what_cannot_be_compared_is_said(spoil, message):
  good = made_up.record(_run("a"), 10, OUTCOMES)
  bad = spoil(made_up.record(_run("b"), 20, OUTCOMES))
  with pytest.raises(errors.UserError, match=message):
    arms.group([good, bad])


def test_one_seed_twice_is_not_two_seeds():
  """Of a folder without run.json every run has seed 0."""
  found = [made_up.record(_run(name), 10, OUTCOMES) for name in ("a", "b")]
  message = "a and b are one arm's runs .* the same seed, 0"
  with pytest.raises(errors.UserError, match=message):
    arms.group(found)
  # One that ran longer is another configuration.
  found[1] = made_up.record(_run("b"), 20, OUTCOMES)
  assert len(arms.group(found)["offline"].configurations) == 2


def _of(arm, reference, **changes):
  run = records.TrainingRun(arm, arm, "ipo", {}, 0)
  record = made_up.record(run, 10, {**OUTCOMES, **changes})
  by = dataclasses.replace(record.evaluation, reference=reference)
  return dataclasses.replace(record, evaluation=by)


def test_policies_of_another_size_have_a_reference_of_their_own():
  kls = {"kl_nats": [1.0, 2.0]}
  more = {"kl_nats": [1.0, 3.0, 2.0]}
  found = [_of("online", "a", **more), _of("online@xl", "b", **kls)]
  assert set(arms.group(found)) == {"online", "online@xl"}
  # Within a size there is one reference, and one set of prompts for all.
  for other in (
    _of("offline@xl", "c", **kls),
    _of("offline@xl", "b", **more),
    _of("offline@xl", "b", **kls, win_rate=[1.0, 0.0]),
  ):
    with pytest.raises(errors.UserError, match="measured against different"):
      arms.group([*found, other])
