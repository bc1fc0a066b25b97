"""Judging pairs of responses in both orders.

`passes_of_flops` is the counted arithmetic divided by that of one encoder pass
over all inputs and one decoder step: 1 if nothing is computed twice.
"""

import argparse
from collections.abc import Mapping

from rlhf_gap.cli import bench_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `rlhf-gap bench judge`."""
  bench_model.add_arguments(
    parser, batch_size=32, input_length=1024, output_length=128
  )


def measure(arguments: argparse.Namespace) -> Mapping[str, float | int | str]:
  """Times judging and returns the figures."""
  from rlhf_gap.benchmarks import figures, workloads

  config, params, shape = bench_model.load(arguments)
  judging = workloads.judging(config, params, shape)
  one_pass = workloads.one_judging_pass(
    config, params, rows=2 * shape.batch, length=shape.source
  )
  results = figures.measure(
    {"judge": judging.call},
    {"judge": judging.work},
    dtype=config.dtype,
    repeats=arguments.repeats,
  )
  results |= figures.per_second(
    results, pairs=shape.batch, tokens=judging.tokens
  )
  results["passes_of_flops"] = judging.work.flops / one_pass.flops
  return bench_model.described(config, shape) | results
