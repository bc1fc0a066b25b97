"""Fuzzes every reader with damaged files, which it must refuse cleanly.

  tools/fuzz.py --seconds=60             as CI does: an equal share for each
  tools/fuzz.py --seconds=1200           as every night
  tools/fuzz.py --targets=t5x,store      only some readers
  tools/fuzz.py --repeat='["t5x", [["cut", "checkpoint", 7]]]'

Each reader (`tools/fuzz_targets.py`) runs in a process of its own with bounded
memory. A sound example is mutated (`tools/fuzz_mutations.py`); the reader must
return or raise `UserError`, within 10 seconds and without ending the process.
Hypothesis minimizes failures, which are printed as a line for --repeat. Add
that line to tests/corpus/failures.jsonl when the fault is fixed.
"""

import argparse
import json
import os
import pathlib
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

_ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "tools")]

_EXAMPLE_SECONDS = 10.0
_START_SECONDS = 120.0
_MEMORY_BYTES = 8 << 30
_BATCH = 50


class _Worker:
  """Runs one reader on mutated examples; lives in the child process."""

  def __init__(self, name: str):
    import fuzz_targets

    self.name = name
    self.target = fuzz_targets.TARGETS[name]
    self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
    self.sound = self.scratch / "sound"
    self.sound.mkdir()
    self.target.make(self.sound)
    self.seen: set[str] = set()
    self.target.read(self._copy())  # also imports what it needs, unlimited

  def names(self) -> list[str]:
    """Returns the example's files, repeated by how often they are damaged."""
    files = [p for p in sorted(self.sound.rglob("*")) if p.is_file()]
    names = [str(p.relative_to(self.sound)) for p in files]
    often = [n for n in names if n.endswith(self.target.often or ("\n",))]
    top = [n for n in often if n.count("/") <= 1 and not n.endswith(".zarray")]
    return names + often + top * (1 + len(names) // max(1, len(top)))

  def _copy(self) -> pathlib.Path:
    folder = self.scratch / "checkpoint_1000"
    if folder.exists():
      shutil.rmtree(folder)
    shutil.copytree(self.sound, folder, copy_function=shutil.copyfile)
    return folder

  def read(self, mutations: list[list[Any]]) -> str | None:
    """Returns what went wrong; None if nothing did."""
    import fuzz_mutations

    from rlhf_gap import errors

    folder = self._copy()
    try:
      for mutation in mutations:
        fuzz_mutations.apply(folder, mutation)
    except (OSError, ValueError):
      return None  # two mutations that exclude each other
    try:
      self.target.read(folder)
    except errors.UserError as error:
      return None if len(str(error).splitlines()) == 1 else "several lines"
    except BaseException as error:
      frames = traceback.extract_tb(error.__traceback__)
      ours = [f for f in frames if "rlhf_gap" in f.filename.split("/")]
      at = ours[-1] if ours else frames[-1]
      where = f"{pathlib.Path(at.filename).name}:{at.name}"
      text = " ".join(str(error).split())[:120]
      return f"{type(error).__name__} at {where} ({text})"
    return None


def _say(kind: str, content: object) -> None:
  os.write(3, (json.dumps([kind, content]) + "\n").encode())


def _work(name: str, seed: int) -> None:
  """Feeds one reader until it is stopped."""
  import fuzz_mutations
  import hypothesis

  worker = _Worker(name)
  resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
  strategy = fuzz_mutations.of_files(worker.names())
  last: list[Any] = []

  def check(mutations: list[list[Any]]) -> None:
    _say("input", mutations)
    fault = worker.read(mutations)
    _say("done", None)
    if fault and fault.partition(" (")[0] not in worker.seen:
      last[:] = [mutations, fault]
      raise AssertionError(fault.partition(" (")[0])

  while True:
    last.clear()
    try:
      hypothesis.seed(seed)(
        hypothesis.settings(
          max_examples=_BATCH,
          deadline=None,
          database=None,
          print_blob=False,
          verbosity=hypothesis.Verbosity.quiet,
          suppress_health_check=list(hypothesis.HealthCheck),
        )(hypothesis.given(strategy)(check))
      )()
    except BaseException:
      if not last:
        raise
      worker.seen.add(last[1].partition(" (")[0])
      _say("fault", last)
    seed += 1


class _Child:
  """A process that feeds one reader, and reports each input on a pipe."""

  def __init__(self, name: str, seed: int):
    # Of its own, as a process that is killed leaves its files behind.
    self._scratch = tempfile.mkdtemp(prefix="fuzz-")
    self._errors = tempfile.TemporaryFile()  # noqa: SIM115
    self._pipe, writing = os.pipe()
    command = [sys.executable, __file__, f"--worker={name}", f"--seed={seed}"]
    self._process = subprocess.Popen(
      ["bash", "-c", f'exec "$@" 3>&{writing}', "bash", *command],
      pass_fds=(writing,),
      env={**os.environ, "TMPDIR": self._scratch},
      stdout=subprocess.DEVNULL,
      stderr=self._errors,
    )
    os.close(writing)
    self._unread = b""

  def messages(self, seconds: float) -> list[list[Any]] | None:
    """Returns the next messages; [] at its end, None if it takes too long."""
    lines: list[bytes] = []
    while not lines:
      ready, _, _ = select.select([self._pipe], [], [], seconds)
      if not ready:
        return None
      chunk = os.read(self._pipe, 1 << 16)
      if not chunk:
        return []
      *lines, self._unread = (self._unread + chunk).split(b"\n")
    return [json.loads(line) for line in lines]

  def stop(self) -> int:
    """Kills the process, removes its files and returns its exit code."""
    self._process.kill()
    os.close(self._pipe)
    code = self._process.wait()
    shutil.rmtree(self._scratch)
    return code

  def errors(self) -> str:
    """Returns what the process wrote to standard error."""
    self._errors.seek(0)
    return self._errors.read().decode(errors="replace")


def _fuzz(name: str, seed: int, seconds: float) -> tuple[int, list[list[Any]]]:
  """Returns how many inputs one reader was given, and [input, fault] pairs."""
  tried, faults = 0, []
  end = None
  while end is None or time.monotonic() < end:
    child = _Child(name, seed)
    current: Any = None
    limit = _START_SECONDS
    while messages := child.messages(limit):
      end = end or time.monotonic() + seconds
      limit = _EXAMPLE_SECONDS
      for kind, content in messages:
        if kind == "input":
          current = content
        elif kind == "done":
          tried, current = tried + 1, None
        else:
          faults.append(content)
      if time.monotonic() > end and current is None:
        break
    code = child.stop()
    if current is not None:
      tried += 1
      hung = messages is None
      why = "no answer in time" if hung else f"the process ended with {code}"
      faults.append([current, why])
    elif end is None:
      raise SystemExit(f"the reader {name} did not start:\n{child.errors()}")
    seed += 1000
  return tried, faults


def repeat(name: str, mutations: list[list[Any]]) -> str | None:
  """Returns what goes wrong with one input; None if nothing does.

  Args:
    name: the target.
    mutations: of its sound example.
  """
  worker = _Worker(name)
  try:
    return worker.read(mutations)
  finally:
    shutil.rmtree(worker.scratch)


def main() -> int:
  """Fuzzes, or repeats one input."""
  import fuzz_targets

  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seconds", type=float, default=60)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--targets", default=",".join(fuzz_targets.TARGETS))
  parser.add_argument("--repeat", metavar="JSON")
  parser.add_argument("--worker", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    _work(arguments.worker, arguments.seed)
  if arguments.repeat:
    fault = repeat(*json.loads(arguments.repeat))
    print(fault or "no fault")
    return bool(fault)
  names = arguments.targets.split(",")
  failed = False
  for name in names:
    share = arguments.seconds / len(names)
    tried, faults = _fuzz(name, arguments.seed, share)
    print(f"{name}: {tried} inputs, {len(faults)} faults", flush=True)
    for mutations, fault in faults:
      failed = True
      print(f"  {fault}\n    --repeat='{json.dumps([name, mutations])}'")
  return failed


if __name__ == "__main__":
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  sys.exit(main())
