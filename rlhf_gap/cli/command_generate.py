r"""Draws a store of pairs, a response from each of two checkpoints.

  rlhf-gap generate online/checkpoint_4000 online/checkpoint_800 \
    --prompts=STORE --judge=GOLDEN --reference=SFT --num_pairs=100000 \
    --output=pairs_4k_800

The judge's winner becomes chosen; the reference's log-probabilities are stored,
so that `gin_configs/runs/offline.gin` trains on it as on any other store. The
same command again goes on where it was interrupted. Give one checkpoint twice
for two samples of one policy.
"""

import argparse

from rlhf_gap.cli import flag_types


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap generate`."""
  add = parser.add_argument
  add(
    "first",
    type=flag_types.storage,
    metavar="FIRST",
    help="samples one response of each pair",
  )
  add(
    "second",
    type=flag_types.storage,
    metavar="SECOND",
    help="samples the other",
  )
  for flag, metavar, text in (
    ("--prompts", "STORE", None),
    ("--judge", "CKPT", "preference model"),
    ("--reference", "CKPT", "the SFT policy"),
    ("--output", "DIR", "the new store"),
  ):
    add(
      flag, required=True, type=flag_types.storage, metavar=metavar, help=text
    )
  count, tokens = flag_types.count, flag_types.tokens
  add("--num_pairs", type=count, required=True)
  add("--max_length", type=tokens, default=128, help="tokens (default: 128)")
  add("--judge_length", type=tokens, help="tokens (default: all fits)")
  add("--keep", choices=("end", "start"), default="end", help="of a prompt")
  add("--batch_size", type=count, default=32, help="pairs (default: 32)")
  add("--seed", type=flag_types.seed, default=0)
  add("--dtype", choices=("float32", "bfloat16"), default="float32")


def run(arguments: argparse.Namespace) -> None:
  """Draws the pairs and prints how many there are."""
  import dataclasses

  from rlhf_gap import checkpoints, pairs, stores

  path = arguments.reference
  loaded = checkpoints.load(path, optimizer_state=False)
  config = dataclasses.replace(
    loaded.config, dropout_rate=0.0, dtype=arguments.dtype
  )
  identity = stores.CheckpointIdentity(
    path, checkpoints.fingerprint(path), loaded.step
  )
  reference = pairs.Reference(config, loaded.params, identity)
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
