r"""Trains: SFT, preference models, offline, online, replay, from a gin file.

  rlhf-gap train --gin_file=gin_configs/runs/online.gin \
    --gin.MODEL_DIR=runs/online --gin.INITIAL_CHECKPOINT_PATH=... \
    --gin.PROMPTS=... --gin.JUDGE_CHECKPOINT_PATH=...

The same command again goes on where the run was interrupted, bit for bit.
"""

import argparse
import os

from rlhf_gap.cli import gin_flags

TAKES_GIN = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap train`."""
  gin_flags.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
  """Trains and says how it ended."""
  from rlhf_gap.cli import caching, gin_files

  gin_files.parse(
    arguments.gin_file,
    arguments.gin_bindings,
    gin_flags.search_paths(arguments),
  )
  from rlhf_gap.training import description, run

  caching.use_persistent_cache()
  described = gin_files.construct(
    description.Run,
    arguments.gin_file,
    arguments.gin_bindings,
    gin_flags.search_paths(arguments),
  )
  outcome = run.train(described, gin_files.operative())
  step = int(outcome.state.step)
  folder = os.path.join(described.model_dir, f"checkpoint_{step}")
  print(f"{folder}: {outcome.reason} after {step:,} steps")
