"""Whether a setting can show anything: the judges, the start, the ranges."""

import math
import statistics as stdlib_statistics

import numpy as np

from rlhf_gap.analysis import arms, curves, resampling, statistics
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  Answer,
  Claim,
  Evidence,
  Verdict,
  all_of,
  basis,
  exceeds,
  plain,
  signed,
  within,
)

_LEAST_ACCURACY, _MOST_ACCURACY = 0.70, 0.95
_MOST_START = 0.35
_Z = stdlib_statistics.NormalDist().inv_cdf(0.975)


def _proxy_is_useful_and_fallible(evidence: Evidence) -> Answer:
  found = evidence.accuracy("proxy", "golden")
  verdict, reason = within(found, _LEAST_ACCURACY, _MOST_ACCURACY)
  return Answer(
    verdict,
    f"accuracy against golden labels {plain(found)} ({found.n:,} pairs)",
    reason,
  )


def _golden_is_the_better_judge(evidence: Evidence) -> Answer:
  golden, proxy = (
    evidence.accuracy(judge, "utility") for judge in ("golden", "proxy")
  )
  difference = golden.value - proxy.value
  # As if on different pairs; on the same ones it is surer than that.
  half = _Z * math.hypot(golden.sem, proxy.sem)
  numbers = (
    f"accuracy against the hidden utility: golden {plain(golden)}, proxy"
    f" {plain(proxy)}, difference {difference:+.3f}"
    f" [{difference - half:+.3f}, {difference + half:+.3f}]"
    f" ({golden.n:,} and {proxy.n:,} pairs)"
  )
  if difference - half > 0:
    return Answer(Verdict.SUPPORTED, numbers)
  if difference + half < 0:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(Verdict.UNDERPOWERED, numbers, "the interval holds 0")


def _there_is_room_to_rise(evidence: Evidence) -> Answer:
  start = evidence.arm("sft")

  def win_rate(draws: resampling.Draws) -> np.ndarray:
    return curves.mean(start.runs[0], arms.WIN, draws)[:, -1]

  found = resampling.estimate(win_rate, evidence.settings.design(start))
  numbers = (
    f"SFT's win rate against the golden policy {plain(found)}"
    f" ({found.num_prompts:,} prompts)"
  )
  if found.ci95_high < _MOST_START:
    return Answer(Verdict.SUPPORTED, numbers)
  if found.ci95_low >= _MOST_START:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(
    Verdict.UNDERPOWERED, numbers, f"the interval holds {_MOST_START}"
  )


def _the_ranges_overlap(evidence: Evidence) -> Answer:
  both = evidence.arm("online"), evidence.arm("offline")
  found = statistics.overlap(*both, evidence.settings)
  ranges = ", ".join(f"{arm.name} {_range(arm)}" for arm in both)
  numbers = (
    f"KL {ranges} nats; shared log KL of these runs {plain(found, 2)}"
    f" ({basis(found)})"
  )
  if found.ci95_low > 0:
    return Answer(Verdict.SUPPORTED, numbers)
  if found.ci95_high < 0:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(Verdict.UNDERPOWERED, numbers, "the interval holds 0")


def _range(arm: arms.Arm) -> str:
  ends = curves.extent(arm)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  return " to ".join(f"{math.exp(end):.2g}" for end in ends)


def _win_rates_rise(evidence: Evidence) -> Answer:
  start = evidence.arm("sft")
  found = {
    name: statistics.gain(evidence.arm(name), start, evidence.settings)
    for name in ("online", "offline")
  }
  numbers = ", ".join(f"{name} {signed(one)}" for name, one in found.items())
  verdict, reason = all_of(
    [exceeds(one, parts=len(found)) for one in found.values()]
  )
  text = f"highest win rate less SFT's: {numbers} ({basis(*found.values())})"
  return Answer(verdict, text, reason)


CLAIMS = (
  Claim(
    "the proxy is useful and fallible",
    "The proxy agrees with golden labels on 70 to 95% of held-out pairs.",
    "this study's own condition; Tang et al. (2024), section 5.3.1: 70-90%",
    _proxy_is_useful_and_fallible,
  ),
  Claim(
    "golden is the better judge",
    "The golden model knows the hidden utility better than the proxy does.",
    "this study's own condition",
    _golden_is_the_better_judge,
  ),
  Claim(
    "there is room to rise",
    "SFT wins less than 35% against the golden policy.",
    "this study's own condition",
    _there_is_room_to_rise,
  ),
  Claim(
    "the arms reach a common KL",
    "The KL ranges of online and offline overlap.",
    "this study's own condition",
    _the_ranges_overlap,
  ),
  Claim(
    "win rates rise",
    "Online and offline alignment both win more often than SFT at their peaks.",
    "this study's own condition",
    _win_rates_rise,
  ),
)
"""What must hold for the main statements to mean anything."""
