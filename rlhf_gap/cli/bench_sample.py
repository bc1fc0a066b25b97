"""Sampling responses, of full length or of realistic lengths."""

import argparse
from collections.abc import Mapping

from rlhf_gap.cli import bench_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `rlhf-gap bench sample`."""
  bench_model.add_arguments(
    parser, batch_size=8, num_samples=2, input_length=1024, output_length=128
  )
  bench_model.add_peer(parser)
  parser.add_argument(
    "--early_end",
    action="store_true",
    help="also time responses that end early, with a median of 37 tokens as in"
    " real summaries",
  )


def measure(arguments: argparse.Namespace) -> Mapping[str, float | int | str]:
  """Times sampling and returns the figures."""
  from rlhf_gap.benchmarks import figures, huggingface, workloads

  config, params, shape = bench_model.load(arguments)
  full = workloads.sampling(config, params, shape)
  calls, works = {"sample": full.call}, {"sample": full.work}
  if arguments.peer:
    calls["peer"] = huggingface.sampling(config, shape)
  if arguments.early_end:
    lengths = workloads.response_lengths(shape, seed=0)
    early = workloads.sampling(config, params, shape, lengths)
    calls["early_end"], works["early_end"] = early.call, early.work
  results = figures.measure(
    calls, works, dtype=config.dtype, repeats=arguments.repeats
  )
  results |= figures.per_second(results, steps=full.steps, tokens=full.tokens)
  if arguments.peer:
    results |= figures.against_peer(results)
  if arguments.early_end:
    results |= {
      "early_end_steps": early.steps,
      "early_end_mean_tokens": float(lengths.mean()),
      "early_end_speedup": float(results["median_seconds"])
      / float(results["early_end_median_seconds"]),
    }
  return bench_model.described(config, shape) | results
