"""Samples responses of a checkpoint to prompts; writes JSON lines.

Prompts are a store's, or a line each of a text file or of standard input (-).
Each line out holds the prompt and its samples: text, token ids, and the
policy's own log-probabilities in nats, whatever they were drawn with.
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

from rlhf_gap import checks
from rlhf_gap.cli import applying, flag_types

if TYPE_CHECKING:
  from rlhf_gap.inference import prompt_sources


# Tokens of a text prompt that are read, by default.
_INPUT_LENGTH = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap sample`."""
  add = parser.add_argument
  path, storage = flag_types.path, flag_types.storage
  add(
    "checkpoint",
    type=storage,
    metavar="CHECKPOINT",
    help="of any known format",
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
    help="a SentencePiece model or `bytes`: for text prompts, or if a"
    " store's vocabulary moved",
  )
  add(
    "--output",
    type=flag_types.local,
    metavar="FILE",
    help="default: standard output",
  )
  _add_numbers(add)


def _add_numbers(add: Callable[..., Any]) -> None:
  count, tokens = flag_types.count, flag_types.tokens
  add("--num_samples", type=count, default=2, help="a prompt (default: 2)")
  add("--num_prompts", type=count, help="only the first so many of a store")
  add("--max_length", type=tokens, default=128, help="tokens (default: 128)")
  add(
    "--min_length",
    type=flag_types.whole(0, checks.LONGEST),
    default=0,
    help="tokens before EOS",
  )
  add("--temperature", type=flag_types.real(0), default=1.0, help="0 is greedy")
  add("--top_k", type=flag_types.whole(0), default=0, help="0 keeps all")
  add(
    "--top_p",
    type=flag_types.real(0, 1, above=True),
    default=1.0,
    help="1 keeps all",
  )
  add(
    "--input_length",
    type=tokens,
    help=f"window of text prompts (default: {_INPUT_LENGTH})",
  )
  add("--batch_size", type=count, default=32, help="prompts (default: 32)")
  add("--seed", type=flag_types.seed, default=0)
  add("--dtype", choices=("float32", "bfloat16"), help="of the parameters")


def _is_text(source: str) -> bool:
  # A FIFO or device counts as text, so that reading it refuses it by name.
  return source == "-" or (os.path.exists(source) and not os.path.isdir(source))


def _check_applicable(arguments: argparse.Namespace) -> None:
  """Refuses flags that the kind of prompts, or greedy sampling, ignores."""
  is_text = _is_text(arguments.prompts)
  applying.only_if(not is_text, arguments, "for a store", "num_prompts")
  applying.only_if(is_text, arguments, "for text prompts", "input_length")
  sampled = arguments.temperature > 0
  applying.only_if(
    sampled, arguments, "with --temperature above 0", "top_k", top_p=1.0
  )


def run(arguments: argparse.Namespace) -> None:
  """Samples and writes a line a prompt."""
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
  if arguments.vocabulary is not None:
    size = stores.size(prompts.vocabulary)
    checkpoints.check_vocabulary(config, size, path)
  loaded = checkpoints.load(path, dtype=arguments.dtype, optimizer_state=False)
  with _output(arguments.output) as file:
    for record in sample_prompts.records(
      loaded.config,
      loaded.params,
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
  from rlhf_gap import errors, files, stores
  from rlhf_gap.inference import prompt_sources

  source = arguments.prompts
  if not _is_text(source):
    prompts = prompt_sources.from_store(source, arguments.num_prompts)
    if arguments.vocabulary is None:
      return prompts
    stored = prompts.vocabulary
    moved = stores.named(arguments.vocabulary, stored.extra_ids)
    stores.check_vocabulary(stored, moved, source)
    return dataclasses.replace(prompts, vocabulary=moved)
  if arguments.vocabulary is None:
    raise errors.UserError(
      "--vocabulary=FILE is missing: text prompts need a SentencePiece model"
      " or `bytes`"
    )
  vocabulary = stores.named(arguments.vocabulary)
  if source == "-":
    lines, name = sys.stdin.buffer, "standard input"
  else:
    lines, name = io.BytesIO(files.read_bytes(source)), source
  return prompt_sources.from_lines(
    lines, name, vocabulary, arguments.input_length or _INPUT_LENGTH
  )


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[IO[str]]:
  """Standard output, or a file that appears when it is whole."""
  if path is None:
    yield sys.stdout
    return
  partial = f"{path}.partial"
  try:
    with open(partial, "w", encoding="utf-8") as file:
      yield file
    os.replace(partial, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.remove(partial)
    raise
