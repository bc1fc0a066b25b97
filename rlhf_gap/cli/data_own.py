"""Builds a pair store from your own preference data.

The form is detected from the columns: prompt, chosen and rejected; chosen and
rejected that share their prompt; prompt and completion; several responses with
scores; and others. `--look` reports what was found and writes nothing. Unusable
rows are counted by reason and listed, with file and line, in
OUTPUT.skipped_rows.jsonl. Rerun the same command to resume after a crash.
"""

import argparse
import dataclasses
import json

from rlhf_gap import checks, errors
from rlhf_gap.cli import flag_types

_KINDS = ("pairs", "sft", "preference", "prompts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap data own`."""
  parser.add_argument(
    "--source",
    type=flag_types.name,
    metavar="FILES",
    help="files, folders or globs, joined by commas: .jsonl, .json, .csv, .tsv"
    " (also .gz, .zst), .parquet, .arrow; or hub:owner/name",
  )
  parser.add_argument(
    "--look",
    action="store_true",
    help="report what was found in the files, show two rows, write nothing",
  )
  parser.add_argument(
    "--json", action="store_true", help="print the report as one JSON object"
  )
  _add_store_arguments(parser)
  _add_form_arguments(parser)
  _add_split_arguments(parser)


def _add_store_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--output",
    type=flag_types.storage,
    metavar="DIR",
    help="the store to write; without it, same as --look",
  )
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="a SentencePiece model (local or gs://), or `bytes` for ByT5",
  )
  parser.add_argument(
    "--kind",
    choices=_KINDS,
    help="what the rows become (default: pairs, or what the form allows)",
  )
  parser.add_argument(
    "--responses",
    choices=("all", "chosen"),
    default="all",
    help="which responses --kind=sft takes (default: all)",
  )
  for name, what, window in (
    ("inputs", "prompts", 1024),
    ("targets", "responses", 128),
  ):
    parser.add_argument(
      f"--{name}_length",
      type=flag_types.whole(2, checks.LONGEST),
      default=window,
      metavar="N",
      help=f"window of {what} in tokens (default: {window})",
    )
  parser.add_argument(
    "--keep",
    choices=("start", "end"),
    default="end",
    help="which end of a long prompt is kept (default: end)",
  )
  parser.add_argument(
    "--name",
    type=flag_types.name,
    default="own",
    help="name of the data in the store's manifest (default: own)",
  )


def _add_form_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--columns",
    type=flag_types.name,
    metavar="USE=COLUMN,...",
    help="what columns are for, such as prompt=question,chosen=good",
  )
  parser.add_argument(
    "--form",
    metavar="FORM",
    help="the form (default: detected from the columns): pairs, soft, sides,"
    " scored, ranked, unpaired, completion, implicit, conversation or prompts",
  )
  parser.add_argument(
    "--template",
    type=flag_types.name,
    default="markers",
    metavar="NAME",
    help="how messages become text: `markers` ([SYSTEM], [HUMAN],"
    " [ASSISTANT]), `plain`, or FILE.json (default: markers)",
  )
  parser.add_argument(
    "--prompt_ends_with",
    metavar="TEXT",
    help="text that ends the prompt shared by chosen and rejected",
  )
  parser.add_argument(
    "--score_pairs",
    choices=("all", "best_worst"),
    default="all",
    help="which pairs to make from several scored responses (default: all)",
  )
  parser.add_argument(
    "--pair_unpaired",
    action="store_true",
    help="pair the n-th good with the n-th bad completion of a prompt",
  )
  parser.add_argument(
    "--allow_malformed",
    action="store_true",
    help="continue even if more than 1%% of the rows are malformed",
  )


def _add_split_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--split",
    type=flag_types.name,
    help="the split to read (default: train, or all rows without splits)",
  )
  parser.add_argument(
    "--split_by",
    type=flag_types.name,
    metavar="RULE",
    help="file, column:NAME, hash:SHARE (that share of the prompts is split"
    " `test`) or none (default: file if every file's name contains a split)",
  )


def run(arguments: argparse.Namespace) -> None:
  """Builds the store, or reports what the files hold."""
  from rlhf_gap.data.own import build, columns, forms, look
  from rlhf_gap.data.own import request as requests

  if arguments.source is None:
    raise errors.UserError(
      "--source=FILES is missing: the files that hold your rows"
    )
  if arguments.form is not None:
    checks.one_of(forms.NAMES, **{"--form": arguments.form})
  request = requests.Request(
    source=arguments.source,
    names=columns.parse(arguments.columns)
    if arguments.columns
    else columns.Columns(),
    form=arguments.form,
    kind=arguments.kind,
    template=arguments.template,
    prompt_ends_with=arguments.prompt_ends_with,
    split=arguments.split,
    split_by=arguments.split_by,
    pairing=arguments.score_pairs,
    responses=arguments.responses,
    pair_unpaired=arguments.pair_unpaired,
    allow_malformed=arguments.allow_malformed,
  )
  if arguments.look or arguments.output is None:
    seen = look.look(request)
    print(_json(seen) if arguments.json else look.text(seen))
    return
  from rlhf_gap.data import reports

  report = build.build(request, _store(arguments))
  print(_json(report) if arguments.json else reports.table(report))


def _store(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
  from rlhf_gap import stores
  from rlhf_gap.data.own import request as requests

  if arguments.vocabulary is None:
    raise errors.UserError(
      "--vocabulary=FILE is missing: a SentencePiece model, or `bytes`"
    )
  return requests.Store(
    output=arguments.output,
    vocabulary=stores.named(arguments.vocabulary),
    windows={
      "inputs": arguments.inputs_length,
      "targets": arguments.targets_length,
    },
    keep=arguments.keep,
    name=arguments.name,
  )


def _json(value: object) -> str:
  return json.dumps(dataclasses.asdict(value), indent=2)  # type: ignore
