r"""Holds finished policies against an online run's own pairs, over its time.

  rlhf-gap classify online/checkpoint_4000 offline/checkpoint_4000 \
    --arms=online,offline --pairs=online/pairs --golden=CKPT --reference=SFT \
    --output=online_data

At evenly spaced moments of the run some of the pairs that it had just drawn are
labelled by the golden model; the records say how often the proxy, which had
labelled them in the run, and each policy agree.
"""

import argparse
import os

from rlhf_gap.cli import flag_types


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap classify`."""
  add = parser.add_argument
  add(
    "checkpoints",
    nargs="+",
    type=flag_types.storage,
    metavar="CHECKPOINT",
    help="policies",
  )
  add(
    "--arms",
    required=True,
    type=flag_types.name,
    help="what each is, such as online,offline",
  )
  for flag, metavar, text in (
    ("--pairs", "STORE", "an online run's pairs"),
    ("--golden", "CKPT", "preference model"),
    ("--reference", "CKPT", "the SFT policy"),
  ):
    add(
      flag, required=True, type=flag_types.storage, metavar=metavar, help=text
    )
  add(
    "--output",
    required=True,
    type=flag_types.local,
    metavar="DIR",
    help="of records.jsonl",
  )
  count = flag_types.count
  add("--windows", type=count, default=10, help="moments (default: 10)")
  add("--num_pairs", type=count, default=64, help="at each (default: 64)")
  add(
    "--judge_length",
    type=flag_types.tokens,
    help="tokens (default: the prompts' window)",
  )
  add("--keep", choices=("end", "start"), default="end", help="of a prompt")
  add("--batch_size", type=count, default=64, help="rows (default: 64)")
  add("--dtype", choices=("float32", "bfloat16"), help="of the golden model")


def run(arguments: argparse.Namespace) -> None:
  """Classifies and prints a line a model."""
  import numpy as np

  from rlhf_gap import errors, records, stores
  from rlhf_gap.evaluation import models, online_data, win_rate

  arms = arguments.arms.split(",")
  if len(arms) != len(arguments.checkpoints):
    raise errors.UserError(
      f"--arms={arguments.arms}: {len(arms)} names for"
      f" {len(arguments.checkpoints)} checkpoints; expected one each"
    )
  store = stores.open(arguments.pairs)
  manifest = store.manifest
  lengths = manifest.feature_lengths
  golden = win_rate.load_judge(
    models.load(arguments.golden, arguments.dtype),
    manifest.vocabulary,
    length=arguments.judge_length or lengths["prompt"],
    keep=arguments.keep,
    max_length=lengths["response"],
  )
  classifier = online_data.Classifier(
    store,
    golden,
    models.load(arguments.reference),
    arguments.windows,
    arguments.num_pairs,
    arguments.batch_size,
  )
  policies = list(zip(arguments.checkpoints, arms, strict=True))
  found = list(classifier.measure(policies))
  os.makedirs(arguments.output, exist_ok=True)
  records.write(os.path.join(arguments.output, "records.jsonl"), found)
  for record in found:
    values = [measured.value for measured in record.metrics.values()]
    print(
      f"{record.run.name}: right on {np.mean(values):.1%} of"
      f" {sum(m.n for m in record.metrics.values()):,} pairs"
    )
