"""Estimates as text."""

import math

from rlhf_gap.analysis.resampling import Estimate
from rlhf_gap.records import Measurement


def signed(number: Estimate, digits: int = 3) -> str:
  """Returns a difference as text, such as "+0.083 [+0.051, +0.115]".

  A single seed does not show how seeds differ, so it has no interval.
  """
  value, low, high = (
    f"{x:+.{digits}f}"
    for x in (number.value, number.ci95_low, number.ci95_high)
  )
  return f"{value} [{low}, {high}]" if math.isfinite(number.sem) else value


def plain(number: Measurement | Estimate, digits: int = 3) -> str:
  """Returns a number as text, such as "0.412 [0.390, 0.434]"; see `signed`."""
  value, low, high = (
    f"{x:.{digits}f}" for x in (number.value, number.ci95_low, number.ci95_high)
  )
  return f"{value} [{low}, {high}]" if math.isfinite(number.sem) else value


def basis(*estimates: Estimate) -> str:
  """Returns the fewest prompts and seeds, such as "512 prompts, 3 seeds"."""
  prompts = min(estimate.num_prompts for estimate in estimates)
  seeds = min(estimate.num_seeds for estimate in estimates)
  return f"{prompts:,} prompts, {count_seeds(seeds)}"


def pairs_basis(*estimates: Estimate) -> str:
  """Returns the fewest pairs and seeds behind estimates."""
  pairs = min(estimate.num_prompts for estimate in estimates)
  seeds = min(estimate.num_seeds for estimate in estimates)
  return f"{pairs:,} pairs a seed, {count_seeds(seeds)}"


def count_seeds(seeds: int) -> str:
  """Returns a number of seeds as text, such as "3 seeds"."""
  return f"{seeds} seed{'' if seeds == 1 else 's'}"
