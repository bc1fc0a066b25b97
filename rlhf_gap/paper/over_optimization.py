"""Does training too long hurt? Claims about Figure 1's falling tails."""

from rlhf_gap.analysis import decline, judges
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.decline import Decline
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  Verdict,
  all_of,
  exceeds,
)
from rlhf_gap.analysis.wording import basis, signed
from rlhf_gap.paper import rules

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


def _declines(measured: Decline, num_parts: int = 1) -> tuple[Verdict, str]:
  verdict, reason = exceeds(measured.win_rate, num_parts=num_parts)
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


def _both_decline(evidence: Evidence) -> Answer:
  measured = {
    name: decline.measure(evidence.arm(name), evidence.settings)
    for name in ("online", "offline")
  }
  numbers = "; ".join(
    f"{name}: {_numbers(each)}" for name, each in measured.items()
  )
  verdict, reason = all_of(
    [_declines(each, num_parts=len(measured)) for each in measured.values()]
  )
  return Answer(verdict, numbers, reason)


CLAIMS = (
  Claim(
    "online and offline fall beyond a peak",
    "Trained for long enough, the win rates of online and of offline alignment"
    " fall from their peaks.",
    "Tang et al. (2024), Fig. 1, section 2",
    _both_decline,
    judged=True,
    quote=(
      "For both online and offline algorithms, the performance first"
      " increases and then decreases as a function of the KL divergence"
      " (section 2.1)"
    ),
    rule=rules.DECLINE + " Both must fall; one contradicts at 97.5%.",
  ),
  Claim(
    "the proxy is over-optimized",
    "With further training, online alignment loses golden win rate beyond a"
    " peak while the proxy's opinion of it keeps rising.",
    "Tang et al. (2024), section 2.1; Gao et al. (2023)",
    _proxy_is_over_optimized,
    quote="The decrease is due to the over-optimization effect (section 2.1)",
    rule=rules.DECLINE + " The proxy's win rate must rise over the same steps.",
  ),
  Claim(
    "golden is over-optimized",
    "With further training, online alignment loses win rate by the hidden"
    " utility beyond a peak while the golden model's opinion of it keeps"
    " rising: golden win rates are then no measure of quality.",
    "this study's own condition; Gao et al. (2023)",
    _golden_is_over_optimized,
    requires_any=("online",),
    rule=rules.DECLINE
    + " The golden model's win rate must rise over the same steps.",
  ),
)
