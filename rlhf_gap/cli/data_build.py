"""Builds a pair store: tokenizes published files or a miniature.

Rows that are not a comparison are counted by reason and listed, with file and
line, in OUTPUT.skipped_rows.jsonl. Rerun the same command to resume after an
interruption; a finished store is left unchanged.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Iterator

from rlhf_gap import checks, errors, interrupts
from rlhf_gap.cli import applying, flag_types
from rlhf_gap.data import catalog

# What the extra [data] installs.
_EXTRA = ("seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap data TASK`."""
  parser.add_argument(
    "--source",
    type=flag_types.local,
    metavar="DIR",
    help="folder with the published files (default: download them, if that"
    " needs no login); not for miniatures",
  )
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="a SentencePiece model (local or gs://), or `bytes` for ByT5 (default:"
    " for miniatures, their own)",
  )
  parser.add_argument(
    "--output",
    type=flag_types.storage,
    metavar="DIR",
    help="the new store",
  )
  parser.add_argument(
    "--split", type=flag_types.name, default="train", help="(default: train)"
  )
  parser.add_argument("--json", action="store_true", help="print one object")
  parser.add_argument(
    "--allow_malformed",
    action="store_true",
    help="accept more than 1%% of malformed rows",
  )
  for name, what in (("inputs", "prompts"), ("targets", "responses")):
    parser.add_argument(
      f"--{name}_length",
      type=flag_types.whole(2, checks.LONGEST),
      metavar="N",
      help=f"window of {what} in tokens (default: 1024/128, miniatures 48/16)",
    )
  parser.add_argument(
    "--tfds_data_dir",
    metavar="DIR",
    type=flag_types.local,
    help="folder of prepared data sets (default: TFDS_DATA_DIR, or"
    " ~/tensorflow_datasets)",
  )
  parser.add_argument(
    "--seed", type=flag_types.seed, help="seed of a miniature (default: 0)"
  )
  parser.add_argument(
    "--rows",
    type=flag_types.count,
    metavar="N",
    help="number of comparisons to generate for a miniature",
  )


def run(arguments: argparse.Namespace) -> None:
  """Builds the store and prints a summary of its rows."""
  entries = catalog.entries(arguments.task)
  own_vocabulary = catalog.is_procedural(entries[0])
  if arguments.vocabulary is None and not own_vocabulary:
    raise errors.UserError(
      "--vocabulary=FILE is missing; expected a SentencePiece model or `bytes`"
    )
  if arguments.output is None:
    raise errors.UserError("--output=DIR is missing; expected a new folder")
  published = ("source", "tfds_data_dir", "allow_malformed")
  only_if = applying.only_if
  only_if(own_vocabulary, arguments, "for a miniature", "seed", "rows")
  only_if(not own_vocabulary, arguments, "for published data", *published)
  from rlhf_gap.data import native_logs, vocabularies

  if arguments.vocabulary is None:
    vocabulary = vocabularies.miniature()
  else:
    vocabulary = vocabularies.named(arguments.vocabulary)
  windows = _windows(arguments)
  logging.getLogger("absl").setLevel(logging.ERROR)
  # A Ctrl-C is lost while compiled code imports Python modules.
  with interrupts.deferred(), _explaining_what_to_install():
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
      tfds_data_dir=arguments.tfds_data_dir or _tfds_data_dir(),
      allow_malformed=arguments.allow_malformed,
      seed=arguments.seed or 0,
      num_rows=arguments.rows,
    )
  )
  if arguments.json:
    print(json.dumps(dataclasses.asdict(report), indent=2))
  else:
    print(reports.table(report))


@contextlib.contextmanager
def _explaining_what_to_install() -> Iterator[None]:
  try:
    yield
  except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in _EXTRA:
      raise
    raise errors.UserError(
      f"published datasets and miniatures need {error.name}, which is not"
      ' installed: pip install -e ".[data]"; `rlhf-gap data own` reads your own'
      " files without it"
    ) from error


def _tfds_data_dir() -> str:
  folder = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  folder = os.path.expanduser(folder)
  if folder.startswith("~"):  # a user without a home folder
    name = f"tensorflow_datasets_{os.getuid()}"
    folder = os.path.join(tempfile.gettempdir(), name)
  return folder


def _windows(arguments: argparse.Namespace) -> dict[str, int]:
  windows = catalog.windows(arguments.task)
  for name in windows:
    given = getattr(arguments, f"{name}_length")
    windows[name] = windows[name] if given is None else given
  return windows
