"""Progress: lines in a log, a bar on a terminal."""

import io

import pytest

from rlhf_gap import progress


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def _work(monkeypatch, stream, seconds_a_unit):
  clock = iter(range(0, 10_000, seconds_a_unit))
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  monkeypatch.setattr("sys.stderr", stream)
  with progress.bar("sampling", 4, "rows") as bar:
    for _ in range(4):
      bar.update(1)
  return stream.getvalue()


def test_short_work_leaves_no_line_in_a_log(monkeypatch):
  assert _work(monkeypatch, io.StringIO(), 1) == ""


def test_long_work_leaves_plain_lines(monkeypatch):
  lines = _work(monkeypatch, io.StringIO(), 15).splitlines()
  assert lines[0] == "sampling: 1 of 4 rows (25%)"
  assert lines[-1] == "sampling: 4 of 4 rows (100%)"


@pytest.mark.filterwarnings("ignore")
def test_a_terminal_gets_a_bar(monkeypatch):
  monkeypatch.setattr("sys.stderr", _Terminal())
  with progress.bar("sampling", 4, "rows") as bar:
    bar.update(4)
  text = progress.sys.stderr.getvalue()
  assert "4/4" in text
  assert "\r" in text
