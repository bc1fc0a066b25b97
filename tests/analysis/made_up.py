"""Records of runs that never were, with win rates that are known.

An arm's expected win rate follows Gao's form in d = sqrt(KL); each prompt is
harder or easier for all policies, each seed luckier or not.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rlhf_gap import records
from rlhf_gap.analysis import arms as study_arms
from rlhf_gap.analysis import summary

SFT = 0.2
EVALUATION = records.Evaluation(
  golden="g" * 8,
  proxy="p" * 8,
  reference="r" * 8,
  golden_policy="o" * 8,
  prompts="x" * 8,
  pairs=None,
  settings={"num_prompts": 0},
)


@dataclasses.dataclass(frozen=True)
class Truth:
  """What an arm is like.

  Attributes:
    a: of Gao's form for the golden win rate, d (a - b log d) above SFT's.
    b: likewise.
    most_kl_nats: at the last checkpoint.
    configurations: settings, with what each adds to the win rate.
    proxy_slope: of the proxy's opinion in d.
  """

  a: float = 0.3
  b: float = 0.2
  most_kl_nats: float = 20.0
  configurations: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: {"0.1": 0.0}
  )
  proxy_slope: float = 0.12

  def win_rate(self, kl_nats):
    """Expected, at a KL."""
    d = np.sqrt(np.asarray(kl_nats, np.float64))
    return SFT + d * (self.a - self.b * np.log(d))

  @property
  def peak_kl_nats(self):
    """Where it is greatest."""
    return float(np.exp(2 * (self.a / self.b - 1)))


# Realistic: online rises higher, falls later, is over-optimized.
ARMS = {
  "online": Truth(a=0.20, b=0.10, most_kl_nats=60.0),
  "offline": Truth(
    a=0.12,
    b=0.08,
    most_kl_nats=40.0,
    configurations={"0.1": 0.0, "0.5": -0.04, "1.0": -0.06},
    proxy_slope=0.02,
  ),
  "tandem": Truth(a=0.14, b=0.08, most_kl_nats=30.0, proxy_slope=0.05),
}
PROMPT_TEXTS = (
  "a quiet town by the sea, its harbour and who lives there <b>now</b>",
  "why do the leaves of an oak turn brown in autumn?",
  "write a letter to a landlord about the heating",
)


def measured(values):
  sem = float(np.std(values, ddof=1) / np.sqrt(len(values)))
  mean = float(np.mean(values))
  return records.Measurement(
    mean, sem, mean - 1.96 * sem, mean + 1.96 * sem, len(values)
  )


def record(run, step, by_prompt, metrics=None, examples=()):
  """A record whose metrics are the means of its outcomes by prompt."""
  return records.RunRecord(
    run=run,
    checkpoint=records.EvaluatedCheckpoint(f"{run.name}@{step}", step),
    evaluation=EVALUATION,
    code=records.Code("c0ffee", "3.11.9", {"jax": "0.10.2"}),
    metrics={k: measured(v) for k, v in by_prompt.items()} | (metrics or {}),
    by_prompt={k: tuple(map(float, v)) for k, v in by_prompt.items()},
    examples=tuple(examples),
    environment=records.Environment("1 x cpu", 2.5, {}),
  )


@dataclasses.dataclass(frozen=True)
class World:
  """Prompts that all runs share, and how much chance there is.

  Attributes:
    seed: of everything.
    num_prompts: in each evaluation.
    kl_prompts: of them with a KL.
    num_seeds: runs of each configuration.
    seed_std: of luck, in win rate.
    num_checkpoints: of each run.
  """

  seed: int = 0
  num_prompts: int = 256
  kl_prompts: int = 64
  num_seeds: int = 3
  seed_std: float = 0.01
  num_checkpoints: int = 8

  def records(self, arms=ARMS):
    """Draws the records of all arms, and of SFT."""
    random = np.random.default_rng(self.seed)
    ease = random.normal(0, 0.1, self.num_prompts)
    ease -= ease.mean()
    made = [self._sft(random, ease)]
    for name, truth in arms.items():
      for beta, bonus in truth.configurations.items():
        for seed in range(self.num_seeds):
          run = records.TrainingRun(
            f"{name}/beta_{beta}_seed_{seed}",
            name,
            "ipo",
            {
              "objective.loss.beta": beta,
              "seed": str(seed),
              "pairs": "ab" * 32,
            },
            seed,
          )
          made += self._run(random, ease, run, truth, bonus)
    return made

  def _sft(self, random, ease):
    run = records.TrainingRun("sft", "sft", "", {}, 0)
    by_prompt = {
      "kl_nats": np.zeros(self.kl_prompts),
      **self._outcomes(random, ease, SFT, SFT, SFT),
    }
    return record(run, 1000, by_prompt, _text(0.0), _examples("sft"))

  def _run(self, random, ease, run, truth, bonus):
    luck = random.normal(0, self.seed_std)
    kls = np.geomspace(0.1, truth.most_kl_nats, self.num_checkpoints)
    for number, kl in enumerate(kls, 1):
      by_prompt = {
        "kl_nats": random.gamma(4, kl / 4, self.kl_prompts),
        **self._outcomes(
          random,
          ease,
          truth.win_rate(kl) + bonus + luck,
          SFT + truth.proxy_slope * np.sqrt(kl),
          truth.win_rate(kl) + bonus + luck - 0.02 * np.sqrt(kl),
        ),
      }
      examples = _examples(f"{run.arm} {number}")
      yield record(run, 50 * number, by_prompt, _text(kl), examples)

  def _outcomes(self, random, ease, golden, proxy, utility):
    def of(rate):
      chance = np.clip(rate + ease, 0, 1)
      return (random.random(self.num_prompts) < chance).astype(float)

    return {
      "win_rate": of(golden),
      "proxy_win_rate": of(proxy),
      "utility_win_rate": of(utility),
    }


def _text(kl):
  return {
    "chosen_log_ratio_nats": records.Measurement(
      -kl, 0.2, -kl - 0.4, -kl + 0.4, 64
    ),
    "response_length_tokens": records.Measurement(
      9 + kl / 9, 0.1, 8.8, 20.0, 64
    ),
    "eos_rate": records.Measurement(0.97, 0.01, 0.95, 0.99, 64),
    "pair_accuracy_sum": records.Measurement(0.6, 0.03, 0.54, 0.66, 64),
  }


def _examples(who):
  return [
    records.Example(
      prompt, f"{who} says: " + "the sea & the harbour " * (n + 2)
    )
    for n, prompt in enumerate(PROMPT_TEXTS)
  ]


def exact_arm(name, curves, prompts=10):
  """An arm without any chance in it.

  `curves` maps (configuration, seed) to KLs and win rates by checkpoint.
  """
  by_label = {}
  for (label, seed), (kls, win_rates) in curves.items():
    wide = np.ones((1, prompts))
    run = study_arms.Trajectory(
      f"{name}/{label}/{seed}",
      seed,
      np.arange(1, len(kls) + 1) * 10,
      np.array(kls, np.float64)[:, None] * wide,
      {"win_rate": np.array(win_rates, np.float64)[:, None] * wide},
    )
    by_label.setdefault(label, []).append(run)
  return study_arms.Arm(
    name,
    tuple(
      study_arms.Configuration(label, tuple(runs))
      for label, runs in by_label.items()
    ),
  )


def judge(name, rates):
  random = np.random.default_rng(len(name))
  bins = []
  for predicted in (0.55, 0.65, 0.75, 0.85, 0.95):
    right = (random.random(120) < predicted - 0.04).astype(float)
    bins.append(summary.CalibrationBin(predicted, measured(right)))
  return summary.Judge(
    name=name,
    accuracy={k: _rate(v) for k, v in rates.items()},
    position_bias=records.Measurement(0.012, 0.004, 0.004, 0.02, 600),
    calibration=tuple(bins),
    calibrated_against="utility",
  )


def _rate(p, n=600):
  sem = float(np.sqrt(p * (1 - p) / n))
  return records.Measurement(p, sem, p - 1.96 * sem, p + 1.96 * sem, n)


def study(names=("mini_helpfulness",), failed=False):
  """A summary with judges, stages, and a hole if one `failed`."""
  stages = [
    summary.StageSummary(
      f"{name}/{what}",
      f"rlhf-gap train --gin_file=gin_configs/runs/{what}.gin"
      f" --gin.MODEL_DIR=runs/laptop/{name}/{what} --gin.BETA=0.1",
      "done",
      seconds,
    )
    for name in names
    for what, seconds in (("sft", 41.5), ("golden", 95.0), ("online", 130.2))
  ]
  if failed:
    stages += [
      summary.StageSummary(
        f"{names[0]}/tandem",
        "rlhf-gap train --gin_file=gin_configs/runs/replay.gin",
        "failed",
        3.0,
        "the store <pairs> ends at step 31; expected 400",
      ),
      summary.StageSummary(
        f"{names[0]}/evaluation/tandem", "rlhf-gap evaluate ...", "missing"
      ),
    ]
  judges = (
    judge("golden", {"rater": 0.84, "utility": 0.91}),
    judge("proxy", {"golden": 0.82, "utility": 0.79}),
  )
  steps = tuple(range(10, 410, 10))
  loss = tuple(float(2 * np.exp(-s / 150) + 0.5) for s in steps)
  curves = (
    summary.LoggedCurve("sft", "sft", "train/loss", steps, loss),
    summary.LoggedCurve(
      "online/seed_0", "online", "train/loss", steps, loss[::-1]
    ),
  )
  return summary.Summary(
    "laptop",
    tuple(stages),
    tuple(
      summary.TaskSummary(n, f"{n}/records.jsonl", judges, (), curves)
      for n in names
    ),
  )


def workdir(folder, names=("mini_helpfulness",), arms=ARMS, failed=False, **kw):
  """Writes a study's folder as the pipeline leaves it."""
  for number, name in enumerate(names):
    (folder / name).mkdir(parents=True)
    made = World(seed=number, **kw).records(arms)
    records.write(folder / name / "records.jsonl", made)
  summary.write(folder, study(names, failed))
  return folder
