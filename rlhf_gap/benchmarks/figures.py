"""From timings and counted work to figures beside the machine's limits."""

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
  """Times calls in turn with the machine's own limits.

  Args:
    calls: what to time by name. The first is the program in question, and its
      figures carry no prefix; those of the others carry "<name>_".
    works: the counted work of some of them.
    dtype: type of the machine's matrix product.
    repeats: how often to time each.

  Returns:
    For each call compile seconds, compilations and median seconds; where its
    work is known, its rates and their fractions of the machine's. A fraction
    of the memory's rate above 1 is traffic that caches served.
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
    own = _of_timing(timings[name])
    if name in works:
      own |= _rates(works[name], timings[name].median_seconds, *limits.values())
    prefix = f"{name}_" if number else ""
    figures |= {f"{prefix}{key}": value for key, value in own.items()}
  return figures | limits


def per_second(figures: Figures, **counts: int) -> Figures:
  """Returns what the first call does in a second.

  Args:
    figures: what `measure` returned.
    **counts: how many of each thing one call does.

  Returns:
    "<thing>_per_second" of each.
  """
  seconds = float(figures["median_seconds"])
  return {f"{name}_per_second": n / seconds for name, n in counts.items()}


def against_peer(figures: Figures) -> Figures:
  """Returns how many times as fast as the call "peer" the first one is."""
  peer, ours = figures["peer_median_seconds"], figures["median_seconds"]
  return {"speedup_over_peer": float(peer) / float(ours)}


def against_parts(
  figures: Figures, whole: str, parts: Sequence[str]
) -> Figures:
  """Returns how long a call takes as a multiple of its parts one by one."""
  together = sum(float(figures[f"{part}_median_seconds"]) for part in parts)
  seconds = float(figures[f"{whole}_median_seconds"])
  return {f"{whole}_over_parts": seconds / together}


def _of_timing(timed: timing.Timing) -> Figures:
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
