"""Processes started with different code or settings all report it."""

import concurrent.futures

import pytest

from rlhf_gap import errors
from rlhf_gap.processes import board as boards
from rlhf_gap.processes import sameness
from tests.processes.boards import LocalBoard

FACTS = {"BATCH_SIZE": "8", "rlhf_gap/losses.py": "a1", "jax": "0.10.2"}


def _compare(*all_facts):
  """Runs the check in one thread per process; returns their errors."""
  board, count = LocalBoard(), len(all_facts)

  def check(number):
    try:
      sameness.check(board, number, count, all_facts[number])
    except errors.UserError as error:
      return str(error)
    return ""

  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    return list(pool.map(check, range(count)))


def test_equal_processes_pass():
  assert _compare(FACTS, dict(reversed(FACTS.items())), FACTS) == [""] * 3


@pytest.mark.parametrize(
  ("change", "named"),
  [
    ({"BATCH_SIZE": "16"}, "BATCH_SIZE is 16 against 8"),
    ({"rlhf_gap/losses.py": "b2"}, "rlhf_gap/losses.py is b2 against a1"),
    ({"SEED": "1"}, "SEED is 1 against not set"),
  ],
)
def test_every_process_reports_which_process_differs_and_how(change, named):
  messages = _compare(FACTS, FACTS, FACTS | change)
  assert len(set(messages)) == 1
  assert messages[0].startswith("process 2 (")
  assert named in messages[0]
  assert "\n" not in messages[0]


def test_many_differences_are_counted():
  ours = {f"name{i}": "a" for i in range(9)}
  theirs = {f"name{i}": "b" for i in range(9)}
  line = sameness.difference(ours, theirs)
  assert line.startswith("name0 is a against b; name1 is")
  assert line.endswith("and 6 more")


def test_facts_include_settings_code_and_versions():
  facts = sameness.facts({"SEED": "1"})
  assert facts["SEED"] == "1"
  assert {"jax", "Python", "rlhf_gap/processes/sameness.py"} <= facts.keys()
  assert len(set(facts.values())) > 50


def test_no_process_passes_a_barrier_before_all_have_reached_it():
  board, left = LocalBoard(), []

  def meet(number):
    boards.meet(board, "here", number, 2)
    left.append(number)

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    first = pool.submit(meet, 0)
    board.wait_for("here/0")
    assert not left
    pool.submit(meet, 1).result()
    first.result()
  assert sorted(left) == [0, 1]
