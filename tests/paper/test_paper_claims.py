"""Every claim about a figure of the paper comes out each way, and says why."""

import dataclasses

import pytest

from rlhf_gap.analysis import summary
from rlhf_gap.analysis.verdicts import Verdict
from rlhf_gap.paper import (
  claims,
  claims_data,
  claims_policies,
  fig_10_11_14,
  registry,
  sizes,
)
from rlhf_gap.report import loading
from tests.analysis import exact

YES, NO, OPEN = (
  Verdict.SUPPORTED,
  Verdict.CONTRADICTED,
  Verdict.UNDERPOWERED,
)
BY_NAME = {claim.name: claim for claim in claims.ALL}
# Seeds this far apart leave no difference of 0.2 or less certain.
_WIDE = 0.2


def _answer(name, evidence):
  return BY_NAME[name].answer(evidence)


def _check(name, evidence, verdict):
  answer = _answer(name, evidence)
  assert answer.verdict is verdict, answer
  if verdict is not OPEN or answer.numbers:
    assert "[" in answer.numbers
    assert "seed" in answer.numbers
    assert any(w in answer.numbers for w in ("prompts", "pairs", "checkpoints"))
  if verdict is OPEN:
    assert answer.reason


def _arms(**wins):
  return {name: exact.flat(win) for name, win in wins.items()}


# Claim, arm that should be ahead, arms that should be behind.
_ABOVE = [
  ("better data do not close the gap", "online", ("final_final",)),
  (
    "no mixture of data closes the gap",
    "online",
    ("final_final", "early_final", "sft_early"),
  ),
  ("the gap needs no contrast", "online_bo2", ("offline_bo2",)),
  (
    "shuffled online data do not close Best-of-2's gap",
    "online_bo2",
    ("tandem_bo2",),
  ),
  ("the sampler must be refreshed", "online", ("stale_never",)),
]


def test_a_short_range_of_kl_decides_nothing():
  """Though every number in it is certain."""
  paths = {
    "online": exact.flat(0.5, (0.5, 2.0, 8.0)),
    "final_final": exact.flat(0.3, (6.0, 30.0)),
  }
  name = "better data do not close the gap"
  _check(name, exact.evidence(paths), OPEN)
  assert (
    "KLs of 6 to 8 nats alone" in _answer(name, exact.evidence(paths)).reason
  )
  paths["final_final"] = exact.flat(0.3, (5.0, 30.0))
  _check(name, exact.evidence(paths), YES)


@pytest.mark.parametrize(("name", "first", "others"), _ABOVE)
def test_an_arm_is_ahead_behind_or_neither(name, first, others):
  ahead = {first: 0.5, **dict.fromkeys(others, 0.3)}
  _check(name, exact.evidence(_arms(**ahead)), YES)
  behind = {first: 0.3, **dict.fromkeys(others, 0.5)}
  _check(name, exact.evidence(_arms(**behind)), NO)
  _check(name, exact.evidence(_arms(**ahead), seeds=(0, 1)), OPEN)
  _check(name, exact.evidence(_arms(**{first: 0.5})), OPEN)


def test_one_data_set_that_reaches_online_refutes_the_claim():
  wins = {"online": 0.5, "final_final": 0.3, "early_final": 0.3}
  evidence = exact.evidence(_arms(**wins, sft_early=0.55))
  _check("no mixture of data closes the gap", evidence, NO)


def _unlike(wins, lucky):
  """Evidence in which one arm's seeds lie apart."""
  made = exact.found(_arms(**{k: v for k, v in wins.items() if k != lucky}))
  made += exact.found(_arms(**{lucky: wins[lucky]}), spread=_WIDE)
  return exact.Evidence(
    "task", exact.arms.group(made), tuple(made), settings=exact.SETTINGS
  )


def test_seeds_that_lie_apart_decide_nothing():
  wins = {"online": 0.5, "final_final": 0.45}
  evidence = _unlike(wins, "final_final")
  _check("better data do not close the gap", evidence, OPEN)


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
  _check(name, exact.evidence(_arms(**wins)), verdict)


@pytest.mark.parametrize(("name", "other"), _HARMLESS)
def test_a_planned_arm_without_records_is_not_passed_over(name, other):
  """The next one would be asked instead, which is not slightly old."""
  wins = {"online": 0.5, "stale_64": 0.5, "shuffle_40": 0.5, "shuffle_1": 0.5}
  evidence = exact.evidence(_arms(**wins))
  _check(name, evidence, YES)
  _check(name, dataclasses.replace(evidence, planned=(other,)), OPEN)


@pytest.mark.parametrize(("name", "other"), _HARMLESS)
def test_a_loss_that_is_not_certain(name, other):
  _check(name, _unlike({"online": 0.5, other: 0.49}, other), OPEN)
  _check(name, exact.evidence(_arms(online=0.5)), OPEN)


def test_an_exact_replay_is_told_by_its_parameters():
  name = "an exact replay is the online run"
  evidence = exact.evidence(_arms(online=0.5, shuffle_1=0.5))
  # Other names of runs gave other fingerprints, though all numbers are equal.
  _check(name, evidence, NO)
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
  _check(name, evidence, YES)
  numbers = _answer(name, evidence).numbers
  assert "9 of 9 checkpoints equal; runs equal throughout: 3 of 3" in numbers
  assert "[0.292, 1.000]" in numbers  # 0.025^(1/3): three runs, not nine
  _check(name, exact.evidence(_arms(online=0.5)), OPEN)


@pytest.mark.parametrize(
  ("online", "offline", "verdict"), [(0.8, 0.6, YES), (0.6, 0.8, NO)]
)
def test_what_theory_expects_is_asked_against_sft(online, offline, verdict):
  name = "the optimum's theory does not explain the gap"
  both = _arms(online=0.5, offline=0.5)
  against_sft = {"online": online, "offline": offline}
  _check(name, exact.evidence(both, vs_sft=against_sft), verdict)
  _check(name, exact.evidence(both), OPEN)


_PROXY = "the proxy knows online data best"
_OFFLINE = "offline classifies online data better than online does"


def _classified(seeds=(0, 1, 2), spread=0.0, **accuracies):
  made = [
    record
    for arm, value in accuracies.items()
    for record in exact.classifier(
      arm,
      {30: value, 60: value},
      seeds=seeds,
      spread=spread if arm == "proxy" else 0.0,
    )
  ]
  return exact.evidence(_arms(online=0.5), online_data=made)


@pytest.mark.parametrize(
  ("name", "accuracies", "verdict"),
  [
    (_PROXY, {"proxy": 0.8, "online": 0.5, "offline": 0.6}, YES),
    (_PROXY, {"proxy": 0.55, "online": 0.5, "offline": 0.6}, NO),
    (_OFFLINE, {"proxy": 0.8, "online": 0.5, "offline": 0.6}, YES),
    (_OFFLINE, {"proxy": 0.8, "online": 0.6, "offline": 0.5}, NO),
    (_PROXY, {"proxy": 0.8, "online": 0.5}, OPEN),
  ],
)
def test_who_knows_online_data(name, accuracies, verdict):
  _check(name, _classified(**accuracies), verdict)


def test_who_knows_online_data_is_open_with_unlike_or_few_seeds():
  rates = {"proxy": 0.7, "online": 0.6, "offline": 0.6}
  _check(_PROXY, _classified(spread=_WIDE, **rates), OPEN)
  _check(_PROXY, _classified(seeds=(0, 1), **rates), OPEN)


def _trained(online, tandem, offline, metric, **kw):
  levels = {"online": online, "tandem": tandem, "offline": offline}
  return exact.evidence(
    {k: exact.flat(0.4, **{metric: v}) for k, v in levels.items()}, **kw
  )


_BETTER = "offline makes the better classifier"
_WINNERS = "offline lowers the winners' likelihood most"
_EVEN = "offline lowers even the winners' likelihood"
_CHANCE = "self-classification is chance"


@pytest.mark.parametrize(
  ("name", "metric", "levels", "verdict"),
  [
    (_BETTER, "pair_accuracy_sum", (0.55, 0.6, 0.7), YES),
    (_BETTER, "pair_accuracy_sum", (0.7, 0.6, 0.55), NO),
    (_WINNERS, "chosen_log_ratio_nats", (-2.0, -3.0, -9.0), YES),
    (_WINNERS, "chosen_log_ratio_nats", (-9.0, -3.0, -2.0), NO),
    (_WINNERS, "chosen_log_ratio_nats", (-2.0, -9.0, -5.0), NO),
    (_EVEN, "chosen_log_ratio_nats", (2.0, 3.0, -1.0), YES),
    (_EVEN, "chosen_log_ratio_nats", (-2.0, -3.0, 1.0), NO),
    (_CHANCE, "own_pair_accuracy_sum", (0.51, 0.5, 0.49), YES),
    (_CHANCE, "own_pair_accuracy_sum", (0.7, 0.5, 0.51), NO),
    (_CHANCE, "own_pair_accuracy_sum", (0.5, 0.5, 0.4), NO),
  ],
)
def test_what_training_does_to_pairs(name, metric, levels, verdict):
  _check(name, _trained(*levels, metric), verdict)
  _check(name, _trained(*levels, metric, seeds=(0, 1)), OPEN)
  _check(name, _trained(*levels, "another_metric"), OPEN)


def test_unlike_seeds_leave_self_classification_open():
  metric = "own_pair_accuracy_sum"
  _check(_CHANCE, _trained(0.5, 0.5, 0.5, metric, spread=0.03), OPEN)


def test_runs_that_were_not_evaluated_at_their_end_are_named():
  metric = "pair_accuracy_sum"
  evidence = _trained(0.55, 0.6, 0.7, metric)
  cut = [
    record
    for record in evidence.records
    if (record.run.name, record.checkpoint.step) != ("offline/seed_1", 30)
  ]
  evidence = dataclasses.replace(
    evidence, arms=exact.arms.group(cut), records=tuple(cut)
  )
  answer = _answer(_BETTER, evidence)
  assert answer.verdict is OPEN
  assert "offline/seed_1 was evaluated up to step 20 of 30" in answer.reason


_TELLS = "better classifiers do not win more often"


def _relation(slope, noise=0.0, seeds=(0, 1, 2)):
  """Win rate = 0.3 + slope (accuracy - 0.6), and a wave of no relation."""
  wave = (1, -1, -1, 1)
  paths = {}
  for number, arm in enumerate(("online", "tandem", "offline")):
    accuracies = [0.5 + 0.03 * number + 0.06 * k for k in range(4)]
    paths[arm] = [
      (
        0.5 * 2**k,
        0.3 + slope * (accuracies[k] - 0.6) + noise * wave[k],
        {"pair_accuracy_sum": accuracies[k]},
      )
      for k in range(4)
    ]
  return exact.evidence(paths, seeds=seeds)


@pytest.mark.parametrize(
  ("evidence", "verdict"),
  [
    (_relation(0.0, 0.1), YES),
    (_relation(-1.0), YES),
    (_relation(1.0), NO),
    (_relation(1.0, seeds=(0, 1)), OPEN),
    (exact.evidence(_arms(online=0.5)), OPEN),
  ],
)
def test_whether_accuracy_tells_the_win_rate(evidence, verdict):
  _check(_TELLS, evidence, verdict)


def test_a_correlation_without_the_offline_runs_is_no_answer():
  whole = _relation(0.0, 0.1)
  found = {name: arm for name, arm in whole.arms.items() if name != "offline"}
  answer = _answer(_TELLS, dataclasses.replace(whole, arms=found))
  assert answer.verdict is OPEN
  assert answer.reason == "there are no records of the arm offline"


_EVERY_SIZE = "the gap stays at every size"
_SIZES = {"": 300, "small": 100, "large": 900}


def _sizes(gaps, **kw):
  paths = {}
  for size, gap in gaps.items():
    suffix = f"@{size}" if size else ""
    paths[f"online{suffix}"] = exact.flat(0.3 + gap)
    paths[f"offline{suffix}"] = exact.flat(0.3)
  return exact.evidence(paths, sizes=_SIZES, **kw)


@pytest.mark.parametrize(
  ("gaps", "verdict"),
  [
    ({"": 0.1, "small": 0.1, "large": 0.1}, YES),
    ({"": 0.1, "small": 0.1, "large": -0.1}, NO),
    ({"": 0.1, "small": 0.1, "large": 0.0}, NO),
    ({"": 0.1}, OPEN),
  ],
)
def test_the_gap_at_every_size(gaps, verdict):
  _check(_EVERY_SIZE, _sizes(gaps), verdict)
  _check(_EVERY_SIZE, _sizes(gaps, seeds=(0, 1)), OPEN)


def test_a_size_that_failed_is_one_of_every_size():
  evidence = _sizes({"": 0.1, "small": 0.1})
  _check(_EVERY_SIZE, evidence, YES)
  planned = ("online@large", "offline@large")
  evidence = dataclasses.replace(evidence, planned=planned)
  _check(_EVERY_SIZE, evidence, OPEN)
  answer = _answer(_EVERY_SIZE, evidence)
  assert answer.reason == "there are no records of the arm online@large"


_LARGER = "larger policies win more often"


@pytest.mark.parametrize(
  ("rise", "tandem", "verdict"),
  [(0.1, 0.1, YES), (-0.1, 0.1, NO), (0.1, -0.1, NO)],
)
def test_whether_larger_policies_win_more_often(rise, tandem, verdict):
  paths = {
    f"{name}{size}": exact.flat(0.3 + gain * bool(size))
    for name, gain in (("online", rise), ("offline", rise), ("tandem", tandem))
    for size in ("", "@large")
  }
  sizes = {"": 100, "large": 900}
  _check(_LARGER, exact.evidence(paths, sizes=sizes), verdict)
  _check(_LARGER, exact.evidence(paths, sizes=sizes, seeds=(0, 1)), OPEN)


def test_an_uncounted_size_is_neither_smallest_nor_largest():
  paths = {
    f"{name}{size}": exact.flat(0.5 if size else 0.3)
    for name in ("online", "offline", "tandem")
    for size in ("", "@large")
  }
  _check(_LARGER, exact.evidence(paths, sizes={"": 9, "large": 99}), YES)
  for counted in ({}, {"": 9}):
    evidence = exact.evidence(paths, sizes=counted)
    _check(_LARGER, evidence, OPEN)
    assert "is not known" in _answer(_LARGER, evidence).reason


def test_sizes_are_compared_at_the_settings_that_all_of_them_have():
  """Else a poor setting, or a longer run, of one size alone would decide."""
  paths = {
    f"{name}{size}": exact.flat(0.3)
    for name in ("online", "offline", "tandem")
    for size in ("", "@large")
  }
  made = exact.found(paths)
  # Of this study's own size alone: 0.1 throughout; long: 0.9.
  poor = exact.found({"offline": exact.flat(0.1)})
  for record in poor:
    record.run.hyperparameters["objective.loss.beta"] = "9"
  long = exact.found({"offline": exact.flat(0.9, (0.5, 2.0, 4.0, 8.0))})
  more = [
    dataclasses.replace(
      record,
      run=dataclasses.replace(record.run, name=f"{kind}/{record.run.name}"),
    )
    for kind, several in (("poor", poor), ("long", long))
    for record in several
  ]
  found = tuple(made + more)
  evidence = exact.Evidence(
    "task",
    exact.arms.group(found),
    found,
    settings=exact.SETTINGS,
    sizes={"": 9, "large": 99},
  )
  assert len(evidence.arm("offline").configurations) == 3
  (kept,) = sizes.tuned_alike(evidence, "offline", "").configurations
  assert [run.name for run in kept.runs] == [
    f"offline/seed_{n}" for n in range(3)
  ]
  assert "offline +0.000 [" in _answer(_LARGER, evidence).numbers


_PEAKS = "peaks lie at a similar KL for all sizes"


def _peaks(own, other, **kw):
  def path(peak):
    wins = {0.25: 0.2, peak: 0.5, 64.0: 0.3}
    return [(kl, wins[kl], {}) for kl in sorted(wins)]

  paths = {"online": path(own), "online@large": path(other)}
  return exact.evidence(paths, **kw)


@pytest.mark.parametrize(
  ("own", "other", "verdict"),
  [(4.0, 5.0, YES), (2.0, 16.0, NO), (4.0, 64.0, OPEN)],
)
def test_where_peaks_lie(own, other, verdict):
  _check(_PEAKS, _peaks(own, other), verdict)
  # Even where it is plain to see, as from the paper's single runs.
  _check(_PEAKS, _peaks(own, other, seeds=(0,)), OPEN)


def test_peaks_of_one_size_are_no_answer():
  _check(_PEAKS, exact.evidence(_arms(online=0.5)), OPEN)


_GRID = "online beats the full grid"


@pytest.mark.parametrize(
  ("sweep", "rest", "verdict"), [(0.3, 0.4, YES), (0.3, 0.6, NO)]
)
def test_the_full_grid_holds_the_sweep_and_the_rest(sweep, rest, verdict):
  wins = {"online": 0.5, "offline": sweep, "offline_grid": rest}
  _check(_GRID, exact.evidence(_arms(**wins)), verdict)
  del wins["offline_grid"]
  _check(_GRID, exact.evidence(_arms(**wins)), OPEN)


def test_every_claim_of_the_paper_is_tested_here_and_shown_in_a_section():
  tested = {name for name, *_ in _ABOVE + _HARMLESS} | {
    *(_PROXY, _OFFLINE, _BETTER, _WINNERS, _EVEN, _CHANCE, _TELLS),
    *(_EVERY_SIZE, _LARGER, _PEAKS, _GRID),
    "an exact replay is the online run",
    "the optimum's theory does not explain the gap",
  }
  modules = (claims_data, claims_policies, fig_10_11_14)
  own = {claim.name for module in modules for claim in module.CLAIMS}
  assert own == tested
  shown = {name for section in registry.SECTIONS for name in section.claims}
  assert own <= shown <= set(BY_NAME)


def test_a_study_is_not_asked_what_it_was_not_to_run():
  few = claims.asked({"online", "offline", "tandem", "sft"})
  names = {claim.name for claim in few}
  assert _EVERY_SIZE not in names
  assert "better data do not close the gap" not in names
  assert {_TELLS, claims.MAIN.name} <= names
  every = claims.asked(
    {
      *("online", "offline", "tandem", "final_final", "online_bo2"),
      *("offline_grid", "shuffle_1", "stale_never", "sizes", "online_data"),
      *("tandem_bo2", "shuffled", "stale"),
    }
  )
  assert every == claims.ALL


@pytest.mark.parametrize(
  ("arm", "claim", "section"),
  [
    ("shuffle_40", "slight shuffling is harmless", "Figure 13"),
    ("stale_16", "slight off-policyness is harmless", "Between online"),
    ("reuse_4x16", "slight off-policyness is harmless", "Between online"),
    ("online@xl", _EVERY_SIZE, "Figures 10, 11"),
  ],
)
def test_one_arm_of_a_kind_is_enough_to_be_asked(arm, claim, section):
  told = summary.TaskSummary("task", arms=("online", "offline", arm))
  asked = loading.Task(told, exact.evidence(_arms(online=0.5))).asked
  assert claim in {one.name for one in claims.asked(asked)}
  (shown,) = [s for s in registry.SECTIONS if s.title.startswith(section)]
  assert shown.is_wanted(asked)
  told = dataclasses.replace(told, arms=("online", "offline"))
  asked = loading.Task(told, exact.evidence(_arms(online=0.5))).asked
  assert not shown.is_wanted(asked)
