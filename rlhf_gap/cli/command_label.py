"""Labels a store of pairs with a preference model, into a new store.

The judge reads every pair in both orders; its winner becomes chosen, both of
its probabilities are kept, and an exact tie gets weight 0. The same command
again goes on where it was interrupted.
"""

import argparse
import dataclasses
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap label`."""
  add = parser.add_argument
  add("checkpoint", metavar="CHECKPOINT", help="the preference model")
  add("--pairs", required=True, metavar="STORE", help="what to label")
  add("--output", required=True, metavar="DIR", help="the new store")
  add(
    "--input_length",
    type=int,
    metavar="N",
    help="the judge's window in tokens (default: the store's prompt window)",
  )
  add(
    "--keep",
    choices=("end", "start"),
    default="end",
    help="of a prompt too long: end for dialogues (default), start for posts",
  )
  add("--dtype", choices=("float32", "bfloat16"), help="of the parameters")
  add("--json", action="store_true", help="print one object")


def run(arguments: argparse.Namespace) -> None:
  """Labels the store and prints what became of its rows."""
  from rlhf_gap import checkpoints, stores
  from rlhf_gap.inference import label

  source = stores.open(arguments.pairs)
  path = arguments.checkpoint
  loaded = checkpoints.load(path, dtype=arguments.dtype, optimizer_state=False)
  fingerprint = checkpoints.fingerprint(path)
  report = label.label_store(
    loaded.config,
    loaded.params,
    stores.Checkpoint(path, fingerprint, loaded.step),
    source,
    arguments.output,
    input_length=arguments.input_length
    or source.manifest.feature_lengths["prompt"],
    keep=arguments.keep,
  )
  if arguments.json:
    print(json.dumps(dataclasses.asdict(report)))
    return
  print(
    f"{arguments.output}: {report.rows:,} pairs, {report.kept_order:.1%} in"
    f" the order they had, {report.ties:,} ties, position bias"
    f" {report.mean_position_bias:+.3f}"
  )
