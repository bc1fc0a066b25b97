"""The gradient of teacher-forced log-probabilities, without the update."""

import argparse
from collections.abc import Mapping

from rlhf_gap.cli import bench_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `rlhf-gap bench train`."""
  bench_model.add_arguments(
    parser, batch_size=8, num_samples=1, input_length=1024, output_length=128
  )
  bench_model.add_peer(parser)
  parser.add_argument(
    "--online",
    action="store_true",
    help="also time a whole online step (sampling two responses per prompt,"
    " judging, scoring, gradient) and each of its parts",
  )


def measure(arguments: argparse.Namespace) -> Mapping[str, float | int | str]:
  """Times the gradient and returns the figures."""
  from rlhf_gap.benchmarks import figures, huggingface, online_step, workloads

  config, params, shape = bench_model.load(arguments)
  gradient = workloads.gradient(config, params, shape)
  calls = {"train": gradient.call}
  if arguments.peer:
    calls["peer"] = huggingface.gradient(config, shape)
  if arguments.online:
    calls |= online_step.calls(config, params, shape)
  results = figures.measure(
    calls,
    {"train": gradient.work},
    dtype=config.dtype,
    repeats=arguments.repeats,
  )
  results |= figures.per_second(results, steps=1, tokens=gradient.tokens)
  if arguments.peer:
    results |= figures.against_peer(results)
  if arguments.online:
    results |= figures.against_parts(results, "online", online_step.PARTS)
  return bench_model.described(config, shape) | results
