"""Tests of progress reporting."""

import io

import pytest

from rlhf_gap import progress


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def _output(monkeypatch, stream, seconds_per_unit):
  clock = iter(range(0, 10_000, seconds_per_unit))
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  monkeypatch.setattr("sys.stderr", stream)
  with progress.bar("sampling", 4, "rows") as bar:
    for _ in range(4):
      bar.update(1)
  return stream.getvalue()


def test_short_work_logs_nothing(monkeypatch):
  assert _output(monkeypatch, io.StringIO(), 1) == ""


def test_long_work_logs_plain_lines(monkeypatch):
  lines = _output(monkeypatch, io.StringIO(), 15).splitlines()
  assert lines[0] == "sampling: 1 of 4 rows (25%)"
  assert lines[-1] == "sampling: 4 of 4 rows (100%)"


@pytest.mark.filterwarnings("ignore")
def test_a_terminal_shows_a_bar(monkeypatch):
  terminal = _Terminal()
  monkeypatch.setattr("sys.stderr", terminal)
  with progress.bar("sampling", 4, "rows") as bar:
    bar.update(4)
  text = terminal.getvalue()
  assert "4/4" in text
  assert "\r" in text
