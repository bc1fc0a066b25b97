"""Checks that a study that is killed and resumed has the same records.

  python tools/check_study.py --kills=5

A tiny study runs to the end. The same study runs in another folder, where the
whole program is killed (SIGKILL) at random moments and restarted. The records
of both must be equal except for time and place.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from rlhf_gap import records
from rlhf_gap.analysis import summary

_FILES = (
  "gin_configs/studies/laptop.gin",
  "gin_configs/studies/parts/tiny.gin",
)
_TASK = "mini_helpfulness"


def _command(workdir: str) -> list[str]:
  program = [sys.executable, "-m", "rlhf_gap.cli.main", "study"]
  files = [f"--gin_file={file}" for file in _FILES]
  return [*program, *files, f"--workdir={workdir}"]


def _start(workdir: str) -> subprocess.Popen:
  log = open(f"{workdir}.log", "a")  # noqa: SIM115
  return subprocess.Popen(_command(workdir), stdout=log, stderr=log)


def _undisturbed(workdir: str) -> float:
  start = time.monotonic()
  if _start(workdir).wait():
    raise SystemExit(f"the undisturbed study failed; see {workdir}.log")
  return time.monotonic() - start


def _killed(workdir: str, kills: int, seconds: float, seed: int) -> int:
  """Returns the number of kills before the study ended."""
  moments = random.Random(seed)
  done = 0
  while done < kills:
    process = _start(workdir)
    try:
      process.wait(timeout=moments.uniform(0.02, 0.9 / kills) * seconds)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      process.wait()
      done += 1
      print(f"kill {done} of {kills}", flush=True)
      continue
    print(f"it ended before kill {done + 1}", flush=True)
    break
  if _start(workdir).wait():
    raise SystemExit(f"the killed study failed; see {workdir}.log")
  return done


def _identities(workdir: str) -> list:
  path = os.path.join(workdir, _TASK, "records.jsonl")
  return [record.identity() for record in records.read(path)]


def main() -> None:
  """Runs the check; returns 1 if records differ."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=5)
  parser.add_argument("--seed", type=int, default=int(time.time()))
  arguments = parser.parse_args()
  print(f"seed {arguments.seed}")
  with tempfile.TemporaryDirectory() as folder:
    one, other = (os.path.join(folder, name) for name in ("one", "other"))
    seconds = _undisturbed(one)
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    summarized = summary.read(one)
    if summarized is None or not summarized.tasks[0].samples:
      raise SystemExit("the report shows nothing of the golden policy")
    kills = _killed(other, arguments.kills, seconds, arguments.seed)
    found, expected = _identities(other), _identities(one)
  if not expected or found != expected:
    raise SystemExit(
      f"records differ: {len(found)} after kills, {len(expected)} undisturbed"
    )
  print(f"{len(expected)} records, equal after {kills} kills")


if __name__ == "__main__":
  main()
