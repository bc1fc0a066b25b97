"""A killed and restarted writer."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_killed_stores_come_out_byte_identical():
  root = pathlib.Path(__file__).parent.parent.parent
  words = ["--kills=2", "--chunks=40"]
  done = subprocess.run(
    [sys.executable, str(root / "tools" / "check_store.py"), *words],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert "2 killed stores: byte-identical" in done.stdout
