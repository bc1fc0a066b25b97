"""Small ingredients of a study: stores, an SFT policy and a judge.

The checks of whole runs start from them. The command line makes them in about a
minute.
"""

import dataclasses
import pathlib

from rlhf_gap.cli import main

CORPUS = "mini_helpfulness"
RUNS = "gin_configs/runs"
MODEL = "gin_configs/models/mini_policy.gin"
LENGTH_TOKENS = 16
_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Miniature:
  """Paths of the ingredients.

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
    command: the command, such as "train".
    *words: its arguments.

  Raises:
    RuntimeError: the command failed, after printing the reason.
  """
  argv = [command, *map(str, words)]
  status = main.main(argv)
  if status:
    raise RuntimeError(f"rlhf-gap {' '.join(argv)}: exit code {status}")


def store(folder: pathlib.Path, kind: str, rows: int = _ROWS) -> str:
  """Builds the miniature's store of a kind, such as "pairs".

  Args:
    folder: parent folder of the store.
    kind: the task's suffix.
    rows: number of comparisons.

  Returns:
    The store's directory.
  """
  path = folder / kind
  rlhf_gap("data", f"{CORPUS}_{kind}", f"--output={path}", f"--rows={rows}")
  return str(path)


def build(folder: pathlib.Path, steps: int) -> Miniature:
  """Builds stores, and trains a policy and a judge on them.

  Args:
    folder: folder for all files.
    steps: training steps of the policy and of the judge.

  Returns:
    Paths of the ingredients.
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
