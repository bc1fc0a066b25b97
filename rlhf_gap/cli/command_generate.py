r"""Generates a store of pairs, with one response from each of two checkpoints.

  rlhf-gap generate online/checkpoint_4000 online/checkpoint_800 \
    --prompts=STORE --judge=GOLDEN --reference=SFT --num_pairs=100000 \
    --output=pairs_4k_800

The response that the judge prefers becomes chosen. Log-probabilities under the
reference are stored, so that `gin_configs/runs/offline.gin` can train on the
store. Give the same checkpoint twice for two samples of one policy. Rerun the
same command to resume after an interruption.
"""

import argparse

from rlhf_gap.cli import flag_types, shared_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap generate`."""
  add = parser.add_argument
  add(
    "first",
    type=flag_types.storage,
    metavar="FIRST",
    help="checkpoint that samples one response of each pair",
  )
  add(
    "second",
    type=flag_types.storage,
    metavar="SECOND",
    help="checkpoint that samples the other",
  )
  shared_flags.add_storage(
    parser,
    (
      ("--prompts", "STORE", "the prompts"),
      ("--judge", "CKPT", "the preference model"),
      ("--reference", "CKPT", "the reference policy (SFT)"),
      ("--output", "DIR", "the new store"),
    ),
  )
  count, tokens = flag_types.count, flag_types.tokens
  add("--num_pairs", type=count, required=True, help="pairs to generate")
  add(
    "--max_length",
    type=tokens,
    default=128,
    help="response window in tokens (default: 128)",
  )
  add(
    "--judge_length",
    type=tokens,
    help="the judge's window in tokens (default: no truncation)",
  )
  shared_flags.add_keep(parser)
  add("--batch_size", type=count, default=32, help="pairs (default: 32)")
  add("--seed", type=flag_types.seed, default=0, help="(default: 0)")
  shared_flags.add_dtype(parser, "the activations", "float32")


def run(arguments: argparse.Namespace) -> None:
  """Generates the pairs and prints their number."""
  import dataclasses

  from rlhf_gap import pairs
  from rlhf_gap.evaluation import models

  model = models.load(arguments.reference)
  config = dataclasses.replace(
    model.config, dropout_rate=0.0, dtype=arguments.dtype
  )
  reference = pairs.Reference(config, model.params, model.checkpoint)
  spec = pairs.Generated(
    arguments.first,
    arguments.second,
    arguments.prompts,
    arguments.judge,
    pairs.Sampling(
      max_length=arguments.max_length,
      judge_length=arguments.judge_length,
      keep=arguments.keep,
    ),
  )
  context = pairs.Context(
    config, reference, arguments.batch_size, arguments.seed
  )
  store = pairs.generate(spec, context, arguments.output, arguments.num_pairs)
  print(f"{arguments.output}: {store.num_rows:,} pairs")
