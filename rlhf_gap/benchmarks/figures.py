"""Computes benchmark figures from timings, counted work and machine limits."""

import os
from collections.abc import Callable, Mapping, Sequence

from rlhf_gap.benchmarks import machine, timing, work

Figures = dict[str, float | int | str]
Call = Callable[[], object]


def measure(
  calls: Mapping[str, Call],
  works: Mapping[str, work.Work],
  *,
  dtype: str,
  repeats: int,
) -> Figures:
  """Times calls, interleaved with probes of the machine's limits.

  Args:
    calls: calls to time, by name. The first is the benchmarked program: its
      figures have no prefix. Those of the others have the prefix "<name>_".
    works: the counted work of some of the calls.
    dtype: dtype of the matrix product that probes the machine.
    repeats: number of timings per call.

  Returns:
    For each call its compile seconds, compilations and median seconds; if its
    work is known, also its rates and their fractions of the machine's rates. A
    fraction of the memory rate above 1 means that caches served the traffic.
  """
  load = os.getloadavg()[0]
  probes = {
    "machine_matrix_flops_per_second": machine.matrix_products(dtype),
    "machine_memory_bytes_per_second": machine.memory(),
  }
  probing = {name: probe.call for name, probe in probes.items()}
  timings = timing.alternate({**calls, **probing}, repeats)
  limits = {
    name: probe.amount / timings[name].median_seconds
    for name, probe in probes.items()
  }
  figures: Figures = {"load_average": load, "cpus": os.cpu_count() or 0}
  for number, name in enumerate(calls):
    of_call = _timing_figures(timings[name])
    if name in works:
      seconds = timings[name].median_seconds
      of_call |= _rates(works[name], seconds, *limits.values())
    prefix = f"{name}_" if number else ""
    figures |= {f"{prefix}{key}": value for key, value in of_call.items()}
  return figures | limits


def per_second(figures: Figures, **counts: int) -> Figures:
  """Returns the throughput of the first call.

  Args:
    figures: the result of `measure`.
    **counts: number of units that one call processes, by unit.

  Returns:
    "<unit>_per_second" for each unit.
  """
  seconds = float(figures["median_seconds"])
  return {f"{name}_per_second": n / seconds for name, n in counts.items()}


def against_peer(figures: Figures) -> Figures:
  """Returns the speedup of the first call over the call "peer"."""
  peer, ours = figures["peer_median_seconds"], figures["median_seconds"]
  return {"speedup_over_peer": float(peer) / float(ours)}


def against_parts(
  figures: Figures, whole: str, parts: Sequence[str]
) -> Figures:
  """Returns the ratio of a call's time to the total time of its parts."""
  together = sum(float(figures[f"{part}_median_seconds"]) for part in parts)
  seconds = float(figures[f"{whole}_median_seconds"])
  return {f"{whole}_over_parts": seconds / together}


def _timing_figures(timed: timing.Timing) -> Figures:
  return {
    "compile_seconds": timed.compile_seconds,
    "compilations": timed.compilations,
    "recompilations": timed.recompilations,
    "median_seconds": timed.median_seconds,
    "least_seconds": min(timed.seconds),
  }


def _rates(
  counted: work.Work, seconds: float, matrix_limit: float, memory_limit: float
) -> Figures:
  flops, moved = counted.flops / seconds, counted.bytes / seconds
  fractions = {
    "fraction_of_matrix_rate": flops / matrix_limit,
    "fraction_of_memory_rate": moved / memory_limit,
  }
  return {
    "model_flops": counted.flops,
    "model_flops_per_second": flops,
    "bytes_per_second": moved,
    **fractions,
    "fraction_of_limit": max(fractions.values()),
  }
