"""Can the setting show anything? Checks of judges, start and KL ranges."""

import math
import statistics as stdlib_statistics

import numpy as np

from rlhf_gap.analysis import (
  agreement,
  arms,
  curves,
  resampling,
  statistics,
)
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  SMALLEST_EFFECT,
  Verdict,
  all_of,
  exceeds,
  within,
)
from rlhf_gap.analysis.wording import basis, plain, signed

_LOWEST_ACCURACY, _HIGHEST_ACCURACY = 0.70, 0.95
_HIGHEST_START = 0.35
_Z = stdlib_statistics.NormalDist().inv_cdf(0.975)


def _proxy_is_useful_and_fallible(evidence: Evidence) -> Answer:
  # The labels that the proxy was trained on.
  measured = evidence.judges.get("proxy")
  exact = measured is not None and "golden" not in measured.accuracy
  labels = "utility" if exact else "golden"
  accuracy = evidence.accuracy("proxy", labels)
  verdict, reason = within(accuracy, _LOWEST_ACCURACY, _HIGHEST_ACCURACY)
  return Answer(
    verdict,
    f"accuracy against {labels} labels {plain(accuracy)}"
    f" ({accuracy.n:,} pairs)",
    reason,
  )


def _golden_is_the_better_judge(evidence: Evidence) -> Answer:
  golden, proxy = (
    evidence.accuracy(judge, "utility") for judge in ("golden", "proxy")
  )
  difference = golden.value - proxy.value
  # An interval for independent pairs: on the same pairs it is conservative.
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


def _golden_judges_samples_well(evidence: Evidence) -> Answer:
  measured = agreement.with_utility(evidence.arm("online"), evidence.settings)
  worst = min(measured, key=lambda each: each.rate.value)
  numbers = (
    "agreement with the hidden utility on prompts that it decides:"
    f" {', '.join(f'step {m.step} {plain(m.rate)}' for m in measured)}"
    f" ({basis(worst.rate)})"
  )
  if all(each.rate.ci95_low > _LOWEST_ACCURACY for each in measured):
    return Answer(Verdict.SUPPORTED, numbers)
  if any(_below(each.rate, len(measured)) for each in measured):
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(
    Verdict.UNDERPOWERED, numbers, f"an interval holds {_LOWEST_ACCURACY:g}"
  )


def _below(rate: resampling.Estimate, num_parts: int) -> bool:
  alpha = (1 - rate.confidence) / num_parts
  return rate.interval(1 - alpha)[1] < _LOWEST_ACCURACY


def _there_is_room_to_rise(evidence: Evidence) -> Answer:
  start = evidence.arm("sft")

  def win_rate(resamples: resampling.Resamples) -> np.ndarray:
    return curves.mean(start.runs[0], arms.WIN, resamples)[:, -1]

  start_rate = resampling.estimate(win_rate, evidence.settings.design(start))
  numbers = (
    f"SFT's win rate against the golden policy {plain(start_rate)}"
    f" ({start_rate.num_prompts:,} prompts)"
  )
  if start_rate.ci95_high < _HIGHEST_START:
    return Answer(Verdict.SUPPORTED, numbers)
  if start_rate.ci95_low >= _HIGHEST_START:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(
    Verdict.UNDERPOWERED, numbers, f"the interval holds {_HIGHEST_START}"
  )


def _the_ranges_overlap(evidence: Evidence) -> Answer:
  both = evidence.arm("online"), evidence.arm("offline")
  shared = statistics.overlap(*both, evidence.settings)
  ranges = ", ".join(f"{arm.name} {_range(arm)}" for arm in both)
  numbers = (
    f"KL {ranges} nats; shared log KL of these runs {plain(shared, 2)}"
    f" ({basis(shared)})"
  )
  if shared.ci95_low > 0:
    return Answer(Verdict.SUPPORTED, numbers)
  if shared.ci95_high < 0:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(Verdict.UNDERPOWERED, numbers, "the interval holds 0")


def _range(arm: arms.Arm) -> str:
  ends = curves.extent(arm)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  return " to ".join(f"{math.exp(end):.2g}" for end in ends)


def _win_rates_rise(evidence: Evidence) -> Answer:
  start = evidence.arm("sft")
  gains = {
    name: statistics.gain(evidence.arm(name), start, evidence.settings)
    for name in ("online", "offline")
  }
  numbers = ", ".join(f"{name} {signed(gain)}" for name, gain in gains.items())
  verdict, reason = all_of(
    [exceeds(gain, num_parts=len(gains)) for gain in gains.values()]
  )
  text = f"highest win rate minus SFT's: {numbers} ({basis(*gains.values())})"
  return Answer(verdict, text, reason)


GOLDEN_JUDGES_WELL = Claim(
  "golden judges the policies' samples well",
  "At every checkpoint of online alignment, the golden model agrees with the"
  " hidden utility on at least 70% of the prompts that the utility decides.",
  "this study's own condition",
  _golden_judges_samples_well,
  requires_any=("online",),
  rule=(
    "Agreement with the hidden utility where it decides, at each step of"
    " the online runs. Supported if every interval lies above"
    f" {_LOWEST_ACCURACY:.2f}, contradicted if one at 1 - 5% / steps lies"
    " below."
  ),
)
"""The gate: if contradicted, golden win rates do not measure quality."""

CLAIMS = (
  Claim(
    "the proxy is useful and fallible",
    "The proxy agrees with golden labels on 70 to 95% of held-out pairs.",
    "this study's own condition; Tang et al. (2024), section 5.3.1: 70-90%",
    _proxy_is_useful_and_fallible,
    rule=(
      "Accuracy on held-out golden-labelled pairs. Supported if its"
      f" interval lies in [{_LOWEST_ACCURACY:.2f}, {_HIGHEST_ACCURACY:.2f}],"
      " contradicted if it lies outside."
    ),
  ),
  Claim(
    "golden is the better judge",
    "The golden model knows the hidden utility better than the proxy does.",
    "this study's own condition",
    _golden_is_the_better_judge,
    rule=(
      "The difference of accuracy against the hidden utility on held-out"
      " pairs. Supported if its interval lies above 0, contradicted if it"
      " lies below."
    ),
  ),
  GOLDEN_JUDGES_WELL,
  Claim(
    "there is room to rise",
    "SFT wins less than 35% against the golden policy.",
    "this study's own condition",
    _there_is_room_to_rise,
    rule=(
      "SFT's win rate against the golden policy. Supported if its interval"
      f" lies below {_HIGHEST_START:g}, contradicted if it lies above."
    ),
  ),
  Claim(
    "the arms reach a common KL",
    "The KL ranges of online and offline overlap.",
    "this study's own condition",
    _the_ranges_overlap,
    rule=(
      "The length of the shared range of log KL of these runs. Supported if"
      " its interval lies above 0, contradicted if it lies below."
    ),
  ),
  Claim(
    "win rates rise",
    "Online and offline alignment both win more often than SFT at their peaks.",
    "this study's own condition",
    _win_rates_rise,
    rule=(
      "The highest win rate minus SFT's, cross-fitted, for online and"
      " offline. Supported if both intervals lie above 0, contradicted if"
      f" one at 97.5% lies below {SMALLEST_EFFECT:g}."
    ),
  ),
)
"""Conditions without which the other claims mean little."""
