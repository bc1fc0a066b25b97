"""tools/launch_local.sh, its own arguments."""

import pathlib
import subprocess

import pytest

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "launch_local.sh"


@pytest.mark.parametrize(
  "words", [[], ["--gin_file=runs/online.gin"], ["0", "--gin_file=x"], ["2x"]]
)
def test_without_a_number_of_processes_it_says_how_it_is_used(words):
  done = subprocess.run(
    [TOOL, *words], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  given = words[0] if words else ""
  assert done.stderr.startswith(f"N={given}; expected how many processes, 1 or")
  assert "usage: tools/launch_local.sh N [flags" in done.stderr
