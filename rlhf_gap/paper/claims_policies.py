"""What the paper says of policies as classifiers."""

from rlhf_gap.analysis import baselines, seed_means
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  MIN_SEEDS,
  Answer,
  Claim,
  Evidence,
  Verdict,
  all_of,
  exceeds,
  few_seeds,
  pairs_basis,
  plain,
  signed,
  within,
)
from rlhf_gap.paper import discrimination

_STRONG_CORRELATION = 0.5
"""r above which accuracy explains a quarter of the variance of win rate."""

_CHANCE = (0.45, 0.55)
"""Accuracies that are as good as chance."""


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
  found = {
    other: seed_means.difference(best, _on_online_data(evidence, other), n)
    for other in others
  }
  levels = [f"{first} {plain(seed_means.mean(best, n))}"]
  levels += [f"less {other} {signed(one)}" for other, one in found.items()]
  verdict, reason = all_of(
    [exceeds(one, parts=len(found)) for one in found.values()]
  )
  numbers = (
    f"accuracy on online data: {', '.join(levels)}"
    f" ({pairs_basis(*found.values())})"
  )
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
  found = seed_means.difference(both["offline"], both["online"], n)
  levels = ", ".join(
    f"{name} {plain(seed_means.mean(values, n))}"
    for name, values in both.items()
  )
  verdict, reason = exceeds(found)
  return Answer(
    verdict,
    f"accuracy on golden pairs at the end: {levels}, difference"
    f" {signed(found)} ({pairs_basis(found)})",
    reason,
  )


def _accuracy_does_not_tell(evidence: Evidence) -> Answer:
  runs = [
    run
    for name in discrimination.METHODS
    for run in baselines.arm(evidence, name).runs
  ]
  r = discrimination.correlation(evidence)
  seeds = {run.seed for run in runs}
  numbers = (
    f"Pearson's r {r.value:+.2f} [{r.ci95_low:+.2f}, {r.ci95_high:+.2f}]"
    f" ({r.num_points} checkpoints of {r.num_groups} runs, taken as"
    f" independent, {len(seeds)} seeds; on golden pairs)"
  )
  if len(seeds) < MIN_SEEDS:
    return Answer(Verdict.UNDERPOWERED, numbers, few_seeds(len(seeds)))
  if r.ci95_high < _STRONG_CORRELATION:
    return Answer(Verdict.SUPPORTED, numbers)
  if r.ci95_low > _STRONG_CORRELATION:
    return Answer(Verdict.CONTRADICTED, numbers)
  reason = f"the interval holds {_STRONG_CORRELATION:g}"
  return Answer(Verdict.UNDERPOWERED, numbers, reason)


def _offline_lowers_winners_most(evidence: Evidence) -> Answer:
  names = discrimination.METHODS
  values, n = _at_the_end(evidence, discrimination.CHOSEN, names)
  levels = [
    f"{name} {signed(seed_means.mean(of, n), 2)}" for name, of in values.items()
  ]
  found = {
    other: seed_means.difference(values[other], values["offline"], n)
    for other in ("online", "tandem")
  }
  verdict, reason = all_of(
    [exceeds(one, at_least=0.0, parts=len(found)) for one in found.values()]
  )
  differences = [
    f"{other} less offline {signed(one, 2)}" for other, one in found.items()
  ]
  return Answer(
    verdict,
    f"log pi / pi_sft of golden pairs' winners at the end, nats:"
    f" {', '.join(levels)}; {', '.join(differences)}"
    f" ({pairs_basis(*found.values())})",
    reason,
  )


def _offline_lowers_even_winners(evidence: Evidence) -> Answer:
  values, n = _at_the_end(evidence, discrimination.CHOSEN, ("offline",))
  lost = seed_means.mean({s: -v for s, v in values["offline"].items()}, n)
  verdict, reason = exceeds(lost, at_least=0.0)
  return Answer(
    verdict,
    "log pi_sft / pi of golden pairs' winners at the end, offline:"
    f" {signed(lost, 2)} nats ({pairs_basis(lost)})",
    reason,
  )


def _self_classification_is_chance(evidence: Evidence) -> Answer:
  found = {}
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
    found[name] = seed_means.mean(means, n)
  verdict, reason = all_of(
    [within(one, *_CHANCE, parts=len(found)) for one in found.values()]
  )
  levels = (
    f"{name} {plain(one)} ({pairs_basis(one)})" for name, one in found.items()
  )
  return Answer(
    verdict,
    f"accuracy on own samples, all checkpoints: {', '.join(levels)}",
    reason,
  )


_ONLINE_DATA = ("online_data",)

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
    "better classifiers do not win more often",
    "Over checkpoints, win rate does not rise with accuracy on golden pairs:"
    " their correlation is below 0.5 (hypothesis 3: the offline policies"
    " classify too badly).",
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
    "offline lowers even the winners' likelihood",
    "At the end of training, winners of golden pairs are less likely under"
    " offline policies than under SFT.",
    "Tang et al. (2024), Fig. 8, bottom",
    _offline_lowers_even_winners,
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
)
"""Figures 6, 7 and 8, and Appendix E.1."""
