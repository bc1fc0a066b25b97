"""Makes the pretrained miniatures with the project's own commands.

Usage: python tools/make_pretrained.py [--folder=DIR] [--size=NAME] [--check]

Builds the store of `mini_pretrain`, trains every size (or one) on it with
gin_configs/runs/pretrain.gin and writes the parameters, in bfloat16 and Hugging
Face's format, to rlhf_gap/data/mini/pretrained. This takes about 10 minutes on
one core. Rerun the same command to resume after an interruption.

--check writes nothing there. It builds a small store of held-out rows and fails
unless every committed checkpoint has the architecture of its model file and a
low enough loss on those rows.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from rlhf_gap import checkpoints, pairs
from rlhf_gap.cli import gin_files
from rlhf_gap.data import mini
from rlhf_gap.models import t5
from rlhf_gap.pairs import online
from rlhf_gap.training import objectives, validation

_ROOT = pathlib.Path(__file__).parent.parent
_ROWS = 65_536
# The smallest model learns to repeat its input only late.
_STEPS = {"small": 4_000, "policy": 1_000, "golden": 1_000}
_HELD_OUT_ROWS = 512
_BATCH = 64
_LARGEST_LOSS_NATS = 0.75
"""Nats per token; random parameters start at ln 256 = 5.5."""

_SETTINGS = (
  "--gin_file=gin_configs/runs/pretrain.gin",
  "--gin.OPTIMIZER=@configured.AdamW()",
  "--gin.configured.AdamW.clip_global_norm=1.0",
  "--gin.LEARNING_RATE=2e-3",
  "--gin.configured.LearningRate.warm_up_steps=100",
  f"--gin.BATCH_SIZE={_BATCH}",
  "--gin.description.Run.tensorboard=False",
)


def _command(*words: str) -> None:
  subprocess.run(
    [sys.executable, "-m", "rlhf_gap.cli.main", *words], check=True, cwd=_ROOT
  )


def make(folder: pathlib.Path, sizes: Sequence[str]) -> None:
  """Trains models in `folder` and writes them to their committed location.

  Args:
    folder: folder for the store and the runs.
    sizes: sizes to train.
  """
  store = folder / "store"
  _command("data", "mini_pretrain", f"--output={store}", f"--rows={_ROWS}")
  for size in sizes:
    run = folder / size
    _command(
      "train",
      f"--gin_file=gin_configs/models/mini_{size}.gin",
      *_SETTINGS,
      f"--gin.configured.LearningRate.decay_steps={_STEPS[size]}",
      f"--gin.TRAIN_STEPS={_STEPS[size]}",
      f"--gin.MODEL_DIR={run}",
      f"--gin.RESPONSES={store}",
    )
    committed = pathlib.Path(mini.pretrained(size))
    shutil.rmtree(committed, ignore_errors=True)
    committed.parent.mkdir(exist_ok=True)
    checkpoints.convert(
      run / f"checkpoint_{_STEPS[size]}",
      committed,
      format="hf",
      dtype="bfloat16",
    )


def losses(folder: pathlib.Path) -> dict[str, float]:
  """Returns each committed checkpoint's loss on held-out rows.

  Args:
    folder: folder for a small store.

  Returns:
    Nats per token, by size.

  Raises:
    SystemExit: a checkpoint does not have its model file's architecture.
  """
  store = str(folder / "held_out")
  rows = ("--split=validation", f"--rows={_HELD_OUT_ROWS}")
  _command("data", "mini_pretrain", f"--output={store}", *rows)
  by_size = {}
  for size in mini.PRETRAINED_SIZES:
    checkpoint = checkpoints.load(mini.pretrained(size), dtype="float32")
    file = f"gin_configs/models/mini_{size}.gin"
    gin_files.parse([file])
    if not online.same_architecture(
      checkpoint.config, gin_files.macro("MODEL")
    ):
      raise SystemExit(f"{size} does not have the architecture of {file}")
    by_size[size] = _loss(checkpoint.config, checkpoint.params, store)
  return by_size


def _loss(config: t5.T5Config, params: t5.Params, store: str) -> float:
  source = pairs.Responses(store).open(pairs.Context(config, None, _BATCH, 0))
  validator = validation.Validator(
    objectives.Sft().bind(config, None), source, _HELD_OUT_ROWS // _BATCH
  )
  return validator.measure(0, params)[validation.LOSS]


def main() -> int:
  """Makes or checks the checkpoints, and prints their losses as JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--folder", type=pathlib.Path)
  parser.add_argument("--size", choices=mini.PRETRAINED_SIZES)
  parser.add_argument("--check", action="store_true")
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    folder = (arguments.folder or pathlib.Path(scratch)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not arguments.check:
      size = arguments.size
      make(folder, (size,) if size else mini.PRETRAINED_SIZES)
    by_size = losses(folder)
  print(json.dumps(by_size))
  return int(max(by_size.values()) > _LARGEST_LOSS_NATS)


if __name__ == "__main__":
  sys.exit(main())
