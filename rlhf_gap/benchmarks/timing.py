"""Times calls and counts their compilations."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping

import jax

from rlhf_gap import progress

_COMPILED = "/jax/core/compile/backend_compile_duration"
_count = 0
_listening = False


@dataclasses.dataclass(frozen=True)
class Timing:
  """Repeated timings of one call.

  Attributes:
    first_seconds: duration of the first call, including compilation.
    seconds: durations of the later calls.
    compilations: programs compiled in the first call (or read from a
      compilation cache).
    recompilations: programs compiled in later calls. If not 0, every step of a
      run may compile.
  """

  first_seconds: float
  seconds: tuple[float, ...]
  compilations: int
  recompilations: int

  @property
  def median_seconds(self) -> float:
    """The median of the later calls."""
    return statistics.median(self.seconds)

  @property
  def compile_seconds(self) -> float:
    """Extra duration of the first call over the median of the others."""
    return max(0.0, self.first_seconds - self.median_seconds)


def alternate(
  calls: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, Timing]:
  """Times several calls in turn, so that other load affects all of them alike.

  Args:
    calls: calls to time, by name; timing waits for the arrays they return.
      Compilations in a call's first run are attributed to it.
    repeats: timings per call after its first run, at least 1.

  Returns:
    The timings by name.
  """
  _listen()
  with progress.bar("timing", (1 + repeats) * len(calls), "calls") as done:

    def timed(call: Callable[[], object]) -> tuple[float, int]:
      before = _count
      start = time.perf_counter()
      jax.block_until_ready(call())
      seconds = time.perf_counter() - start
      done.update(1)
      return seconds, _count - before

    first = {name: timed(call) for name, call in calls.items()}
    rounds = [
      {name: timed(call) for name, call in calls.items()}
      for _ in range(repeats)
    ]
  return {
    name: Timing(
      first_seconds=first[name][0],
      seconds=tuple(times[name][0] for times in rounds),
      compilations=first[name][1],
      recompilations=sum(times[name][1] for times in rounds),
    )
    for name in calls
  }


def _listen() -> None:
  # JAX has no public way to remove a listener, so register only once.
  global _listening
  if not _listening:
    jax.monitoring.register_event_duration_secs_listener(_count_compilations)
    _listening = True


def _count_compilations(
  event: str, duration_secs: float, **_: str | int
) -> None:
  global _count
  del duration_secs
  _count += event == _COMPILED
