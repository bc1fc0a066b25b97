"""What the paper says of policies: as classifiers, and of their size."""

from rlhf_gap.study import (
  baselines,
  by_seed,
  discrimination,
  pooled,
  sizes,
  statistics,
  tradeoffs,
)
from rlhf_gap.study.resampling import Estimate, UndefinedError
from rlhf_gap.study.verdicts import (
  MIN_SEEDS,
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

_STRONG_CORRELATION = 0.5
"""r above which accuracy explains a quarter of the variance of win rate."""

_CHANCE = (0.45, 0.55)
"""Accuracies that are as good as chance."""

_SIMILAR = 2.0
"""Factor within which two KLs are similar."""


def _pairs(found: Estimate) -> str:
  seeds = f"{found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}"
  return f"{found.num_prompts:,} pairs a seed, {seeds}"


def _on_online_data(evidence: Evidence, name: str) -> dict[int, float]:
  """Mean accuracy over the online run, by seed."""
  by_step = discrimination.of_online_data(evidence.online_data, name)
  values: dict[int, list[float]] = {}
  for of_seeds in by_step.values():
    for seed, (value, _) in of_seeds.items():
      values.setdefault(seed, []).append(value)
  if not values:
    raise UndefinedError(f"{name} was not asked about online data")
  return {seed: sum(of) / len(of) for seed, of in values.items()}


def _num_online_pairs(evidence: Evidence, name: str) -> int:
  by_step = discrimination.of_online_data(evidence.online_data, name)
  counts: dict[int, int] = {}
  for of_seeds in by_step.values():
    for seed, (_, n) in of_seeds.items():
      counts[seed] = counts.get(seed, 0) + n
  return min(counts.values())


def _better_classifier(
  evidence: Evidence, first: str, others: tuple[str, ...]
) -> Answer:
  best = _on_online_data(evidence, first)
  n = _num_online_pairs(evidence, first)
  levels = [f"{first} {plain(by_seed.mean(best, n))}"]
  decided = []
  for other in others:
    values = _on_online_data(evidence, other)
    found = by_seed.difference(best, values, n)
    decided.append(exceeds(found))
    levels.append(f"less {other} {signed(found)}")
  verdict, reason = all_of(decided)
  numbers = f"accuracy on online data: {', '.join(levels)} ({_pairs(found)})"
  return Answer(verdict, numbers, reason)


def _proxy_knows_online_data(evidence: Evidence) -> Answer:
  return _better_classifier(evidence, "proxy", ("online", "offline"))


def _offline_classifies_online_data(evidence: Evidence) -> Answer:
  return _better_classifier(evidence, "offline", ("online",))


def _at_the_end(
  evidence: Evidence, metric: str, names: tuple[str, ...]
) -> tuple[dict[str, dict[int, float]], int]:
  """A metric of the baseline runs' last checkpoints, by arm and seed."""
  found = {}
  counts = []
  for name in names:
    arm = baselines.arm(evidence, name)
    last = baselines.last_metric(evidence, arm, metric)
    found[name] = {seed: value for seed, (value, _) in last.items()}
    counts += [n for _, n in last.values()]
  return found, min(counts)


def _offline_is_the_better_classifier(evidence: Evidence) -> Answer:
  metric = discrimination.ACCURACY
  both, n = _at_the_end(evidence, metric, ("offline", "online"))
  found = by_seed.difference(both["offline"], both["online"], n)
  levels = ", ".join(
    f"{name} {plain(by_seed.mean(values, n))}" for name, values in both.items()
  )
  verdict, reason = exceeds(found)
  return Answer(
    verdict,
    f"accuracy on golden pairs at the end: {levels}, difference"
    f" {signed(found)} ({_pairs(found)})",
    reason,
  )


def _accuracy_does_not_tell(evidence: Evidence) -> Answer:
  r = discrimination.correlation(evidence)
  seeds = {run.seed for run in baselines.arm(evidence, "online").runs}
  numbers = (
    f"Pearson's r {r.value:+.2f} [{r.ci95_low:+.2f}, {r.ci95_high:+.2f}]"
    f" ({r.num_points} checkpoints of {r.num_groups} runs,"
    f" {len(seeds)} seeds; on golden pairs)"
  )
  if len(seeds) < MIN_SEEDS:
    reason = f"{MIN_SEEDS} seeds are needed to tell luck from a relation"
    return Answer(Verdict.UNDERPOWERED, numbers, reason)
  if r.ci95_high < _STRONG_CORRELATION:
    return Answer(Verdict.SUPPORTED, numbers)
  if r.ci95_low > _STRONG_CORRELATION:
    return Answer(Verdict.CONTRADICTED, numbers)
  reason = f"the interval holds {_STRONG_CORRELATION:g}"
  return Answer(Verdict.UNDERPOWERED, numbers, reason)


def _offline_lowers_winners_most(evidence: Evidence) -> Answer:
  names = discrimination.METHODS
  found, n = _at_the_end(evidence, discrimination.CHOSEN, names)
  levels = [
    f"{name} {by_seed.mean(values, n).value:+.2f}"
    for name, values in found.items()
  ]
  decided, differences = [], []
  for other in ("online", "tandem"):
    less = by_seed.difference(found[other], found["offline"], n)
    decided.append(exceeds(less, at_least=0.0))
    differences.append(f"{other} less offline {signed(less, 2)}")
  verdict, reason = all_of(decided)
  return Answer(
    verdict,
    f"log pi / pi_sft of golden pairs' winners at the end, nats:"
    f" {', '.join(levels)}; {', '.join(differences)} ({_pairs(less)})",
    reason,
  )


def _self_classification_is_chance(evidence: Evidence) -> Answer:
  found, decided = [], []
  for name in ("online", "offline"):
    arm = baselines.arm(evidence, name)
    by_step = discrimination.by_step(evidence, arm, discrimination.OWN)
    if not by_step:
      raise UndefinedError(f"{name} was not asked about its own samples")
    means = {
      seed: sum(v[0] for v in of.values()) / len(of)
      for seed, of in by_step.items()
    }
    n = min(sum(v[3] for v in of.values()) for of in by_step.values())
    estimate = by_seed.mean(means, n)
    found.append(f"{name} {plain(estimate)} ({_pairs(estimate)})")
    if estimate.num_seeds < MIN_SEEDS:
      decided.append((Verdict.UNDERPOWERED, f"{MIN_SEEDS} seeds are needed"))
    else:
      decided.append(within(estimate, *_CHANCE))
  verdict, reason = all_of(decided)
  return Answer(
    verdict,
    f"accuracy on own samples, all checkpoints: {', '.join(found)}",
    reason,
  )


def _gap_at_every_size(evidence: Evidence) -> Answer:
  found, decided = [], []
  all_sizes = tradeoffs.sizes_of(evidence)
  if len(all_sizes) < 2:
    raise UndefinedError("policies of one size alone were trained")
  for size in all_sizes:
    online, offline = (
      evidence.arm(tradeoffs.at_size(name, size))
      for name in ("online", "offline")
    )
    gap = pooled.quantile_difference(
      online, offline, sizes.QUANTILE, evidence.settings
    )
    decided.append(exceeds(gap))
    found.append(f"{tradeoffs.size_title(evidence, size)} {signed(gap)}")
  verdict, reason = all_of(decided)
  return Answer(
    verdict,
    f"online less offline, 90% quantile of win rate: {'; '.join(found)}"
    f" ({basis(gap)})",
    reason,
  )


def _peaks_are_alike(evidence: Evidence) -> Answer:
  others = [size for size in tradeoffs.sizes_of(evidence) if size]
  if not others:
    raise UndefinedError("policies of one size alone were trained")
  own = evidence.arm("online")
  found, verdicts, at_the_end = [], set(), []
  for size in others:
    other = evidence.arm(tradeoffs.at_size("online", size))
    ratio = statistics.peak_ratio(other, own, evidence.settings)
    found.append(
      f"{size} {ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}]"
    )
    if ratio.low >= 1 / _SIMILAR and ratio.high <= _SIMILAR:
      verdicts.add(Verdict.SUPPORTED)
    elif ratio.high < 1 / _SIMILAR or ratio.low > _SIMILAR:
      verdicts.add(Verdict.CONTRADICTED)
    else:
      verdicts.add(Verdict.UNDERPOWERED)
    if statistics.peak(other, evidence.settings).at_the_end:
      at_the_end.append(size)
  seeds = min(len(own.seeds), len(other.seeds))
  numbers = (
    f"KL at online's peak, relative to this study's own size:"
    f" {'; '.join(found)} ({own.num_prompts:,} prompts, {seeds} seeds)"
  )
  if at_the_end or statistics.peak(own, evidence.settings).at_the_end:
    return Answer(
      Verdict.UNDERPOWERED,
      numbers,
      "an arm is highest at its last point: its peak was not reached",
    )
  if Verdict.CONTRADICTED in verdicts:
    return Answer(Verdict.CONTRADICTED, numbers)
  if verdicts == {Verdict.SUPPORTED} and seeds >= MIN_SEEDS:
    return Answer(Verdict.SUPPORTED, numbers)
  reason = f"an interval reaches over a factor of {_SIMILAR:g}"
  return Answer(Verdict.UNDERPOWERED, numbers, reason)


_ONLINE_DATA = ("online_data",)
_SIZES = ("sizes",)

CLAIMS = (
  Claim(
    "the proxy knows online data best",
    "On pairs of the online run the proxy agrees with golden labels more often"
    " than the final online and offline policies do as classifiers.",
    "Tang et al. (2024), Fig. 6",
    _proxy_knows_online_data,
    about=_ONLINE_DATA,
  ),
  Claim(
    "offline classifies online data better than online does",
    "On pairs of the online run the final offline policy agrees with golden"
    " labels more often than the final online policy does.",
    "Tang et al. (2024), Fig. 6",
    _offline_classifies_online_data,
    about=_ONLINE_DATA,
  ),
  Claim(
    "accuracy does not tell the win rate",
    "Over checkpoints, accuracy on golden pairs and win rate correlate by less"
    " than 0.5 (hypothesis 3: the offline policies classify too badly).",
    "Tang et al. (2024), Fig. 7",
    _accuracy_does_not_tell,
    about=("online", "offline"),
  ),
  Claim(
    "offline makes the better classifier",
    "At the end of training, offline policies tell the better response of"
    " golden pairs more often than online policies do.",
    "Tang et al. (2024), Fig. 8, top",
    _offline_is_the_better_classifier,
    about=("online", "offline"),
  ),
  Claim(
    "offline lowers the winners' likelihood most",
    "At the end of training, winners of golden pairs are less likely under"
    " offline policies than under online ones and those on shuffled data.",
    "Tang et al. (2024), Fig. 8, bottom",
    _offline_lowers_winners_most,
    about=("tandem", "offline"),
  ),
  Claim(
    "self-classification is chance",
    "Policies tell the better of two of their own samples no better than"
    " chance, between 45 and 55%.",
    "Tang et al. (2024), Appendix E.1",
    _self_classification_is_chance,
    about=("online", "offline"),
  ),
  Claim(
    "the gap stays at every size",
    "At every size of the policy online's best win rate exceeds offline's"
    " (hypothesis 5: scaling the policy is all that it takes).",
    "Tang et al. (2024), Figs. 10, 11 and 14",
    _gap_at_every_size,
    about=_SIZES,
  ),
  Claim(
    "peaks lie at a similar KL for all sizes",
    "Online's win rate is highest at KLs that differ by less than a factor of"
    " 2 between sizes of the policy.",
    "Tang et al. (2024), section 5.6 and Fig. 10",
    _peaks_are_alike,
    about=_SIZES,
  ),
)
"""Figures 6, 7, 8, 10, 11 and 14, and Appendix E.1."""
