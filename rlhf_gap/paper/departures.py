"""Every departure from the paper, and why."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Departure:
  """Something that we do differently from what the paper does or says.

  Attributes:
    topic: what it is about.
    paper: what the paper does or prints.
    here: what we do.
    why: the reason.
    miniature: whether it applies only to the miniature studies.
  """

  topic: str
  paper: str
  here: str
  why: str
  miniature: bool = False


ALL = (
  Departure(
    "IPO's target",
    "Eq. 1 prints (rho - beta / 2)^2; Appendix B prints f(beta rho) with f(z) ="
    " (z - 1/2)^2.",
    "Appendix B's: the target of rho is 1 / (2 beta).",
    "Appendices E and H and the text agree with it; Eq. 1 would hold policies"
    " at KLs a hundred times smaller than its figures show.",
  ),
  Departure(
    "log-probabilities in the loss",
    "Sequence likelihoods; no reduction over tokens is written.",
    "One choice for all arms of a study, `Study.reduction`: means over tokens"
    " by default.",
    "Inferred: the log-likelihoods of its Fig. 8 are those of means.",
  ),
  Departure(
    "Best-of-2",
    "Eq. 3 prints the minimum of E[log pi(y_w)].",
    "The minimum of E[-log pi(y_w)].",
    "A missing sign.",
  ),
  Departure(
    "KL",
    "Section 4.1 and Appendix D print E_pi[log pi_sft / pi].",
    "E_pi[log pi / pi_sft], exact over the vocabulary at every step.",
    "A missing sign. The base of the figures' logarithm is not stated; here it"
    " is 10, with nats on the upper axis.",
  ),
  Departure(
    "ties",
    "Not mentioned.",
    "1/2 in win rates; no gradient in training.",
    "A preference model scores equal texts equally, and collapsed policies"
    " sample equal texts.",
  ),
  Departure(
    "intervals and seeds",
    "Single runs, no intervals.",
    "95% intervals over prompts and seeds. A claim is underpowered if it has"
    " fewer than three seeds, or an interval that decides nothing.",
    "Differences of 0.02 are two standard errors of one win rate at 2,048"
    " prompts.",
  ),
  Departure(
    "pooled sweeps",
    "Clouds of points over all hyper-parameters.",
    "The same points, and an arm's frontier: its best configuration at each KL,"
    " chosen and evaluated on different prompts and seeds.",
    "Otherwise, a larger sweep would win by luck.",
  ),
  Departure(
    "the offline sweep",
    "'Starting from the baseline' learning rate, beta and steps are varied;"
    " whether in a full grid or one at a time is not stated.",
    "One at a time by default; `Sweep.full_grid` runs all combinations.",
    "6 runs per seed and task instead of 18.",
  ),
  Departure(
    "tuned arms of Figures 5, 9 to 12 and 14",
    "Learning rates, and betas for some arms; 20,000 steps on generated pairs.",
    "Learning rates only, also at additional sizes. In miniature, runs on"
    " generated pairs are as long as all others.",
    "Cost. The offline arm of the study's own size keeps its whole sweep;"
    " Figures 11 and 14 use only the settings that all sizes share.",
  ),
  Departure(
    "Figure 10",
    "Online, shuffled online data and offline at two sizes in one picture.",
    "A picture for each method, with all sizes; the claims compare methods at"
    " each size.",
    "Nine curves in one picture are hard to tell apart.",
  ),
  Departure(
    "the gap at every size",
    "'Best performance', a 90% quantile over checkpoints and hyper-parameters.",
    "Plotted as in the paper; the claim is decided at the same KL.",
    "A sweep with poor settings has a low quantile: offline arms would lose by"
    " being tuned.",
  ),
  Departure(
    "shuffled online data of Best-of-2",
    "'D_online shuffled'; from which online run is not stated.",
    "The pairs that the online Best-of-2 run with the same seed recorded.",
    "As with IPO, these are the pairs that the online run was trained on.",
  ),
  Departure(
    "generated pairs",
    "Their number is not stated.",
    "As many as golden pairs, sampled once from the first seed's online run and"
    " golden-labelled; all seeds train on them.",
    "The golden pairs are one data set as well.",
  ),
  Departure(
    "'no shuffling' in Figure 13",
    "An offline run on ordered data, within about 0.1% of the online run.",
    "An offline run whose parameters equal the online run's bit for bit.",
    "Token ids are stored, not text; every batch is a function of its step.",
  ),
  Departure(
    "SFT data",
    "One SFT policy for all tasks, on an unspecified subset of them.",
    "An SFT policy for each task, on that task's responses.",
    "Each task's study is then self-contained.",
  ),
  Departure(
    "start of the golden model",
    "XXL, from a supervised XXL checkpoint.",
    "From the pretrained checkpoint that the study names.",
    "Its SFT would be the most expensive run, and nothing else would use it.",
  ),
  Departure(
    "peak KL over sizes",
    "Compared by eye.",
    "By the ratio of KLs at the peaks, with an interval; within a factor of 2"
    " is similar.",
    "A verdict on 'similar' needs a number.",
  ),
  Departure(
    "models and data",
    "T5X Large, XL and XXL (770M to 11B); four public data sets.",
    "T5s of 90,000 to 476,000 parameters, pretrained on the miniatures; four"
    " procedural data sets with a hidden utility and a noisy rater.",
    "The whole study must run on two cores. A result in miniature says nothing"
    " about large models; it shows that the pipeline can detect such a result.",
    miniature=True,
  ),
  Departure(
    "three sizes",
    "Large, XL, XXL: 1, 3.7 and 14 times the parameters.",
    "1, 3.6 and 5.3 times, the middle one the study's own.",
    "The largest is the golden model's size; a larger one would take longer"
    " than everything else.",
    miniature=True,
  ),
  Departure(
    "size of the golden model",
    "XXL, 14 times the parameters of the proxy.",
    "1.45 times the parameters of the proxy.",
    "Cost. The golden model is exploited too, so every claim about win rates is"
    " also answered by the hidden utility.",
    miniature=True,
  ),
  Departure(
    "the golden policy",
    "The online algorithm with the golden model, to its last checkpoint.",
    "The same, stopped after 40 of 300 steps, where the hidden utility is"
    " highest.",
    "With more steps it over-optimizes the golden model, and hardly any"
    " response wins against it. Only the opponent of all win rates is chosen"
    " in this way; the compared arms are not.",
    miniature=True,
  ),
  Departure(
    "sweeps of both offline arms",
    "Figures 1 and 4 pool learning rates and betas of both; offline also has"
    " runs of 20,000 steps.",
    "Runs on shuffled online data vary only the learning rate. Offline has one"
    " additional run at learning rate 1e-3 and beta 0.1, far beyond its peak.",
    "Cost; the additional run shows whether win rates fall again.",
    miniature=True,
  ),
  Departure(
    "tasks of the ablations",
    "Figures 5 to 12 and 14 on three tasks, Figure 13 on helpfulness.",
    "All on helpfulness.",
    "Together they take three hours on two cores.",
    miniature=True,
  ),
  Departure(
    "optimizer and steps",
    "T5X's Adafactor at 1e-5 (inferred), 4,000 and 20,000 steps.",
    "AdamW at 3e-4, some hundred steps; early, block and sync lengths are"
    " scaled accordingly.",
    "A miniature then reaches the same KLs within seconds.",
    miniature=True,
  ),
  Departure(
    "beta",
    "0.1: a target of 5 nats a token.",
    "0.5 as the baseline, 0.1 in the offline sweep.",
    "A miniature's tokens hold less than 5 nats; its golden policy would"
    " over-optimize the golden model. Both this beta and the golden policy's"
    " steps were set after win rates had been seen, before this study's claims"
    " were written down.",
    miniature=True,
  ),
  Departure(
    "choices that favour an arm",
    "Online has one configuration, offline a pooled sweep.",
    "The same. Cross-fitting costs the swept arm about 0.015 of win rate, and"
    " an arm without a sweep nothing.",
    "Without cross-fitting, the larger sweep would win by luck.",
  ),
  Departure(
    "prompts and pairs",
    "2,048 prompts, 256 for the KL; 256 golden pairs; 64 pairs at each of 10"
    " moments.",
    "Fewer prompts (see below, 'Versions and settings'); the same moments.",
    "Cost; the intervals show the loss of certainty.",
    miniature=True,
  ),
)
"""In the order of the report."""


def select(*, miniature: bool) -> tuple[Departure, ...]:
  """Returns the departures of a study.

  Args:
    miniature: whether the study is one of the miniatures.
  """
  return tuple(each for each in ALL if miniature or not each.miniature)
