"""Builds a pair store: published files or a miniature to token ids.

Rows that give no comparison are counted by reason and listed, with file and
line, in OUTPUT.skipped_rows.jsonl. The same command again finishes what was
interrupted, and leaves a finished store as it is.
"""

import argparse
import dataclasses
import json
import logging
import os

from rlhf_gap import checks, errors, interrupts
from rlhf_gap.data import catalog


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap data TASK`."""
  parser.add_argument(
    "--source",
    metavar="DIR",
    help="folder of published files; without it they are downloaded where"
    " nobody has to sign in; miniatures have none",
  )
  parser.add_argument(
    "--vocabulary",
    metavar="FILE",
    help="a SentencePiece model (local or gs://), or `bytes` for ByT5; a"
    " miniature has its own",
  )
  parser.add_argument("--output", metavar="DIR", help="where the store goes")
  parser.add_argument("--split", default="train", help="default: train")
  parser.add_argument("--json", action="store_true", help="print one object")
  parser.add_argument(
    "--allow_malformed",
    action="store_true",
    help="go on when more than 1%% of the rows are malformed",
  )
  for name, what in (("inputs", "prompts"), ("targets", "responses")):
    parser.add_argument(
      f"--{name}_length",
      type=int,
      metavar="N",
      help=f"window of {what} in tokens (default: 1024/128, miniatures 48/16)",
    )
  parser.add_argument(
    "--tfds_data_dir",
    metavar="DIR",
    default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"),
    help="where prepared data sets are kept (default: %(default)s)",
  )
  parser.add_argument(
    "--seed", type=int, default=0, help="of a miniature (default: 0)"
  )
  parser.add_argument(
    "--rows", type=int, metavar="N", help="comparisons of a miniature to draw"
  )


def run(arguments: argparse.Namespace) -> None:
  """Builds the store that is asked for and prints what became of the rows."""
  entries = catalog.entries(arguments.task)
  own_vocabulary = catalog.is_procedural(entries[0])
  if arguments.vocabulary is None and not own_vocabulary:
    raise errors.UserError(
      "--vocabulary=FILE is missing: a SentencePiece model, or `bytes`"
    )
  if arguments.output is None:
    raise errors.UserError("--output=DIR is missing: where the store goes")
  checks.counts(**{"--rows": arguments.rows})
  from rlhf_gap.data import native_logs, vocabularies

  if arguments.vocabulary is None:
    vocabulary = vocabularies.miniature()
  else:
    vocabulary = vocabularies.named(arguments.vocabulary)
  windows = _windows(arguments)
  logging.getLogger("absl").setLevel(logging.ERROR)
  # A Ctrl-C while compiled code imports Python modules would be lost.
  with interrupts.deferred():
    native_logs.start_tensorflow()
    from rlhf_gap.data import pipeline, reports

  report = pipeline.build(
    pipeline.Request(
      task=arguments.task,
      vocabulary=vocabulary,
      output=arguments.output,
      split=arguments.split,
      windows=windows,
      folder=arguments.source,
      tfds_data_dir=os.path.expanduser(arguments.tfds_data_dir),
      allow_malformed=arguments.allow_malformed,
      seed=arguments.seed,
      num_rows=arguments.rows,
    )
  )
  if arguments.json:
    print(json.dumps(dataclasses.asdict(report), indent=2))
  else:
    print(reports.table(report))


def _windows(arguments: argparse.Namespace) -> dict[str, int]:
  windows = catalog.windows(arguments.task)
  for name in windows:
    given = getattr(arguments, f"{name}_length")
    if given is not None and given < 2:
      raise errors.UserError(
        f"--{name}_length={given}; expected 2 or more, EOS is one of them"
      )
    windows[name] = windows[name] if given is None else given
  return windows
