"""A study's ingredients in small: stores, an SFT policy and a judge.

What the checks of whole runs start from, made by the command line itself in
about a minute.
"""

import dataclasses
import pathlib

from rlhf_gap.cli import main

CORPUS = "mini_helpfulness"
# One that changes nothing but how large a run is.
RUNS = "gin_configs/runs"
MODEL = "gin_configs/models/mini_policy.gin"
LENGTH_TOKENS = 16
_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Miniature:
  """Where the ingredients lie.

  Attributes:
    prompts: a store of prompts.
    pairs: a store of labelled pairs.
    responses: a store for supervised fine-tuning.
    policy: a checkpoint of the SFT policy, which is also the reference.
    judge: a checkpoint of a preference model.
  """

  prompts: str
  pairs: str
  responses: str
  policy: str
  judge: str


def rlhf_gap(command: str, *words: object) -> None:
  """Runs a command of `rlhf-gap` in this process.

  Args:
    command: such as "train".
    *words: its other words.

  Raises:
    RuntimeError: it did not succeed; it has said why.
  """
  argv = [command, *map(str, words)]
  status = main.main(argv)
  if status:
    raise RuntimeError(f"rlhf-gap {' '.join(argv)}: exit code {status}")


def store(folder: pathlib.Path, kind: str, rows: int = _ROWS) -> str:
  """Builds the miniature's store of a kind, such as "pairs".

  Args:
    folder: where it goes, under its kind.
    kind: the task's suffix.
    rows: comparisons to draw.

  Returns:
    Its directory.
  """
  path = folder / kind
  rlhf_gap("data", f"{CORPUS}_{kind}", f"--output={path}", f"--rows={rows}")
  return str(path)


def build(folder: pathlib.Path, steps: int) -> Miniature:
  """Builds stores, and trains a policy and a judge on them.

  Args:
    folder: where everything goes.
    steps: updates of the policy and of the judge, each.

  Returns:
    Where the ingredients lie.
  """
  prompts, pairs, responses = (
    store(folder, kind) for kind in ("prompts", "pairs", "sft")
  )
  sizes = [f"--gin.TRAIN_STEPS={steps}", "--gin.BATCH_SIZE=32"]
  adam = [
    "--gin.OPTIMIZER=@configured.AdamW()",
    "--gin.LEARNING_RATE=1e-3",
  ]
  rlhf_gap(
    "train",
    f"--gin_file={RUNS}/pretrain.gin",
    f"--gin_file={MODEL}",
    f"--gin.MODEL_DIR={folder / 'policy'}",
    f"--gin.RESPONSES={responses}",
    *sizes,
    *adam,
  )
  policy = str(folder / "policy" / f"checkpoint_{steps}")
  rlhf_gap(
    "train",
    f"--gin_file={RUNS}/preference.gin",
    f"--gin.MODEL_DIR={folder / 'judge'}",
    f"--gin.INITIAL_CHECKPOINT_PATH={policy}",
    f"--gin.PAIRS={pairs}",
    "--gin.WARM_UP_STEPS=0",
    *sizes,
    *adam,
  )
  judge = str(folder / "judge" / f"checkpoint_{steps}")
  return Miniature(prompts, pairs, responses, policy, judge)
