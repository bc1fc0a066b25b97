"""Evidence without chance: records whose every number is given.

`paths` maps an arm to its checkpoints, (KL, win rate, metrics) each; the steps
are 10, 20, ... `spread` moves the win rate and metrics of seeds apart.
"""

import numpy as np

from rlhf_gap import records
from rlhf_gap.analysis import arms, statistics
from rlhf_gap.analysis.evidence import Evidence
from tests.analysis import made_up

SETTINGS = statistics.BootstrapSettings(replicates=100)


def measured(value, n=100):
  return records.Measurement(float(value), 0.0, float(value), float(value), n)


def found(paths, *, seeds=(0, 1, 2), prompts=40, spread=0.0, vs_sft=None):
  """Records of every arm, three seeds of one configuration each."""
  made = []
  for arm, checkpoints in paths.items():
    for seed in (0,) if arm.partition("@")[0] == "sft" else seeds:
      shift = spread * (seed - 1)
      run = records.TrainingRun(
        f"{arm}/seed_{seed}",
        arm,
        "ipo",
        {"objective.loss.beta": "0.1", "seed": str(seed)},
        seed,
      )
      for number, (kl, win, metrics) in enumerate(checkpoints, 1):
        by_prompt = {
          "kl_nats": np.full(prompts, kl),
          "win_rate": np.full(prompts, win + shift),
        }
        if vs_sft is not None:
          by_prompt["win_rate_vs_reference"] = np.full(
            prompts, vs_sft[arm] + shift
          )
        shifted = {k: measured(v + shift) for k, v in metrics.items()}
        made.append(made_up.record(run, 10 * number, by_prompt, shifted))
  return made


def evidence(paths, *, online_data=(), sizes=None, **kw):
  made = found(paths, **kw)
  return Evidence(
    "task",
    arms.group(made),
    tuple(made),
    settings=SETTINGS,
    online_data=tuple(online_data),
    sizes=sizes or {},
  )


def flat(win, kls=(0.5, 2.0, 8.0), **metrics):
  """An arm's checkpoints, all with one win rate."""
  return [(kl, win, metrics) for kl in kls]


def classifier(arm, accuracies, *, n=64, seeds=(0, 1, 2), spread=0.0):
  """Records of a classifier of online data: accuracy by step."""
  return [
    records.RunRecord(
      run=records.TrainingRun(f"{arm}/seed_{seed}", arm, seed=seed),
      checkpoint=records.EvaluatedCheckpoint(f"{arm}{seed}", 300),
      evaluation=made_up.EVALUATION,
      code=records.Code("", "", {}),
      metrics={
        f"accuracy/{step}": measured(value + spread * (seed - 1), n)
        for step, value in accuracies.items()
      },
      by_prompt={},
      examples=(),
      environment=records.Environment("cpu", 0.0, {}),
    )
    for seed in seeds
  ]
