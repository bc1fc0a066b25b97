"""What the paper says of data: whose, how old, in which order, how learnt."""

from rlhf_gap.study import (
  arms,
  paper_arms,
  staleness,
  statistics,
  theory,
  tradeoffs,
)
from rlhf_gap.study.resampling import UndefinedError
from rlhf_gap.study.verdicts import (
  MIN_SEEDS,
  Answer,
  Claim,
  Evidence,
  Verdict,
  all_of,
  basis,
  exceeds,
  harmless,
  signed,
)


def beats(
  first: arms.Arm,
  second: arms.Arm,
  evidence: Evidence,
  *,
  metric: str = arms.WIN,
) -> tuple[tuple[Verdict, str], str]:
  """Decides whether one arm wins more often than another at matched KL.

  Args:
    first: should win.
    second: should not.
    evidence: of one task.
    metric: of the outcomes by prompt.

  Returns:
    Verdict and reason; and the numbers.
  """
  found = statistics.matched_gap(
    first, second, evidence.settings, metric=metric
  )
  numbers = (
    f"{paper_arms.title(first.name)} less {paper_arms.title(second.name)}"
    f" {signed(found.mean)} over KL {found.low_kl_nats:.2g} to"
    f" {found.high_kl_nats:.2g} nats ({basis(found.mean)})"
  )
  return exceeds(found.mean), numbers


def _all_below_online(evidence: Evidence, names: tuple[str, ...]) -> Answer:
  online = evidence.arm("online")
  found = [beats(online, evidence.arm(name), evidence) for name in names]
  verdict, reason = all_of([decided for decided, _ in found])
  return Answer(verdict, "; ".join(numbers for _, numbers in found), reason)


def _final_policy_data(evidence: Evidence) -> Answer:
  return _all_below_online(evidence, ("final_final",))


def _no_data_set(evidence: Evidence) -> Answer:
  return _all_below_online(evidence, paper_arms.GENERATED)


def _beats_full_grid(evidence: Evidence) -> Answer:
  decided, numbers = beats(
    evidence.arm("online"), tradeoffs.full_grid(evidence), evidence
  )
  return Answer(decided[0], numbers, decided[1])


def _best_of_two(evidence: Evidence) -> Answer:
  decided, numbers = beats(
    evidence.arm("online_bo2"), evidence.arm("offline_bo2"), evidence
  )
  return Answer(decided[0], numbers, decided[1])


def _loses_nothing(evidence: Evidence, other: arms.Arm) -> Answer:
  found = statistics.matched_gap(
    evidence.arm("online"), other, evidence.settings
  )
  verdict, reason = harmless(found.mean)
  return Answer(
    verdict,
    f"online less {paper_arms.title(other.name)}: {signed(found.mean)} over KL"
    f" {found.low_kl_nats:.2g} to {found.high_kl_nats:.2g} nats"
    f" ({basis(found.mean)})",
    reason,
  )


def _slightly_stale(evidence: Evidence) -> Answer:
  name = staleness.least_stale(dict(evidence.arms))
  return _loses_nothing(evidence, evidence.arm(name))


def _never_refreshed(evidence: Evidence) -> Answer:
  return _all_below_online(evidence, ("stale_never",))


def _shuffled_within_blocks(evidence: Evidence) -> Answer:
  blocks = [
    name
    for name in evidence.arms
    if name.startswith("shuffle_") and name != "shuffle_1"
  ]
  if not blocks:
    raise UndefinedError("there are no records of replays in blocks")
  first = min(blocks, key=lambda name: int(name.removeprefix("shuffle_")))
  return _loses_nothing(evidence, evidence.arm(first))


def _exact_replay(evidence: Evidence) -> Answer:
  """The parameters' fingerprints decide: no number is estimated."""
  replayed, online = evidence.arm("shuffle_1"), evidence.arm("online")
  marks = {
    (record.run.arm, record.run.seed, record.checkpoint.step): (
      record.checkpoint.fingerprint
    )
    for record in evidence.records
  }
  same = total = 0
  for run in replayed.runs:
    for step in run.steps.tolist():
      other = marks.get(("online", run.seed, step))
      if other is not None:
        total += 1
        same += other == marks[("shuffle_1", run.seed, step)]
  if not total:
    raise UndefinedError("no checkpoint of the replays has an online one")
  low, high = _rule_of_three(same, total)
  numbers = (
    f"{same} of {total} checkpoints equal, share {same / total:.3f}"
    f" [{low:.3f}, {high:.3f}] ({online.num_prompts:,} prompts,"
    f" {len(replayed.seeds)} seeds)"
  )
  if same < total:
    return Answer(Verdict.CONTRADICTED, numbers)
  if len(replayed.seeds) < MIN_SEEDS:
    return Answer(
      Verdict.UNDERPOWERED, numbers, f"{MIN_SEEDS} seeds are needed"
    )
  return Answer(Verdict.SUPPORTED, numbers)


def _rule_of_three(same: int, total: int) -> tuple[float, float]:
  """A 95% interval of a share; at an end, 3 / n away from it."""
  share = same / total
  half = 1.96 * (share * (1 - share) / total) ** 0.5
  low = share - half if same < total else 1 - 3 / total
  high = share + half if same else 3 / total
  return max(low, 0.0), min(high, 1.0)


def _theory(evidence: Evidence) -> Answer:
  both = evidence.arm("online"), evidence.arm("offline")
  for arm in both:
    if not arm.has(theory.VS_SFT):
      raise UndefinedError(f"{arm.name} was not compared with SFT")
  decided, numbers = beats(*both, evidence, metric=theory.VS_SFT)
  return Answer(decided[0], f"win rate against SFT: {numbers}", decided[1])


CLAIMS = (
  Claim(
    "online beats the full grid",
    "At the same KL, online alignment wins more often than offline alignment"
    " over all combinations of its hyper-parameters.",
    "Tang et al. (2024), Fig. 1",
    _beats_full_grid,
    about=(paper_arms.FULL_GRID,),
  ),
  Claim(
    "better data do not close the gap",
    "Offline alignment on pairs of the final online policy stays below online"
    " alignment at the same KL (hypothesis 2: the offline data are to blame).",
    "Tang et al. (2024), Fig. 5",
    _final_policy_data,
    about=("final_final",),
  ),
  Claim(
    "no mixture of data closes the gap",
    "Offline alignment stays below online alignment whichever of its policies"
    " the pairs come from.",
    "Tang et al. (2024), Fig. 12",
    _no_data_set,
    about=paper_arms.GENERATED,
  ),
  Claim(
    "the gap needs no contrast",
    "Online Best-of-2 beats offline Best-of-2 at the same KL (hypothesis 4: the"
    " contrastive loss is to blame).",
    "Tang et al. (2024), Fig. 9",
    _best_of_two,
    about=("online_bo2", "offline_bo2"),
  ),
  Claim(
    "an exact replay is the online run",
    "Offline alignment on the recorded pairs in their order gives the online"
    " run's parameters, bit for bit.",
    "this study's own condition; Tang et al. (2024), Appendix F: about 0.1%",
    _exact_replay,
    about=("shuffle_1",),
  ),
  Claim(
    "slight shuffling is harmless",
    "Permuted within the shortest blocks, the recorded batches lose less than"
    " 0.02 of win rate to the online run at the same KL.",
    "Tang et al. (2024), Fig. 13",
    _shuffled_within_blocks,
    about=("shuffle_1",),
  ),
  Claim(
    "slight off-policyness is harmless",
    "Refreshing the sampler every few steps instead of every step loses less"
    " than 0.02 of win rate at the same KL.",
    "Lanchantin et al. (2025); Tang et al. (2024), Appendix G",
    _slightly_stale,
    about=("stale_never",),
  ),
  Claim(
    "the sampler must be refreshed",
    "Pairs that the SFT policy alone draws, fresh at every step and judged by"
    " the proxy, leave alignment below online at the same KL.",
    "this study's own question",
    _never_refreshed,
    about=("stale_never",),
  ),
  Claim(
    "the optimum's theory does not explain the gap",
    "Measured against SFT at the same KL, online wins more often than offline;"
    " by IPO's optimum in closed form, offline would.",
    "Tang et al. (2024), Appendix H; derived in rlhf_gap/study/theory.py",
    _theory,
    about=("online", "offline"),
  ),
)
"""Figures 5, 9, 12 and 13, staleness and Appendix H."""
