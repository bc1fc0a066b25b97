"""Measures IPO under both reductions of log-probabilities, on a miniature.

Summed or averaged over tokens, each at beta 0.1 and 0.01, offline on golden
labels and online: what becomes of log pi(y_w|x) - log pi_sft(y_w|x) on the
golden pairs (the paper's Figure 8, bottom) and of the KL. Every run starts from
the same SFT policy with the same optimizer; only reduction and beta differ.

Usage: python tools/measure_reductions.py TASK_FOLDER OUTPUT [--steps=300]

TASK_FOLDER is a task's folder within a study's folder, such as
runs/laptop/mini_helpfulness. Rerun the same command to resume after an
interruption.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys

from rlhf_gap import records, stores
from rlhf_gap.cli import main as cli
from rlhf_gap.training import saving

_REDUCTIONS = ("sum", "mean")
_BETAS = (0.1, 0.01)
_PROMPTS = 256
# Prompt, two responses and the markers, as the studies' windows are.
_MARKER_TOKENS = 3


@dataclasses.dataclass(frozen=True)
class Made:
  """Checkpoints and stores of one task of a study.

  Attributes:
    sft: the SFT policy's checkpoint.
    golden: the golden preference model's.
    proxy: the proxy's.
    pairs: a store of pairs that the golden model has labelled.
    prompts: a store of prompts.
  """

  sft: str
  golden: str
  proxy: str
  pairs: str
  prompts: str

  @classmethod
  def below(cls, folder: pathlib.Path) -> "Made":
    """Finds the last checkpoints and the stores of a task's folder."""
    return cls(
      sft=_latest(folder / "sft"),
      golden=_latest(folder / "golden"),
      proxy=_latest(folder / "proxy"),
      pairs=str(folder / "golden_labels"),
      prompts=str(folder / "data" / "prompts"),
    )

  @property
  def response_tokens(self) -> int:
    """The window of responses."""
    return stores.open(self.pairs).manifest.feature_lengths["response"]

  @property
  def judge_tokens(self) -> int:
    """The judges' window."""
    lengths = stores.open(self.pairs).manifest.feature_lengths
    return lengths["prompt"] + 2 * lengths["response"] + _MARKER_TOKENS


def _latest(run: pathlib.Path) -> str:
  return saving.path_of(str(run), max(saving.steps_in(str(run))))


def run(command: str, *words: object) -> None:
  """Runs a command of `rlhf-gap` in this process: it compiles once.

  Raises:
    SystemExit: it failed, after printing the reason.
  """
  if status := cli.main([command, *map(str, words)]):
    raise SystemExit(status)


def train(
  made: Made,
  folder: pathlib.Path,
  regime: str,
  reduction: str,
  beta: float,
  steps: int,
) -> None:
  """Trains a policy, with a checkpoint half way."""
  source = (
    f"--gin.PAIRS={made.pairs}",
    f"--gin.PROMPTS={made.prompts}",
    f"--gin.JUDGE_CHECKPOINT_PATH={made.proxy}",
    f"--gin.MAX_LENGTH={made.response_tokens}",
  )
  run(
    "train",
    f"--gin_file=gin_configs/runs/{regime}.gin",
    f"--gin.MODEL_DIR={folder}",
    f"--gin.INITIAL_CHECKPOINT_PATH={made.sft}",
    *(source[:1] if regime == "offline" else source[1:]),
    f"--gin.BETA={beta}",
    f"--gin.REDUCTION={reduction!r}",
    "--gin.OPTIMIZER=@configured.AdamW()",
    "--gin.configured.AdamW.clip_global_norm=1.0",
    "--gin.LEARNING_RATE=3e-4",
    f"--gin.TRAIN_STEPS={steps}",
    f"--gin.description.Run.checkpoint_every_steps={steps // 2}",
    "--gin.description.Run.keep_steps=()",
    "--gin.description.Run.tensorboard=False",
  )


def evaluate(
  made: Made, folder: pathlib.Path, output: pathlib.Path
) -> list[records.RunRecord]:
  """Returns the records of a run's checkpoints, by step."""
  run(
    "evaluate",
    folder,
    "--all",
    f"--golden={made.golden}",
    f"--proxy={made.proxy}",
    f"--reference={made.sft}",
    f"--golden_policy={made.sft}",
    f"--prompts={made.prompts}",
    f"--pairs={made.pairs}",
    f"--output={output}",
    f"--num_prompts={_PROMPTS}",
    f"--num_pairs={_PROMPTS}",
    "--own_pairs=0",
    f"--max_length={made.response_tokens}",
    f"--judge_length={made.judge_tokens}",
    f"--batch_size={_PROMPTS}",
    f"--run_name={folder.name}",
  )
  found = records.read(str(output / "records.jsonl"))
  mine = [record for record in found if record.run.name == folder.name]
  return sorted(mine, key=lambda record: record.checkpoint.step)


_COLUMNS = {
  "chosen_log_ratio_nats": "chosen, nats",
  "rejected_log_ratio_nats": "rejected, nats",
  "kl_nats": "KL, nats",
  "win_rate_vs_reference": "win rate vs SFT",
  "proxy_win_rate_vs_reference": "as the proxy sees it",
}


def table(rows: list[dict[str, str | float]]) -> str:
  """Returns rows as a Markdown table."""
  names = list(rows[0])
  lines = [names, ["---"] * len(names)]
  lines += [
    [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
    for row in rows
  ]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
  """Trains, evaluates and prints a table, and its rows as a line of JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("task_folder", type=pathlib.Path)
  parser.add_argument("output", type=pathlib.Path)
  parser.add_argument("--steps", type=int, default=300)
  arguments = parser.parse_args()
  made = Made.below(arguments.task_folder.absolute())
  output = arguments.output.absolute()
  rows: list[dict[str, str | float]] = []
  for regime, reduction, beta in itertools.product(
    ("offline", "online"), _REDUCTIONS, _BETAS
  ):
    folder = output / f"{regime}_{reduction}_{beta}"
    train(made, folder, regime, reduction, beta, arguments.steps)
    for record in evaluate(made, folder, output):
      rows.append(
        {
          "regime": regime,
          "reduction": reduction,
          "beta": f"{beta:g}",
          "step": str(record.checkpoint.step),
          **{
            title: record.metrics[name].value
            for name, title in _COLUMNS.items()
          },
        }
      )
  print(table(rows))
  print(json.dumps(rows))
  return 0


if __name__ == "__main__":
  sys.exit(main())
