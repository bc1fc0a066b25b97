"""What the paper says of data: whose, how old, in which order, how learnt."""

from scipy import stats

from rlhf_gap.analysis import arm_names, arms, comparison
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import (
  MIN_SEEDS,
  Answer,
  Claim,
  Evidence,
  Verdict,
  all_of,
  few_seeds,
)
from rlhf_gap.paper import app_h, staleness, tradeoffs


def _all_below(
  evidence: Evidence, first: str, names: tuple[str, ...]
) -> Answer:
  ahead = evidence.arm(first)
  found = [
    comparison.compare(evidence, ahead, evidence.arm(name)) for name in names
  ]
  verdict, reason = all_of([one.exceeds(parts=len(found)) for one in found])
  return Answer(verdict, "; ".join(one.numbers for one in found), reason)


def _final_policy_data(evidence: Evidence) -> Answer:
  return _all_below(evidence, "online", ("final_final",))


def _no_data_set(evidence: Evidence) -> Answer:
  return _all_below(evidence, "online", arm_names.GENERATED)


def _beats_full_grid(evidence: Evidence) -> Answer:
  found = comparison.compare(
    evidence, evidence.arm("online"), tradeoffs.full_grid(evidence)
  )
  verdict, reason = found.exceeds()
  return Answer(verdict, found.numbers, reason)


def _best_of_two(evidence: Evidence) -> Answer:
  return _all_below(evidence, "online_bo2", ("offline_bo2",))


def _shuffled_best_of_two(evidence: Evidence) -> Answer:
  return _all_below(evidence, "online_bo2", ("tandem_bo2",))


def _loses_nothing(evidence: Evidence, other: arms.Arm) -> Answer:
  found = comparison.compare(evidence, evidence.arm("online"), other)
  verdict, reason = found.is_harmless()
  return Answer(verdict, found.numbers, reason)


def _slightly_stale(evidence: Evidence) -> Answer:
  name = staleness.least_stale(evidence.names)
  return _loses_nothing(evidence, evidence.arm(name))


def _never_refreshed(evidence: Evidence) -> Answer:
  return _all_below(evidence, "online", ("stale_never",))


def _shuffled_within_blocks(evidence: Evidence) -> Answer:
  blocks = [
    name
    for name in evidence.names
    if name.startswith("shuffle_") and name != "shuffle_1"
  ]
  if not blocks:
    raise UndefinedError("there are no records of replays in blocks")
  first = min(blocks, key=lambda name: int(name.removeprefix("shuffle_")))
  return _loses_nothing(evidence, evidence.arm(first))


def _exact_replay(evidence: Evidence) -> Answer:
  """The parameters' fingerprints decide: no number is estimated."""
  replayed = evidence.arm("shuffle_1")
  prompts = evidence.arm("online").num_prompts
  marks = {
    (record.run.arm, record.run.seed, record.checkpoint.step): (
      record.checkpoint.fingerprint
    )
    for record in evidence.records
  }
  compared = [
    [
      marks["shuffle_1", run.seed, step] == marks["online", run.seed, step]
      for step in run.steps.tolist()
      if ("online", run.seed, step) in marks
    ]
    for run in replayed.runs
  ]
  of_runs = [all(equal) for equal in compared if equal]
  if not of_runs:
    raise UndefinedError("no checkpoint of the replays has an online one")
  total, same = sum(map(len, compared)), sum(map(sum, compared))
  exact = stats.binomtest(sum(of_runs), len(of_runs)).proportion_ci()
  numbers = (
    f"{same} of {total} checkpoints equal; runs equal throughout:"
    f" {sum(of_runs)} of {len(of_runs)}, share"
    f" {sum(of_runs) / len(of_runs):.3f} [{exact.low:.3f}, {exact.high:.3f}]"
    f" ({prompts:,} prompts, {len(of_runs)} seeds)"
  )
  if same < total:
    return Answer(Verdict.CONTRADICTED, numbers)
  if len(of_runs) < MIN_SEEDS:
    return Answer(Verdict.UNDERPOWERED, numbers, few_seeds(len(of_runs)))
  return Answer(Verdict.SUPPORTED, numbers)


def _theory(evidence: Evidence) -> Answer:
  both = evidence.arm("online"), evidence.arm("offline")
  for arm in both:
    if not arm.has(app_h.VS_SFT):
      raise UndefinedError(f"{arm.name} was not compared with SFT")
  found = comparison.compare(evidence, *both, metric=app_h.VS_SFT)
  verdict, reason = found.exceeds()
  return Answer(verdict, f"win rate against SFT: {found.numbers}", reason)


CLAIMS = (
  Claim(
    "online beats the full grid",
    "At the same KL, online alignment wins more often than offline alignment"
    " over all combinations of its hyper-parameters.",
    "Tang et al. (2024), Fig. 1",
    _beats_full_grid,
    about=(arm_names.FULL_GRID,),
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
    about=arm_names.GENERATED,
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
    "shuffled online data do not close Best-of-2's gap",
    "Best-of-2 on the pairs that an online Best-of-2 run made, shuffled, stays"
    " below that run at the same KL.",
    "Tang et al. (2024), Fig. 9",
    _shuffled_best_of_two,
    about=("tandem_bo2",),
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
    about=("shuffled",),
  ),
  Claim(
    "slight off-policyness is harmless",
    "Refreshing the sampler every few steps instead of every step loses less"
    " than 0.02 of win rate at the same KL.",
    "Lanchantin et al. (2025); Tang et al. (2024), Appendix G",
    _slightly_stale,
    about=("stale",),
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
