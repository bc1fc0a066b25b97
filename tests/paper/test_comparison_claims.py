"""Claims that one arm is ahead of another (Figures 1, 5, 9, 12, 13, App. H)."""

import dataclasses

import pytest

from rlhf_gap.analysis.verdicts import Verdict
from tests.analysis import exact
from tests.paper import answers
from tests.paper.answers import NO, OPEN, YES

# Claim, arm that should be ahead, arms that should be behind.
_ABOVE = [
  ("better data do not close the gap", "online", ("final_final",)),
  (
    "no mixture of data closes the gap",
    "online",
    ("final_final", "early_final", "sft_early"),
  ),
  ("the gap needs no contrast", "online_bo2", ("offline_bo2",)),
  ("one response from SFT helps", "sft_early", ("early_final",)),
  ("the sampler must be refreshed", "online", ("stale_never",)),
]


def test_a_short_range_of_kl_decides_nothing():
  """Though every number in it is certain."""
  paths = {
    "online": exact.flat(0.5, (0.5, 2.0, 8.0)),
    "final_final": exact.flat(0.3, (6.0, 30.0)),
  }
  name = "better data do not close the gap"
  answers.check(name, exact.evidence(paths), OPEN)
  assert (
    "share only KLs of 6 to 8 nats, less than a factor of 1.5"
    in answers.answer(name, exact.evidence(paths)).reason
  )
  paths["final_final"] = exact.flat(0.3, (5.0, 30.0))
  answers.check(name, exact.evidence(paths), YES)


@pytest.mark.parametrize(("name", "first", "others"), _ABOVE)
def test_an_arm_is_ahead_behind_or_neither(name, first, others):
  ahead = {first: 0.5, **dict.fromkeys(others, 0.3)}
  answers.check(name, exact.evidence(answers.flat_arms(**ahead)), YES)
  behind = {first: 0.3, **dict.fromkeys(others, 0.5)}
  answers.check(name, exact.evidence(answers.flat_arms(**behind)), NO)
  answers.check(
    name, exact.evidence(answers.flat_arms(**ahead), seeds=(0, 1)), OPEN
  )
  answers.check(name, exact.evidence(answers.flat_arms(**{first: 0.5})), OPEN)


def test_one_data_set_that_reaches_online_refutes_the_claim():
  wins = {"online": 0.5, "final_final": 0.3, "early_final": 0.3}
  evidence = exact.evidence(answers.flat_arms(**wins, sft_early=0.55))
  answers.check("no mixture of data closes the gap", evidence, NO)


def _unlike(wins, lucky):
  """Evidence in which one arm's seeds lie apart."""
  made = exact.found(
    answers.flat_arms(**{k: v for k, v in wins.items() if k != lucky})
  )
  made += exact.found(
    answers.flat_arms(**{lucky: wins[lucky]}), spread=answers.WIDE
  )
  return exact.Evidence(
    "task", exact.arms.group(made), tuple(made), settings=exact.SETTINGS
  )


def test_seeds_that_lie_apart_decide_nothing():
  wins = {"online": 0.5, "final_final": 0.45}
  evidence = _unlike(wins, "final_final")
  answers.check("better data do not close the gap", evidence, OPEN)


_HARMLESS = [
  ("slight off-policyness is harmless", "stale_4"),
  ("slight shuffling is harmless", "shuffle_4"),
]


@pytest.mark.parametrize(("name", "other"), _HARMLESS)
@pytest.mark.parametrize(
  ("win", "verdict"), [(0.495, YES), (0.6, YES), (0.4, NO)]
)
def test_a_loss_too_small_to_matter(name, other, win, verdict):
  worse = {"stale_64": 0.1, "shuffle_40": 0.1, "shuffle_1": 0.5}
  wins = {"online": 0.5, other: win, **worse}
  answers.check(name, exact.evidence(answers.flat_arms(**wins)), verdict)


@pytest.mark.parametrize(("name", "other"), _HARMLESS)
def test_a_planned_arm_without_records_is_not_passed_over(name, other):
  """The next one would be asked instead, which is not slightly old."""
  wins = {"online": 0.5, "stale_64": 0.5, "shuffle_40": 0.5, "shuffle_1": 0.5}
  evidence = exact.evidence(answers.flat_arms(**wins))
  answers.check(name, evidence, YES)
  answers.check(name, dataclasses.replace(evidence, planned=(other,)), OPEN)


@pytest.mark.parametrize(("name", "other"), _HARMLESS)
def test_a_loss_that_is_not_certain(name, other):
  answers.check(name, _unlike({"online": 0.5, other: 0.49}, other), OPEN)
  answers.check(name, exact.evidence(answers.flat_arms(online=0.5)), OPEN)


def test_an_exact_replay_is_told_by_its_parameters():
  name = "an exact replay is the online run"
  evidence = exact.evidence(answers.flat_arms(online=0.5, shuffle_1=0.5))
  # Other names of runs gave other fingerprints, though all numbers are equal.
  answers.check(name, evidence, NO)
  same = tuple(
    dataclasses.replace(
      record,
      checkpoint=dataclasses.replace(
        record.checkpoint, fingerprint=f"{record.run.seed}"
      ),
    )
    for record in evidence.records
  )
  evidence = dataclasses.replace(evidence, records=same)
  answers.check(name, evidence, YES)
  numbers = answers.answer(name, evidence).numbers
  assert "9 of 9 checkpoints equal; runs equal throughout: 3 of 3" in numbers
  assert "[0.292, 1.000]" in numbers  # 0.025^(1/3): three runs, not nine
  answers.check(name, exact.evidence(answers.flat_arms(online=0.5)), OPEN)


@pytest.mark.parametrize(
  ("online", "offline", "verdict"), [(0.8, 0.6, YES), (0.6, 0.8, NO)]
)
def test_what_theory_expects_is_asked_against_sft(online, offline, verdict):
  name = "the optimum's theory does not explain the gap"
  both = answers.flat_arms(online=0.5, offline=0.5)
  against_sft = {"online": online, "offline": offline}
  answers.check(name, exact.evidence(both, vs_sft=against_sft), verdict)
  answers.check(name, exact.evidence(both), OPEN)


_GRID = "online beats the full grid"


@pytest.mark.parametrize(
  ("sweep", "rest", "verdict"), [(0.3, 0.4, YES), (0.3, 0.6, NO)]
)
def test_the_full_grid_holds_the_sweep_and_the_rest(sweep, rest, verdict):
  wins = {"online": 0.5, "offline": sweep, "offline_grid": rest}
  answers.check(_GRID, exact.evidence(answers.flat_arms(**wins)), verdict)
  del wins["offline_grid"]
  answers.check(_GRID, exact.evidence(answers.flat_arms(**wins)), OPEN)


@pytest.mark.parametrize(
  ("name", "first", "second"),
  [
    (
      "shuffled online data close Best-of-2's gap",
      "online_bo2",
      "tandem_bo2",
    ),
    ("contrast alone does not help", "early_final", "final_final"),
  ],
)
@pytest.mark.parametrize(
  ("difference", "verdict"), [(0.0, YES), (-0.2, YES), (0.2, NO)]
)
def test_a_gain_too_small_to_matter(name, first, second, difference, verdict):
  wins = {first: 0.4 + difference, second: 0.4}
  answers.check(name, exact.evidence(answers.flat_arms(**wins)), verdict)


_SHARES = (
  "shuffled online data do not close the gap",
  "shuffled online data do not close the gap at the peak",
)


@pytest.mark.parametrize("name", _SHARES)
@pytest.mark.parametrize(
  ("tandem", "verdict", "share"),
  [(0.3, YES, "0%"), (0.35, YES, "25%"), (0.45, NO, "75%"), (0.6, NO, "150%")],
)
def test_the_share_of_the_gap_that_shuffled_data_close(
  name, tandem, verdict, share
):
  wins = {"online": 0.5, "offline": 0.3, "tandem": tandem}
  evidence = exact.evidence(answers.flat_arms(**wins))
  answers.check(name, evidence, verdict)
  assert f"close {share} of it" in answers.answer(name, evidence).numbers


@pytest.mark.parametrize("name", _SHARES)
@pytest.mark.parametrize("online", [0.3, 0.2, 0.31])
def test_no_gap_cannot_be_closed(name, online):
  """Nor can one of 0.01, which is too small to matter."""
  wins = {"online": online, "offline": 0.3, "tandem": 0.4}
  answer = answers.answer(name, exact.evidence(answers.flat_arms(**wins)))
  assert answer.verdict is Verdict.MOOT
  assert answer.reason.startswith("no gap to close is established")


@pytest.mark.parametrize(
  ("online", "verdict"),
  [
    ((0.3, 0.5, 0.5), YES),
    ((0.29, 0.5, 0.5), YES),  # behind by less than matters
    ((0.2, 0.5, 0.5), NO),  # behind at the lowest KL alone
  ],
)
def test_nowhere_behind_looks_at_every_kl(online, verdict):
  paths = {
    "online": [
      (kl, w, {}) for kl, w in zip((0.5, 2.0, 8.0), online, strict=True)
    ],
    "offline": exact.flat(0.3),
  }
  name = "online is nowhere behind"
  answer = answers.answer(name, exact.evidence(paths))
  assert answer.verdict is verdict, answer
  few = answers.answer(name, exact.evidence(paths, seeds=(0, 1)))
  assert few.verdict is OPEN


@pytest.mark.parametrize(
  ("online", "verdict"), [(0.5, YES), (0.3, NO), (0.31, NO)]
)
def test_peaks_are_compared_each_at_its_own_kl(online, verdict):
  paths = {
    "online": exact.flat(online, (0.5, 2.0)),
    "offline": exact.flat(0.3, (1.0, 9.0)),
  }
  answers.check("online peaks higher", exact.evidence(paths), verdict)


@pytest.mark.parametrize(
  ("trained", "verdict"), [(0.3, YES), (0.5, NO), (0.6, NO)]
)
def test_offline_against_the_policy_that_generated_its_pairs(trained, verdict):
  paths = {
    "online": [(1.0, 0.7, {}), (4.0, 0.5, {})],  # its last checkpoint counts
    "final_final": exact.flat(trained),
  }
  name = "offline stays below the policy that generated its pairs"
  answers.check(name, exact.evidence(paths), verdict)
