"""Appendix E.1: can policies tell the better of their own samples?

It needs the baseline runs of every method.
"""

from rlhf_gap.analysis import baselines, seed_means
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import all_of, within
from rlhf_gap.analysis.wording import pairs_basis, plain
from rlhf_gap.paper.section import Section, without_kl_axis
from rlhf_gap.plotting import metric_over_steps
from rlhf_gap.plotting.picture import Picture

_OWN_ACCURACY = "own_pair_accuracy_sum"
_CHANCE = (0.45, 0.55)
"""Accuracies that are as good as chance."""


def plot_own_accuracy(evidence: Evidence) -> Picture:
  """Plots every method's accuracy on its own samples over training."""
  return metric_over_steps.plot(
    evidence,
    _OWN_ACCURACY,
    name="app_e1",
    title="Appendix E.1: accuracy on own samples",
    caption="Two samples per prompt from the policy itself, golden labels.",
    y_label="accuracy on own samples",
    level=0.5,
  )


def _self_classification_is_chance(evidence: Evidence) -> Answer:
  accuracies = {}
  for name in ("online", "offline"):
    arm = baselines.arm(evidence, name)
    by_seed = baselines.metric_by_step(evidence, arm, _OWN_ACCURACY)
    if not by_seed:
      raise UndefinedError(f"{name} was not asked about its own samples")
    means = {
      seed: sum(measured.value for measured in by_step.values()) / len(by_step)
      for seed, by_step in by_seed.items()
    }
    n = min(sum(m.n for m in by_step.values()) for by_step in by_seed.values())
    accuracies[name] = seed_means.mean(
      means, n, confidence=evidence.settings.confidence
    )
  verdict, reason = all_of(
    [
      within(accuracy, *_CHANCE, num_parts=len(accuracies))
      for accuracy in accuracies.values()
    ]
  )
  levels = (
    f"{name} {plain(accuracy)} ({pairs_basis(accuracy)})"
    for name, accuracy in accuracies.items()
  )
  return Answer(
    verdict,
    f"accuracy on own samples, all checkpoints: {', '.join(levels)}",
    reason,
  )


APPENDIX_E1 = Section(
  title="Appendix E.1: can policies tell their own samples apart?",
  paper_shows=(
    "By golden labels, the paper's policies are no better than chance at"
    " choosing the better of two of their own samples."
  ),
  pictures=(without_kl_axis(plot_own_accuracy),),
  claims=(
    Claim(
      "self-classification is chance",
      "Policies choose the better of two of their own samples no better than"
      " chance, between 45 and 55%.",
      "Tang et al. (2024), Appendix E.1",
      _self_classification_is_chance,
      requires_any=("online", "offline"),
      quote=(
        "policies cannot do statistically significantly better than random"
        " guess at their own samples (even for online experiments) (section"
        " 5.3.3)"
      ),
      rule=(
        "Mean accuracy over checkpoints, by seed, for online and offline."
        f" Supported if both Student intervals lie in [{_CHANCE[0]:g},"
        f" {_CHANCE[1]:g}], contradicted if one at 97.5% lies outside."
      ),
    ),
  ),
  requires_any=("online", "offline"),
)
