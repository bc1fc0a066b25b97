"""Runs the study on one's own pairs and model, end to end, at a tiny size.

  python tools/check_own.py [--python=PYTHON_WITH_TRANSFORMERS] [--keep=DIR]

It writes 400 pairs as JSON lines and a T5 with random weights and a unigram
vocabulary of its own as a Hugging Face folder; runs gin_configs/studies/own.gin
on them; and converts the online policy and the golden model back. With --python
of an environment that has transformers, PyTorch and sentencepiece, the T5 is
transformers' own, and transformers then opens what came out: its tokens, greedy
text, preferences and `pipeline` must equal ours. Without it, this part is left
out, which is said at the end.
"""

import argparse
import contextlib
import json
import pathlib
import random
import sys
import tempfile
import time

import check_transformers
import numpy as np

from rlhf_gap import checkpoints, stores
from rlhf_gap.cli import main as cli

_STUDIES = "gin_configs/studies"
_MAX_LENGTH = 24
_LIMIT_SECONDS = 600
_ANIMALS = ["cat", "dog", "bird", "horse", "fox", "bear", "wolf", "lion"]
_VERBS = ["runs", "jumps", "sleeps", "eats", "sings"]


def write_pairs(path: pathlib.Path, rows: int = 400) -> list[dict[str, str]]:
  """Writes preference pairs as JSON lines, and returns them."""
  rng = random.Random(1)
  pairs = []
  for number in range(rows):
    first, second = rng.choice(_ANIMALS), rng.choice(_ANIMALS)
    verb = rng.choice(_VERBS)
    pairs.append(
      {
        "prompt": f"[HUMAN] What does the {first} number {number % 97} do near"
        f" the {second}? [ASSISTANT]",
        "chosen": f"The {first} {verb} near the {second}.",
        "rejected": f"I do not know {rng.choice(_ANIMALS)} A or B.",
      }
    )
  path.write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
  return pairs


def write_vocabulary(path: pathlib.Path, pairs: list[dict[str, str]]) -> None:
  """Trains a small unigram model with T5's special ids."""
  import sentencepiece

  texts = [text for pair in pairs for text in (*pair.values(), "A", "B")]
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter([*texts, "[RESPONSE A] [RESPONSE B]"]),
    model_prefix=str(path.with_suffix("")),
    vocab_size=120,
    hard_vocab_limit=False,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )


def write_t5(
  folder: pathlib.Path,
  model: pathlib.Path,
  oracle: check_transformers.Oracle | None,
) -> None:
  """Writes a T5 1.1 with random weights and a tokenizer.

  Args:
    folder: the folder to make.
    model: the SentencePiece model.
    oracle: transformers, which then writes the folder itself; it writes only
      `tokenizer.json`. Without it the folder has `spiece.model`.
  """
  if oracle is not None:
    oracle.ask(tiny=str(folder), spiece=str(model))
    return
  import jax

  from rlhf_gap.models import t5

  config = t5.T5Config(
    vocab_size=256,
    emb_dim=32,
    num_heads=4,
    head_dim=8,
    mlp_dim=64,
    num_encoder_layers=2,
    num_decoder_layers=2,
  )
  params = t5.init(config, jax.random.key(0))
  checkpoints.save(folder, checkpoints.Checkpoint(config, params), format="hf")
  (folder / "spiece.model").write_bytes(model.read_bytes())


def run(*words: str) -> None:
  """Runs `rlhf-gap`; exits if it fails."""
  if code := cli.main(list(words)):
    sys.exit(f"rlhf-gap {' '.join(words)} returned {code}")


def study(folder: pathlib.Path) -> pathlib.Path:
  """Runs the study and returns its report."""
  run(
    "study",
    f"--gin_file={_STUDIES}/own.gin",
    f"--gin_file={_STUDIES}/parts/tiny_own.gin",
    f"--gin.SOURCE={folder / 'pairs.jsonl'}",
    f"--gin.POLICY={folder / 'hf_t5'}",
    f"--workdir={folder / 'study'}",
  )
  report = folder / "study/report/index.html"
  if not report.is_file():
    sys.exit("the study ended without a report")
  return report


def greedy(
  folder: pathlib.Path, checkpoint: pathlib.Path, prompts: list[str]
) -> list[dict]:
  """Returns our greedy samples of a checkpoint."""
  lines, output = folder / "prompts.txt", folder / "greedy.jsonl"
  lines.write_text("".join(f"{prompt}\n" for prompt in prompts))
  run(
    "sample",
    str(checkpoint),
    f"--prompts={lines}",
    "--temperature=0",
    "--num_samples=1",
    f"--max_length={_MAX_LENGTH}",
    f"--output={output}",
  )
  rows = [json.loads(line) for line in output.read_text().splitlines()]
  return [row["samples"][0] for row in rows]


def compare(
  oracle: check_transformers.Oracle,
  folder: pathlib.Path,
  policy: pathlib.Path,
  judge: pathlib.Path,
) -> list[str]:
  """Compares transformers on the converted folders with us on the originals.

  Args:
    oracle: transformers.
    folder: holds the study, and gets what is written here.
    policy: the policy's Hugging Face folder.
    judge: the golden model's.

  Returns:
    What differs.
  """
  task = folder / "study/own"
  store = stores.open(str(task / "golden_labels"))
  names = ("prompt_tokens", "chosen_tokens", "rejected_tokens")
  values = store.read(range(8), (*names, "judge_r12", "judge_r21"))
  decode = stores.decoder(store.manifest.vocabulary)
  texts = [[decode(row.tolist()) for row in values[name]] for name in names]
  prompts, triples = texts[0], list(zip(*texts, strict=True))
  ours = greedy(folder, task / "online/seed_0/checkpoint_20", prompts)
  asked = {"texts": prompts, "max_length": _MAX_LENGTH}
  theirs = oracle.ask(whole=str(policy), preferences=[], **asked)
  judged = oracle.ask(whole=str(judge), preferences=triples, **asked)
  encode = stores.encoder(store.manifest.vocabulary)
  kept = [[i for i in ids if i] for ids in theirs["greedy_ids"]]
  r12, r21 = (values[n].astype(float) for n in ("judge_r12", "judge_r21"))
  gap = np.abs(np.array(judged["preferences"]) - (r12 + 1 - r21) / 2).max()
  checks = {
    "token ids": theirs["ids"] == [[*encode(text), 1] for text in prompts],
    "greedy ids": kept == [sample["tokens"] for sample in ours],
    "greedy text": theirs["greedy"] == [sample["text"] for sample in ours],
    "preferences": gap < 1e-4,
    "pipeline": theirs["pipeline"] in (None, theirs["greedy"]),
  }
  print(f"preferences differ by at most {gap:.1e}")
  if theirs["pipeline"] is None:
    print("this transformers has no pipeline for encoder-decoders; 4 has")
  print(f"greedy text, for example: {theirs['greedy'][:2]}")
  return [name for name, holds in checks.items() if not holds]


def main() -> int:
  """Runs the check; returns 1 if something differs."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--python", help="an environment with transformers")
  parser.add_argument("--keep", type=pathlib.Path, help="keep everything here")
  arguments = parser.parse_args()
  oracle = None
  if arguments.python:
    oracle = check_transformers.Oracle(arguments.python)
  with contextlib.ExitStack() as stack:
    folder = arguments.keep or pathlib.Path(
      stack.enter_context(tempfile.TemporaryDirectory())
    )
    folder.mkdir(parents=True, exist_ok=True)
    pairs = write_pairs(folder / "pairs.jsonl")
    write_vocabulary(folder / "own.model", pairs)
    write_t5(folder / "hf_t5", folder / "own.model", oracle)
    start = time.monotonic()
    report = study(folder)
    seconds = time.monotonic() - start
    policy, judge = folder / "hf_policy", folder / "hf_golden"
    task = folder / "study/own"
    for source, target in (
      (task / "online/seed_0/checkpoint_20", policy),
      (task / "golden/checkpoint_40", judge),
    ):
      run("convert", str(source), str(target), "--format=hf")
    print(f"{report}: {report.stat().st_size:,} bytes after {seconds:.0f} s")
    failed = [] if seconds < _LIMIT_SECONDS else ["time"]
    if oracle is None:
      print("not compared with transformers: give --python")
    else:
      failed += compare(oracle, folder, policy, judge)
      print(f"compared with transformers {oracle.version}")
  print(f"failed: {', '.join(failed)}" if failed else "all as expected")
  return min(len(failed), 1)


if __name__ == "__main__":
  sys.exit(main())
