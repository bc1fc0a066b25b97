"""Mutation testing of losses and objectives.

Copies the package and its tests to a temporary folder. Each mutant changes one
line of the copy; the tests of losses and objectives then run until one fails.
Prints which test killed which mutant. Fails if a mutant survives or cannot be
imported.

Usage: python tools/check_mutants.py [--only=TEXT] [--part=K/N]

A part is every Nth mutant: CI tests a different third of them at each commit.
"""

import argparse
import contextlib
import importlib
import io
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Python would use the original's bytecode for a mutant of the same length that
# was written in the same second.
sys.dont_write_bytecode = True

import pytest  # noqa: E402
from mutants import MUTANTS, Mutant  # noqa: E402

from rlhf_gap import progress  # noqa: E402

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_COPIED = ("rlhf_gap", "tests")
_LOSSES = "tests/losses"
_OBJECTIVES = "tests/training/test_objectives.py"
_OPTIMUM = "tests/training/test_known_optimum.py"


class _Verdicts:
  """Records the first failed test and any failed import."""

  def __init__(self, copy: pathlib.Path):
    self._copy = copy
    self.killer = ""
    self.broken = ""

  def pytest_collectreport(self, report: pytest.CollectReport) -> None:
    if report.failed:
      self.broken = report.nodeid

  def pytest_collection_finish(self, session: pytest.Session) -> None:
    tested = pathlib.Path(sys.modules["rlhf_gap"].__file__ or "")
    if self._copy not in tested.parents:
      raise RuntimeError(f"tested {tested} instead of the mutant's copy")

  def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
    if report.failed and not self.killer:
      self.killer = report.nodeid


def _forget_modules() -> None:
  """Makes the next import reload the package and the tests."""
  for name in list(sys.modules):
    if name.partition(".")[0] in _COPIED:
      del sys.modules[name]
  importlib.invalidate_caches()


def _run_tests(copy: pathlib.Path, tests: Sequence[str]) -> _Verdicts:
  """Runs tests, a folder or file at a time, until one fails."""
  verdicts = _Verdicts(copy)
  for test in tests:
    _run_test(copy, test, verdicts)
    if verdicts.killer or verdicts.broken:
      break
  return verdicts


def _run_test(copy: pathlib.Path, test: str, verdicts: "_Verdicts") -> None:
  _forget_modules()
  words = ["-x", "-p", "no:cacheprovider", "-c", str(copy / "pytest.ini")]
  output = io.StringIO()
  with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
    code = pytest.main([*words, str(copy / test)], plugins=[verdicts])
  known = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
  if code not in known and not verdicts.broken:
    raise RuntimeError(f"pytest ended with {code!r}:\n{output.getvalue()}")


def _tests_of(file: str) -> list[str]:
  """Returns all tests, with the most likely killers first."""
  if file.startswith(("losses/", "ops/")):
    return [_LOSSES, _OBJECTIVES, _OPTIMUM]
  return [_OBJECTIVES, _OPTIMUM, _LOSSES]


@contextlib.contextmanager
def _applied(mutant: Mutant, copy: pathlib.Path) -> Iterator[None]:
  path = copy / "rlhf_gap" / mutant.file
  original = path.read_text()
  path.write_text(original.replace(mutant.old, mutant.new))
  try:
    yield
  finally:
    path.write_text(original)


def _out_of_date(mutants: Sequence[Mutant]) -> list[str]:
  found = []
  for mutant in mutants:
    text = (_ROOT / "rlhf_gap" / mutant.file).read_text()
    if text.count(mutant.old) != 1:
      found.append(
        f"{mutant.what}: rlhf_gap/{mutant.file} holds {mutant.old!r}"
        f" {text.count(mutant.old)} times, expected once; bring it up to date"
        " in tools/mutants.py"
      )
  return found


def _copied(folder: str) -> pathlib.Path:
  copy = pathlib.Path(folder).resolve()
  for name in _COPIED:
    shutil.copytree(
      _ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
    )
  (copy / "pytest.ini").write_text("[pytest]\n")
  sys.path.insert(0, str(copy))
  return copy


def check(mutants: Sequence[Mutant]) -> list[str]:
  """Runs the tests against each mutant and prints which test killed it.

  Args:
    mutants: the mutants to test.

  Returns:
    One line for each mutant that survives or cannot be imported.
  """
  faults: list[str] = []
  width = max(len(mutant.what) for mutant in mutants)
  with (
    tempfile.TemporaryDirectory() as folder,
    progress.bar("mutants", len(mutants), "mutants") as done,
  ):
    copy = _copied(folder)
    intact = _run_tests(copy, _tests_of(""))
    if intact.killer or intact.broken:
      return [f"{intact.killer or intact.broken} fails without a mutant"]
    for mutant in mutants:
      with _applied(mutant, copy):
        verdicts = _run_tests(copy, _tests_of(mutant.file))
      fate = verdicts.killer.rpartition("/")[2] or "SURVIVED"
      if verdicts.broken:
        fate = f"CANNOT BE IMPORTED ({verdicts.broken})"
      if verdicts.broken or not verdicts.killer:
        faults.append(f"{mutant.what} (rlhf_gap/{mutant.file}): {fate}")
      print(f"{mutant.what:{width}}  {fate}", flush=True)
      done.update(1)
  return faults


def _part(text: str) -> slice:
  """Parses K/N: part K modulo N of N."""
  k, _, n = text.partition("/")
  return slice(int(k) % int(n), None, int(n))


def main() -> int:
  """Parses the flags, runs the check and returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--only", default="", help="text in a mutant's name")
  parser.add_argument("--part", metavar="K/N", type=_part, default=slice(None))
  flags = parser.parse_args()
  mutants = [mutant for mutant in MUTANTS if flags.only in mutant.what]
  mutants = mutants[flags.part]
  if not mutants:
    parser.error(f"no mutant's name contains {flags.only!r}")
  faults = _out_of_date(MUTANTS) or check(mutants)
  print("\n".join(faults) or f"all {len(mutants)} mutants killed")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
