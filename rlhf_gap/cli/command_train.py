r"""Trains SFT, preference models, offline, online or replay, from a gin file.

  rlhf-gap train --gin_file=gin_configs/runs/online.gin \
    --gin.MODEL_DIR=runs/online --gin.INITIAL_CHECKPOINT_PATH=... \
    --gin.PROMPTS=... --gin.JUDGE_CHECKPOINT_PATH=...

Rerun the same command to resume after an interruption, bit for bit. On several
hosts, start the same command on each (docs/pods.md).
"""

import argparse
import functools
import os

from rlhf_gap.cli import applying, gin_flags, launching, supervising

TAKES_GIN = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap train`."""
  gin_flags.add_arguments(parser)
  launching.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
  """Trains, as one process or one of several; returns the exit code."""
  address = launching.find(
    arguments.coordinator,
    arguments.num_processes,
    arguments.process_id,
    os.environ,
  )
  names = ("dead_after_seconds", "hung_after_seconds")
  when = "for a run of several processes"
  applying.only_if(address is not None, arguments, when, *names)
  if address is None:
    _train(arguments)
    return 0
  return supervising.supervised(
    functools.partial(_train_with_others, arguments, address)
  )


def _train_with_others(
  arguments: argparse.Namespace,
  address: launching.Address,
  parent: int,
  last_words: supervising.LastWords,
) -> int:
  dead = arguments.dead_after_seconds or launching.DEAD_AFTER_SECONDS
  hung = arguments.hung_after_seconds or launching.HUNG_AFTER_SECONDS
  launching.leave_waiting_to_the_watch(hung, os.environ)
  from rlhf_gap import processes

  limits = processes.Limits(dead, hung)
  with processes.joined(
    address.coordinator,
    address.num_processes,
    address.process_id,
    limits=limits,
    parent=parent,
    last_words=last_words,
  ):
    _train(arguments)
  return 0


def _train(arguments: argparse.Namespace) -> None:
  from rlhf_gap import processes
  from rlhf_gap.cli import caching, gin_files

  gin_flags.parse(arguments)
  processes.check_same(gin_files.settings())
  from rlhf_gap.training import description, run

  caching.use_persistent_cache()
  described = gin_flags.construct(description.Run, arguments)
  outcome = run.train(described, gin_files.operative())
  step = int(outcome.state.step)
  folder = os.path.join(described.model_dir, f"checkpoint_{step}")
  if processes.is_first():
    unit = "step" if step == 1 else "steps"
    print(f"{folder}: {outcome.reason} after {step:,} {unit}")
