"""Samples responses to prompts and writes them as JSON lines.

Prompts come from a store, or are the lines of a text file or of standard input
(-). Each output line holds a prompt and its samples: text, token ids, and
log-probabilities in nats at temperature 1 without truncation.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from rlhf_gap import checks, files
from rlhf_gap.cli import applying, flag_types, shared_flags

if TYPE_CHECKING:
  from rlhf_gap import stores
  from rlhf_gap.inference import prompt_sources


_INPUT_LENGTH = 1024  # default window of text prompts, in tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap sample`."""
  add = parser.add_argument
  path, storage = flag_types.path, flag_types.storage
  add(
    "checkpoint",
    type=storage,
    metavar="CHECKPOINT",
    help="the policy, in any supported format",
  )
  add(
    "--prompts",
    required=True,
    type=storage,
    metavar="SOURCE",
    help="a store, a text file or -",
  )
  add(
    "--vocabulary",
    type=path,
    metavar="FILE",
    help="a SentencePiece model, a Hugging Face folder or `bytes` (default: the"
    " store's, or for text prompts the checkpoint's own)",
  )
  add(
    "--output",
    type=flag_types.local,
    metavar="FILE",
    help="file to write (default: standard output)",
  )
  _add_numbers(add)
  shared_flags.add_dtype(parser, "the parameters")


def _add_numbers(add: Callable[..., Any]) -> None:
  count, tokens = flag_types.count, flag_types.tokens
  add(
    "--num_samples",
    type=count,
    default=2,
    help="samples per prompt (default: 2)",
  )
  add(
    "--num_prompts",
    type=count,
    help="use only the first prompts of a store (default: all)",
  )
  add(
    "--max_length",
    type=tokens,
    default=128,
    help="most tokens of a response (default: 128)",
  )
  add(
    "--min_length",
    type=flag_types.whole(0, checks.LONGEST),
    default=0,
    help="fewest tokens before EOS (default: 0)",
  )
  add(
    "--temperature",
    type=flag_types.real(0),
    default=1.0,
    help="0 is greedy (default: 1)",
  )
  add(
    "--top_k",
    type=flag_types.whole(0),
    default=0,
    help="sample from the k most likely tokens (default: 0, from all)",
  )
  add(
    "--top_p",
    type=flag_types.real(0, 1, above=True),
    default=1.0,
    help="sample from the most likely tokens of total probability p (default:"
    " 1, from all)",
  )
  add(
    "--input_length",
    type=tokens,
    help=f"window of text prompts (default: {_INPUT_LENGTH})",
  )
  add("--batch_size", type=count, default=32, help="prompts (default: 32)")
  add("--seed", type=flag_types.seed, default=0, help="(default: 0)")


def _is_text(source: str) -> bool:
  # FIFOs and devices count as text, whose reader refuses them by name.
  return source == "-" or (os.path.exists(source) and not os.path.isdir(source))


def _check_applicable(arguments: argparse.Namespace) -> None:
  """Refuses flags without effect on these prompts or on greedy sampling."""
  is_text = _is_text(arguments.prompts)
  applying.only_if(not is_text, arguments, "for a store", "num_prompts")
  applying.only_if(is_text, arguments, "for text prompts", "input_length")
  sampled = arguments.temperature > 0
  applying.only_if(
    sampled, arguments, "with --temperature above 0", "top_k", top_p=1.0
  )


def run(arguments: argparse.Namespace) -> None:
  """Samples the responses and writes one line per prompt."""
  from rlhf_gap import checkpoints, stores
  from rlhf_gap.inference import next_token, prompt_sources, sample_prompts

  _check_applicable(arguments)
  transform = ("temperature", "top_k", "top_p", "min_length")
  settings = {name: getattr(arguments, name) for name in transform}
  next_token.Transform(**settings)
  prompts = _prompts(arguments)
  path = arguments.checkpoint
  config = checkpoints.open(path).config
  prompt_sources.check_ids(prompts, config.vocab_size, path)
  if arguments.vocabulary is not None or _is_text(arguments.prompts):
    size = stores.size(prompts.vocabulary)
    checkpoints.check_vocabulary(config, size, path)
  policy = checkpoints.load(path, dtype=arguments.dtype, optimizer_state=False)
  with _output(arguments.output) as file:
    for record in sample_prompts.records(
      policy.config,
      policy.params,
      prompts,
      seed=arguments.seed,
      batch_size=min(arguments.batch_size, len(prompts.ids)),
      settings=settings
      | {
        "num_samples": arguments.num_samples,
        "max_length": arguments.max_length,
      },
    ):
      print(json.dumps(record, ensure_ascii=False), file=file, flush=True)


def _prompts(arguments: argparse.Namespace) -> "prompt_sources.Prompts":
  from rlhf_gap import stores
  from rlhf_gap.inference import prompt_sources

  source = arguments.prompts
  if not _is_text(source):
    prompts = prompt_sources.from_store(source, arguments.num_prompts)
    stores.check_own_vocabulary(
      arguments.checkpoint, prompts.vocabulary, source
    )
    if arguments.vocabulary is None:
      return prompts
    stored = prompts.vocabulary
    moved = stores.named(arguments.vocabulary, stored.extra_ids)
    stores.check_vocabulary(stored, moved, source)
    return dataclasses.replace(prompts, vocabulary=moved)
  vocabulary = _vocabulary(arguments)
  if source == "-":
    lines, name = sys.stdin.buffer, "standard input"
  else:
    lines, name = io.BytesIO(files.read_bytes(source)), source
  return prompt_sources.from_lines(
    lines, name, vocabulary, arguments.input_length or _INPUT_LENGTH
  )


def _vocabulary(arguments: argparse.Namespace) -> "stores.Vocabulary":
  """Returns the vocabulary of text prompts."""
  from rlhf_gap import errors
  from rlhf_gap.evaluation import publishing

  path = arguments.checkpoint
  found = publishing.vocabulary(
    path, arguments.vocabulary, publishing.origin(path)
  )
  if found is None:
    raise errors.UserError(
      "--vocabulary=FILE is missing: text prompts need a SentencePiece model, a"
      " Hugging Face folder or `bytes`"
    )
  return found


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[IO[str]]:
  """Yields standard output, or a file that replaces `path` on success."""
  if path is None:
    yield sys.stdout
    return
  with (
    files.atomic_writer(path) as file,
    io.TextIOWrapper(file, encoding="utf-8") as text,
  ):
    yield text
