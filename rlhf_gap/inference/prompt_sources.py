"""Prompts to sample from: a store's rows, or lines of text."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from rlhf_gap import errors, files, stores
from rlhf_gap.token_ids import EOS_ID


@dataclasses.dataclass(frozen=True)
class Prompts:
  """Prompts of one length, in order.

  Attributes:
    tokens: int32 [prompts, length], padded with 0.
    ids: a number for each that sets its random bits: the row in its store, or
      the line in its text, from 0.
    vocabulary: what the ids belong to.
  """

  tokens: np.ndarray
  ids: np.ndarray
  vocabulary: stores.Vocabulary

  def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yields (tokens, ids, how many are real); the last batch is filled up.

    Every batch has `size` rows, so that one compiled program serves all.
    """
    for start in range(0, len(self.ids), size):
      tokens = self.tokens[start : start + size]
      ids = self.ids[start : start + size]
      real = len(ids)
      fill = [(0, size - real)]
      # Repeated prompts, not empty ones: nothing attends to no token at all.
      yield (
        np.pad(tokens, [*fill, (0, 0)], mode="edge"),
        np.pad(ids, fill, mode="edge"),
        real,
      )


def from_store(path: str, num_prompts: int | None = None) -> Prompts:
  """Reads the first prompts of a store.

  Args:
    path: a store with prompts: of pairs, of responses, or of prompts alone.
    num_prompts: number of prompts; None for all.

  Returns:
    The prompts, in the store's window.

  Raises:
    UserError: there is no store, or it has fewer prompts.
  """
  store = stores.open(path)
  count = store.num_rows if num_prompts is None else num_prompts
  rows = range(count)
  tokens = store.read(rows, ["prompt_tokens"])["prompt_tokens"]
  return Prompts(tokens, np.arange(count), store.manifest.vocabulary)


def from_lines(
  lines: Iterable[bytes],
  name: str,
  vocabulary: stores.Vocabulary,
  length: int,
) -> Prompts:
  """Encodes one prompt per line.

  Args:
    lines: UTF-8 text, with or without a byte-order mark; the newline (LF or
      CRLF) at the end of each is dropped.
    name: where the lines come from, for messages.
    vocabulary: the vocabulary to encode with.
    length: the window in tokens, EOS included.

  Returns:
    The prompts.

  Raises:
    UserError: a line is empty, is not UTF-8, holds a NUL or a lone carriage
      return or is longer than the window, or there is none.
  """
  encode = stores.encoder(vocabulary)
  rows = [
    _encode(line, f"{name}:{number}", encode, length)
    for number, line in enumerate(files.without_bom(lines, name), 1)
  ]
  if not rows:
    raise errors.UserError(f"{name}: holds no prompts; expected one per line")
  tokens = np.zeros((len(rows), length), np.int32)
  for row, ids in enumerate(rows):
    tokens[row, : len(ids)] = ids
  return Prompts(tokens, np.arange(len(rows)), vocabulary)


def _encode(
  line: bytes, place: str, encode: Callable[[str], Sequence[int]], length: int
) -> list[int]:
  try:
    text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f"{place}: not UTF-8 (byte {error.start + 1} of the line); convert the"
      " file with iconv"
    ) from error
  for character, name in (("\0", "NUL"), ("\r", "carriage return")):
    if character in text:
      raise errors.UserError(
        f"{place}: holds a {name}; expected one prompt per line, each ended by"
        " LF or CRLF"
      )
  ids = [*encode(text), EOS_ID]
  if len(ids) == 1:
    raise errors.UserError(f"{place}: an empty prompt; expected text")
  if len(ids) > length:
    raise errors.UserError(
      f"{place}: {len(ids)} tokens with EOS, but the window has {length}; give"
      " a larger --input_length or a shorter prompt"
    )
  return ids


def check_ids(prompts: Prompts, vocab_size: int, path: str) -> None:
  """Raises a `UserError` unless the model has a row for every token.

  Args:
    prompts: the prompts to sample from.
    vocab_size: rows of the model's embedding.
    path: path of the model, for the message.

  Raises:
    UserError: an id is outside the embedding.
  """
  largest = int(prompts.tokens.max())
  if largest >= vocab_size:
    raise errors.UserError(
      f"{path}: its embedding has {vocab_size:,} rows, but a prompt has token"
      f" {largest:,}; the prompts were tokenized with a different vocabulary"
    )
