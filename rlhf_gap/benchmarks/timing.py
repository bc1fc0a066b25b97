"""How long calls take, and how often JAX compiled for them."""

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
  """One call, timed several times.

  Attributes:
    first_seconds: the first call, compilation included.
    seconds: every later call.
    compilations: programs compiled (or fetched from a cache of compiled
      programs) in the first call.
    recompilations: programs compiled in later calls; anything but 0 means that
      every step of a run may compile.
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
    """What the first call took longer than the others."""
    return max(0.0, self.first_seconds - self.median_seconds)


def alternate(
  calls: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, Timing]:
  """Times several calls in turn, so that a busy machine is busy for all.

  Args:
    calls: what to time, by name; the arrays a call returns are waited for.
      What a call does first in this process counts as its compilation.
    repeats: how often to time each after its first call, at least 1.

  Returns:
    The timings by name.
  """
  _listen()
  with progress.bar("timing", (1 + repeats) * len(calls), "calls") as done:

    def timed(call: Callable[[], object]) -> tuple[float, int]:
      before = _count
      begun = time.perf_counter()
      jax.block_until_ready(call())
      seconds = time.perf_counter() - begun
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
  # JAX has no public way to stop listening: once a process.
  global _listening
  if not _listening:
    jax.monitoring.register_event_duration_secs_listener(_heard)
    _listening = True


def _heard(event: str, duration_secs: float, **_: str | int) -> None:
  global _count
  del duration_secs
  _count += event == _COMPILED
