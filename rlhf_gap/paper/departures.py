"""Every departure from the paper, and why."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Departure:
  """Something that is not done as the paper does it, or says it does.

  Attributes:
    topic: what it is about.
    paper: what the paper does or prints.
    here: what is done here.
    why: the reason.
    miniature: whether it holds for the miniature studies alone.
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
    "One choice for all arms of a study, `Study.reduction`: means over tokens,"
    " unless it is set to sums.",
    "Inferred: the log-likelihoods of its Fig. 8 are those of means.",
  ),
  Departure(
    "Best-of-2",
    "Eq. 3 prints the minimum of E[log pi(y_w)].",
    "The minimum of E[-log pi(y_w)].",
    "A lost sign.",
  ),
  Departure(
    "KL",
    "Section 4.1 and Appendix D print E_pi[log pi_sft / pi].",
    "E_pi[log pi / pi_sft], exact over the vocabulary at every step.",
    "A lost sign. The base of the figures' logarithm is not told; here it is"
    " 10, and nats stand above.",
  ),
  Departure(
    "ties",
    "Not mentioned.",
    "1/2 in win rates; no gradient in training.",
    "A preference model gives equal texts equal marks, and collapsed policies"
    " draw equal texts.",
  ),
  Departure(
    "intervals and seeds",
    "Single runs, no intervals.",
    "95% intervals over prompts and seeds; a claim that rests on fewer than"
    " three seeds, or whose interval decides nothing, is called underpowered.",
    "Differences of 0.02 are two standard errors of one win rate at 2,048"
    " prompts.",
  ),
  Departure(
    "pooled sweeps",
    "Clouds of points over all hyper-parameters.",
    "The same points, and an arm's frontier: its best configuration at each KL,"
    " chosen on other prompts and seeds than those that value it.",
    "A larger sweep would otherwise win by luck.",
  ),
  Departure(
    "the offline sweep",
    "'Starting from the baseline' learning rate, beta and steps are varied;"
    " full grid or one at a time is not told.",
    "One at a time by default; `Sweep.full_grid` takes all combinations.",
    "18 runs a seed and task instead of 6.",
  ),
  Departure(
    "tuned arms of Figures 5, 9 to 12 and 14",
    "Learning rates, for some betas as well; 20,000 steps on generated pairs.",
    "Learning rates alone; at further sizes no other sweep either. In miniature"
    " runs on generated pairs are as long as all others.",
    "Cost. The offline arm of the study's own size keeps its whole sweep, but"
    " for Figures 11 and 14, which take of it what all sizes were trained at.",
  ),
  Departure(
    "Figure 10",
    "Online, tandem and offline at two sizes in one picture.",
    "A picture for each method, with all sizes; the claims compare methods at"
    " each size.",
    "Nine curves in one picture cannot be told apart.",
  ),
  Departure(
    "the gap at every size",
    "'Best performance', a 90% quantile over checkpoints and hyper-parameters.",
    "Drawn as in the paper; the claim is decided at the same KL.",
    "A sweep with poor settings has a low quantile: offline arms would lose by"
    " being tuned.",
  ),
  Departure(
    "data that offline Best-of-2 replays",
    "'D_online shuffled'; which online run's is not told.",
    "What the online Best-of-2 run of the same seed had recorded.",
    "As with IPO, the pairs are those that made the online run what it is.",
  ),
  Departure(
    "generated pairs",
    "Their number is not told.",
    "As many as golden pairs, drawn once from the first seed's online run,"
    " golden-labelled; all seeds train on them.",
    "One data set, as golden pairs are one.",
  ),
  Departure(
    "'no shuffling' in Figure 13",
    "An offline run on ordered data, within about 0.1% of the online run.",
    "A replay whose parameters equal the online run's bit for bit.",
    "Token ids are stored, not text; every batch is a function of its step.",
  ),
  Departure(
    "SFT data",
    "One SFT policy for all tasks, on a subset of them that is not told.",
    "An SFT policy for each task, on that task's responses.",
    "A task's study then stands by itself.",
  ),
  Departure(
    "start of the golden model",
    "XXL, from a supervised XXL checkpoint.",
    "From the pretrained checkpoint that the study names.",
    "Its SFT would be the most expensive run that nothing else uses.",
  ),
  Departure(
    "peak KL over sizes",
    "Compared by eye.",
    "By the ratio of KLs at the peaks, with an interval; similar is within a"
    " factor of 2.",
    "'Similar' needs a number to be decided.",
  ),
  Departure(
    "models and data",
    "T5X Large, XL and XXL (770M to 11B); four public data sets.",
    "T5s of 90,000 to 476,000 parameters, pretrained on the miniatures; four"
    " procedural data sets with a hidden utility and a noisy rater.",
    "The whole must run on two cores. What is found in miniature is no finding"
    " about large models; it shows that the pipeline can find it.",
    miniature=True,
  ),
  Departure(
    "three sizes",
    "Large, XL, XXL: 1, 3.7 and 14 times the parameters.",
    "1, 3.6 and 5.3 times, the middle one the study's own.",
    "The largest is the golden model's size; a larger one would take longer"
    " than all else.",
    miniature=True,
  ),
  Departure(
    "the golden policy",
    "The online algorithm with the golden model, to its last checkpoint.",
    "The same, stopped after 40 of 300 steps, where the hidden utility is"
    " highest.",
    "Trained on it over-optimizes the golden model, and hardly any response"
    " wins against it. The opponent of all win rates is chosen so; the arms"
    " that are compared are not.",
    miniature=True,
  ),
  Departure(
    "sweeps of the offline and tandem arms",
    "Figures 1 and 4 pool learning rates and betas of both; offline also 20,000"
    " steps.",
    "Tandem runs vary the learning rate alone; offline has one run more, at"
    " learning rate 1e-3 and beta 0.1, pushed far beyond its peak.",
    "Cost; and whether win rates fall again is a question of its own.",
    miniature=True,
  ),
  Departure(
    "tasks of the ablations",
    "Figures 5 to 12 and 14 on three tasks, Figure 13 on helpfulness.",
    "All on helpfulness.",
    "Three hours on two cores.",
    miniature=True,
  ),
  Departure(
    "optimizer and steps",
    "T5X's Adafactor at 1e-5 (inferred), 4,000 and 20,000 steps.",
    "AdamW at 3e-4, some hundred steps; early, block and sync lengths are"
    " scaled alike.",
    "A miniature reaches the same KLs so within seconds.",
    miniature=True,
  ),
  Departure(
    "beta",
    "0.1: a target of 5 nats a token.",
    "0.5 as the baseline, 0.1 in the offline sweep.",
    "A miniature's tokens hold less than 5 nats; its golden policy would"
    " over-optimize the golden model.",
    miniature=True,
  ),
  Departure(
    "prompts and pairs",
    "2,048 prompts, 256 for the KL; 256 golden pairs; 64 pairs at each of 10"
    " moments.",
    "Fewer prompts (see below, 'Versions and settings'); the same moments.",
    "Cost; intervals say what it costs in certainty.",
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
