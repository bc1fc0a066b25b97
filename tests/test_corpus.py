"""Inputs that once made a reader fail: it now reads or refuses them."""

import json
import pathlib
import signal
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LINES = (ROOT / "tests/corpus/failures.jsonl").read_text().splitlines()
SECONDS = 30


@pytest.fixture
def fuzz(monkeypatch):
  monkeypatch.syspath_prepend(str(ROOT / "tools"))
  import fuzz

  yield fuzz
  for name in ("fuzz", "fuzz_targets", "fuzz_mutations"):
    sys.modules.pop(name, None)


@pytest.fixture
def alarm():
  """Ends a reader that waits for ever, on a FIFO for instance."""

  def fail(*_):
    raise TimeoutError

  before = signal.signal(signal.SIGALRM, fail)
  signal.alarm(SECONDS)
  yield
  signal.alarm(0)
  signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("line", LINES)
def test_a_past_failure_is_closed(fuzz, line):
  name, mutations = json.loads(line)
  assert fuzz.repeat(name, mutations) is None
