"""Does training too long hurt? Claims about Figure 1's falling tails."""

from rlhf_gap.analysis import arms, decline, judges
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.decline import Decline
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  MIN_SEEDS,
  SMALLEST_EFFECT,
  Verdict,
  exceeds,
  few_seeds,
)
from rlhf_gap.analysis.wording import basis, signed

# At twice the peak's d = sqrt(KL), Gao's form has lost 39% of the gain, enough
# for a decline to show.
_FAR_BEYOND_PEAK = 4.0


def _proxy_is_over_optimized(evidence: Evidence) -> Answer:
  measured = decline.measure(evidence.arm("online"), evidence.settings)
  if measured.optimized is None:
    raise UndefinedError("the proxy was not asked when online was evaluated")
  return _is_over_optimized(measured, "proxy", "golden")


def _golden_is_over_optimized(evidence: Evidence) -> Answer:
  measured = decline.measure(
    judges.judged_by(evidence, "utility").arm("online"),
    evidence.settings,
    optimized=judges.GOLDEN_WIN,
  )
  return _is_over_optimized(measured, "golden", "utility")


def _is_over_optimized(measured: Decline, judge: str, truth: str) -> Answer:
  """Decides whether `truth` falls beyond a peak while `judge` keeps rising."""
  numbers = _numbers(measured, truth, judge)
  verdict, reason = _declines(measured)
  if verdict is not Verdict.SUPPORTED or measured.optimized is None:
    return Answer(verdict, numbers, reason)
  rises, why = exceeds(measured.optimized, at_least=0.0)
  if rises is Verdict.SUPPORTED:
    return Answer(verdict, numbers)
  reason = f"the {truth} win rate falls, and the {judge} win rate does not rise"
  if why:
    reason = f"the {truth} win rate falls; for the {judge} win rate, {why}"
  return Answer(rises, numbers, reason)


def _declines(measured: Decline) -> tuple[Verdict, str]:
  verdict, reason = exceeds(measured.win_rate)
  ratio = measured.end_kl_nats / max(measured.peak_kl_nats, 1e-9)
  if verdict is Verdict.CONTRADICTED and ratio < _FAR_BEYOND_PEAK:
    return Verdict.UNDERPOWERED, (
      f"the win rate is highest at KL {measured.peak_kl_nats:.2g} nats and"
      f" training ends at {measured.end_kl_nats:.2g}: not pushed far enough to"
      " see a fall"
    )
  return verdict, reason


def _numbers(measured: Decline, truth: str = "", judge: str = "proxy") -> str:
  optimized = measured.optimized
  rise = f", {judge} {signed(optimized)}" if optimized else ""
  fall = f"{truth} {signed(decline.negated(measured.win_rate))}".strip()
  peak, end = measured.peak_kl_nats, measured.end_kl_nats
  where = f"from KL {peak:.2g} to {end:.2g} nats"
  if peak == end:
    where = f"highest at the end, KL {end:.2g} nats; from before"
  return f"{where} {fall}{rise} ({basis(measured.win_rate)})"


def _some_arm_declines(evidence: Evidence) -> Answer:
  """At least one arm declines; each is tested at 1 - 5% / number of arms."""
  measured = {
    name: decline.measure(arm, evidence.settings)
    for name, arm in evidence.arms.items()
    if _has_two_checkpoints_a_run(arm)
  }
  if not measured:
    raise UndefinedError("no arm has two checkpoints")
  confidence = 1 - (1 - evidence.settings.confidence) / len(measured)
  name = max(
    measured, key=lambda name: measured[name].win_rate.interval(confidence)[0]
  )
  largest = measured[name]
  low, high = largest.win_rate.interval(confidence)
  numbers = (
    f"{name}: {_numbers(largest)}; {len(measured)} arms looked at, so decided"
    f" by the {confidence:.1%} interval [{-high:+.3f}, {-low:+.3f}]"
  )
  if largest.win_rate.num_seeds < MIN_SEEDS:
    reason = few_seeds(largest.win_rate.num_seeds)
    return Answer(Verdict.UNDERPOWERED, numbers, reason)
  if low > 0:
    return Answer(Verdict.SUPPORTED, numbers)
  verdicts = {_declines(each)[0] for each in measured.values()}
  if verdicts == {Verdict.CONTRADICTED}:
    return Answer(Verdict.CONTRADICTED, numbers)
  return Answer(
    Verdict.UNDERPOWERED,
    numbers,
    f"no fall is sure, and one of {SMALLEST_EFFECT:g} is not excluded",
  )


def _has_two_checkpoints_a_run(arm: arms.Arm) -> bool:
  return arm.num_checkpoints >= 2 * len(arm.runs)


CLAIMS = (
  Claim(
    "win rate falls beyond a peak",
    "At least one arm, trained for long enough, falls from its peak.",
    "Tang et al. (2024), Fig. 1",
    _some_arm_declines,
    judged=True,
  ),
  Claim(
    "the proxy is over-optimized",
    "With further training, online alignment loses golden win rate beyond a"
    " peak while the proxy's opinion of it keeps rising.",
    "Tang et al. (2024), section 2.1; Gao et al. (2023)",
    _proxy_is_over_optimized,
  ),
  Claim(
    "golden is over-optimized",
    "With further training, online alignment loses win rate by the hidden"
    " utility beyond a peak while the golden model's opinion of it keeps"
    " rising: golden win rates are then no measure of quality.",
    "this study's own condition; Gao et al. (2023)",
    _golden_is_over_optimized,
    requires_any=("online",),
  ),
)
