r"""Classifies an online run's own pairs with trained policies.

  rlhf-gap classify online/checkpoint_4000 offline/checkpoint_4000 \
    --arms=online,offline --pairs=online/pairs --golden=CKPT --reference=SFT \
    --output=online_data

At evenly spaced steps of the run, the golden model labels some of the pairs
sampled just before. The records say how often each policy agrees with it, and
how often the run's own proxy did.
"""

import argparse
import os

from rlhf_gap.cli import flag_types, shared_flags


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
    help="the arm of each policy, such as online,offline",
  )
  shared_flags.add_storage(
    parser,
    (
      ("--pairs", "STORE", "the pairs of an online run"),
      ("--golden", "CKPT", "the golden preference model"),
      ("--reference", "CKPT", "the reference policy (SFT)"),
    ),
  )
  add(
    "--output",
    required=True,
    type=flag_types.local,
    metavar="DIR",
    help="folder for records.jsonl",
  )
  count = flag_types.count
  add("--windows", type=count, default=10, help="number of steps (default: 10)")
  add(
    "--num_pairs", type=count, default=64, help="pairs per step (default: 64)"
  )
  add(
    "--judge_length",
    type=flag_types.tokens,
    help="the golden model's window in tokens (default: the prompts' window)",
  )
  shared_flags.add_keep(parser)
  add("--batch_size", type=count, default=64, help="rows (default: 64)")
  shared_flags.add_dtype(parser, "the golden model's parameters")


def run(arguments: argparse.Namespace) -> None:
  """Classifies the pairs and prints one line per policy."""
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
  measured = list(classifier.measure(policies))
  os.makedirs(arguments.output, exist_ok=True)
  records.write(os.path.join(arguments.output, "records.jsonl"), measured)
  for record in measured:
    values = [metric.value for metric in record.metrics.values()]
    print(
      f"{record.run.name}: right on {np.mean(values):.1%} of"
      f" {sum(m.n for m in record.metrics.values()):,} pairs"
    )
