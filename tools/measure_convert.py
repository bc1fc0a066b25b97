"""Measures `rlhf-gap convert` on a randomly initialised model.

    python tools/measure_convert.py --model=t5_1_1_large --folder=DIR

Writes the model as T5X and converts it to Hugging Face and back (with --orbax
also to T5X's Orbax layout), each in a separate process. Prints a line of the
table in docs/checkpoints.md per conversion: wall time, and the process's peak
memory relative to the size of the parameters. Fails if a peak exceeds --limit
times that size.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent


def make(model: str, path: str) -> int:
  """Writes a randomly initialised T5X checkpoint; returns its size in bytes."""
  import jax

  from rlhf_gap import checkpoints
  from rlhf_gap.cli import gin_files
  from rlhf_gap.models import t5

  gin_files.parse([f"gin_configs/models/{model}.gin"])
  config = gin_files.macro("MODEL")
  params = jax.jit(t5.init, static_argnums=0)(config, jax.random.key(0))
  checkpoints.save(path, checkpoints.Checkpoint(config, params), format="t5x")
  return sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def run(argv: list[str]) -> tuple[float, int]:
  """Runs a command; returns its seconds and its peak memory in bytes."""
  start = time.monotonic()
  process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise SystemExit(f"{' '.join(argv)} failed")
  return time.monotonic() - start, usage.ru_maxrss * 1024


def main() -> int:
  """Measures and prints; returns 1 if a peak exceeds the limit."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="t5_1_1_large")
  parser.add_argument("--folder", help="where to write (default: a temporary)")
  parser.add_argument("--limit", type=float, default=1.5)
  parser.add_argument("--orbax", action="store_true")
  arguments = parser.parse_args()
  folder = tempfile.mkdtemp(dir=arguments.folder)
  try:
    return _measure(arguments, folder)
  finally:
    shutil.rmtree(folder)


def _measure(arguments: argparse.Namespace, folder: str) -> int:
  # In a separate process, so that its memory does not count towards any peak.
  source = os.path.join(folder, "0_t5x")
  call = f"measure_convert.make({arguments.model!r}, {source!r})"
  program = f"import measure_convert; print({call})"
  made = subprocess.run(
    [sys.executable, "-c", program],
    env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
    capture_output=True,
    text=True,
    check=True,
  )
  nbytes = int(made.stdout)
  formats = ["t5x", "hf", "t5x"] + ["t5x_orbax"] * arguments.orbax
  print("| model | conversion | GB | seconds | peak GB | peak / size |")
  print("|---|---|---|---|---|---|")
  worst = 0.0
  for number in range(1, len(formats)):
    target = os.path.join(folder, f"{number}_{formats[number]}")
    seconds, peak = run(
      [
        *(sys.executable, "-m", "rlhf_gap.cli.main", "convert"),
        *(source, target, f"--format={formats[number]}"),
      ]
    )
    worst = max(worst, peak / nbytes)
    print(
      f"| {arguments.model} | {formats[number - 1]} to {formats[number]} |"
      f" {nbytes / 1e9:.2f} | {seconds:.1f} | {peak / 1e9:.2f} |"
      f" {peak / nbytes:.2f} |",
      flush=True,
    )
    shutil.rmtree(source)
    source = target
  return int(worst > arguments.limit)


if __name__ == "__main__":
  sys.exit(main())
