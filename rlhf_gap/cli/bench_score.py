"""Log-probabilities of given responses, with one encoding per prompt."""

import argparse
from collections.abc import Mapping

from rlhf_gap.cli import bench_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `rlhf-gap bench score`."""
  bench_model.add_arguments(
    parser, batch_size=8, num_samples=2, input_length=1024, output_length=128
  )


def measure(arguments: argparse.Namespace) -> Mapping[str, float | int | str]:
  """Times scoring and returns the figures."""
  from rlhf_gap.benchmarks import figures, workloads

  config, params, shape = bench_model.load(arguments)
  scoring = workloads.scoring(config, params, shape)
  results = figures.measure(
    {"score": scoring.call},
    {"score": scoring.work},
    dtype=config.dtype,
    repeats=arguments.repeats,
  )
  results |= figures.per_second(results, tokens=scoring.tokens)
  return bench_model.described(config, shape) | results
