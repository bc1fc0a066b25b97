"""Figure 13: does the order of the online data matter?"""

from collections.abc import Sequence

from scipy import stats

from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import MIN_SEEDS, Verdict, few_seeds
from rlhf_gap.paper import ahead, rules
from rlhf_gap.paper.section import Section
from rlhf_gap.plotting import styles, win_rate_over_kl
from rlhf_gap.plotting.picture import Picture
from rlhf_gap.plotting.win_rate_over_kl import PlottedArm, in_extra_color

_PREFIX = "shuffle_"
_IN_ORDER = "shuffle_1"


def _block_arms(evidence: Evidence) -> list[str]:
  """Returns the arms, planned ones too, by the length of their blocks."""
  names = [name for name in evidence.names if name.startswith(_PREFIX)]
  return sorted(names, key=lambda name: int(name.removeprefix(_PREFIX)))


def plot_figure_13(evidence: Evidence, log_base: float) -> Picture:
  """Plots runs on online data shuffled within blocks of several lengths."""
  uniform = PlottedArm(
    "tandem", "uniformly", styles.method_style("tandem"), trained_like="online"
  )
  return win_rate_over_kl.plot(
    evidence,
    [
      *(
        in_extra_color(name, n) for n, name in enumerate(_block_arms(evidence))
      ),
      uniform,
    ],
    name="fig_13",
    title="Figure 13: how far the data are shuffled",
    caption="Offline runs on the online run's batches, shuffled within blocks.",
    log_base=log_base,
  )


def _slight_shuffling_is_harmless(evidence: Evidence) -> Answer:
  shuffled = [name for name in _block_arms(evidence) if name != _IN_ORDER]
  if not shuffled:
    raise UndefinedError("there are no records of runs shuffled within blocks")
  return ahead.loses_little_to_online(evidence, shuffled[0])


def _unshuffled_is_the_online_run(evidence: Evidence) -> Answer:
  """Decided by fingerprints of the parameters; no number is estimated."""
  equal_by_run = _equal_checkpoints(evidence)
  equal_runs = [all(equal) for equal in equal_by_run if equal]
  if not equal_runs:
    raise UndefinedError("no checkpoint on ordered data has an online one")
  total, same = sum(map(len, equal_by_run)), sum(map(sum, equal_by_run))
  count, runs = sum(equal_runs), len(equal_runs)
  exact = stats.binomtest(count, runs).proportion_ci()
  prompts = evidence.arm("online").num_prompts
  numbers = (
    f"{same} of {total} checkpoints equal; runs equal throughout:"
    f" {count} of {runs}, share"
    f" {count / runs:.3f} [{exact.low:.3f}, {exact.high:.3f}]"
    f" ({prompts:,} prompts, {runs} seeds)"
  )
  if same < total:
    return Answer(Verdict.CONTRADICTED, numbers)
  if runs < MIN_SEEDS:
    return Answer(Verdict.UNDERPOWERED, numbers, few_seeds(runs))
  return Answer(Verdict.SUPPORTED, numbers)


def _equal_checkpoints(evidence: Evidence) -> Sequence[list[bool]]:
  """Returns, by run on ordered data, which checkpoints equal online's."""
  unshuffled = evidence.arm(_IN_ORDER)
  evidence.arm("online")  # raises if there is none
  fingerprints = {
    (record.run.arm, record.run.seed, record.checkpoint.step): (
      record.checkpoint.fingerprint
    )
    for record in evidence.records
  }
  return [
    [
      fingerprints[_IN_ORDER, run.seed, step]
      == fingerprints["online", run.seed, step]
      for step in run.steps.tolist()
      if ("online", run.seed, step) in fingerprints
    ]
    for run in unshuffled.runs
  ]


FIGURE_13 = Section(
  title="Figure 13: does the order of the online data matter?",
  paper_shows=(
    "The paper trains offline on an online run's batches in order, shuffled"
    " within 4 and within 500 batches, and shuffled as a whole."
  ),
  pictures=(plot_figure_13,),
  claims=(
    Claim(
      "an exact replay is the online run",
      "Offline alignment on the recorded pairs in their order gives the online"
      " run's parameters, bit for bit.",
      "this study's own condition; Tang et al. (2024), Appendix F: about 0.1%",
      _unshuffled_is_the_online_run,
      requires_any=(_IN_ORDER,),
      quote=(
        "the two procedures are indeed equivalent, up to numerical"
        " randomness due to hardware (section 5.1)"
      ),
      rule=(
        "The share of runs on ordered data whose parameters equal the"
        " online run's at every saved step. Supported if all do,"
        " contradicted otherwise."
      ),
    ),
    Claim(
      "slight shuffling is harmless",
      "Shuffled within the shortest blocks, the recorded batches lose less than"
      " 0.02 of win rate to the online run at the same KL.",
      "Tang et al. (2024), Fig. 13",
      _slight_shuffling_is_harmless,
      requires_any=(f"{_PREFIX}*",),
      judged=True,
      quote=(
        "The performance is robust to a small amount of shuffling (Appendix G)"
      ),
      rule=rules.HARMLESS,
    ),
  ),
  requires_any=(f"{_PREFIX}*",),
  own_arms=(f"{_PREFIX}*",),
)
