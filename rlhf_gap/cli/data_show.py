"""`rlhf-gap data show`: prints rows of a store as text."""

import argparse
import math
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlhf_gap import errors, stores
from rlhf_gap.cli import flag_types, shared_flags
from rlhf_gap.stores import locations
from rlhf_gap.token_ids import PAD_ID

_SEPARATOR = " | "


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap data show`."""
  parser.add_argument(
    "directory", type=flag_types.storage, metavar="DIR", help="the store"
  )
  parser.add_argument(
    "--rows",
    default="0:3",
    help="row numbers and ranges, such as 3,10:14, without the end 14 (default:"
    " 0:3)",
  )
  shared_flags.add_moved_vocabulary(parser)


def run(arguments: argparse.Namespace) -> None:
  """Prints the rows."""
  show(arguments.directory, arguments.rows, arguments.vocabulary)


def parse_rows(text: str) -> list[int]:
  """Parses `--rows`: "3,10:14" is 3, 10, 11, 12, 13.

  Args:
    text: row numbers and ranges FIRST:END, without END, separated by commas.

  Raises:
    UserError: a part is neither.
  """
  rows: list[int] = []
  for part in text.split(","):
    first, colon, end = part.strip().partition(":")
    try:
      start = int(first)
      rows += range(start, int(end)) if colon else [start]
    except ValueError as error:
      raise errors.UserError(
        f"--rows={text}: {part.strip()!r} is neither a row nor a range;"
        " expected something like 3,10:14"
      ) from error
  if not rows:
    raise errors.UserError(
      f"--rows={text} is empty; expected something like 3,10:14"
    )
  return rows


def _wrap(text: str, width: int) -> list[str]:
  return textwrap.wrap(text, width) or [""]


def _side_by_side(blocks: Sequence[Sequence[str]], width: int) -> list[str]:
  height = max(map(len, blocks))
  filled = [[*block, *[""] * (height - len(block))] for block in blocks]
  return [
    _SEPARATOR.join(f"{cell:<{width}}" for cell in line).rstrip()
    for line in zip(*filled, strict=True)
  ]


def _value(name: str, value: np.ndarray | np.generic) -> str:
  if name == "truncated" and value.dtype.kind == "i":
    cut = stores.Truncated(int(value))
    return "+".join(str(flag.name).lower() for flag in cut) or "no"
  if value.dtype.kind == "f":
    if value.ndim:
      return np.array2string(np.asarray(value), precision=4).replace("\n", "")
    return "-" if math.isnan(float(value)) else f"{float(value):.4g}"
  return str(value).replace("\n", "")


def render(
  row: int,
  values: Mapping[str, np.ndarray | np.generic],
  decode: Callable[[Sequence[int]], str],
  width: int,
) -> list[str]:
  """Returns the lines that show one row.

  The prompt takes the whole width. Responses are side by side.

  Args:
    row: its number.
    values: by column name, an array of token ids or a scalar.
    decode: function from token ids to text.
    width: characters per line.
  """
  texts = {
    name.removesuffix("_tokens"): value
    for name, value in values.items()
    if isinstance(value, np.ndarray) and value.ndim and value.dtype == np.int32
  }
  scalars = [
    f"{name} {_value(name, value)}"
    for name, value in values.items()
    if name.removesuffix("_tokens") not in texts
  ]
  cell = width if len(texts) < 3 else (width - len(_SEPARATOR)) // 2
  blocks = {}
  for name, tokens in texts.items():
    wide = width if name == "prompt" else cell
    heading = f"{name} ({np.count_nonzero(tokens != PAD_ID)} tokens)"
    blocks[name] = [heading, *_wrap(decode(tokens.tolist()), wide)]
  lines = [f"row {row} ".ljust(width, "-")]
  lines += _wrap(", ".join(scalars), width)
  lines += ["", *blocks.pop("prompt", [])]
  if blocks:
    lines += ["", *_side_by_side(list(blocks.values()), cell)]
  return lines


def decoder(
  store: stores.Store, vocabulary: str | None
) -> Callable[[Sequence[int]], str]:
  """Returns the function from a store's token ids to text.

  Args:
    store: the open store.
    vocabulary: the SentencePiece model, if it has moved since the store was
      built.

  Raises:
    UserError: the model is missing, or is not the one of the store.
  """
  stored = store.manifest.vocabulary
  if vocabulary is not None:
    used = stores.named(vocabulary, stored.extra_ids)
    stores.check_vocabulary(stored, used, store.path)
    stored = used
  try:
    if vocabulary is None:
      locations.check_followed(stored.path, store.path)
    return _checked(stores.decoder(stored), store.path)
  except errors.UserError as error:
    raise errors.UserError(
      f"{error}; give --vocabulary=PATH if the store's vocabulary has moved"
    ) from error


def _checked(
  decode: Callable[[Sequence[int]], str], path: str
) -> Callable[[Sequence[int]], str]:
  """Returns a decoder that refuses negative ids."""

  def checked(tokens: Sequence[int]) -> str:
    if min(tokens, default=0) < 0:
      raise errors.UserError(
        f"{path}: holds the token id {min(tokens)}; expected 0 or more; the"
        " store is damaged"
      )
    return decode(tokens)

  return checked


def show(
  directory: str, rows: str = "0:3", vocabulary: str | None = None
) -> None:
  """Prints rows of a store, decoded, responses side by side.

  Args:
    directory: the store.
    rows: row numbers and ranges, as in `--rows`.
    vocabulary: the SentencePiece model, if it has moved.

  Raises:
    UserError: no such store, row or vocabulary.
  """
  store = stores.open(directory)
  numbers = parse_rows(rows)
  values = store.read(numbers)
  decode = decoder(store, vocabulary)
  width = max(40, shutil.get_terminal_size().columns)
  manifest = store.manifest
  state = "" if manifest.complete else ", still being written or interrupted"
  print(f"{errors.printable(manifest.task)}: {manifest.rows:,} rows{state}")
  for i, number in enumerate(numbers):
    row = {name: column[i] for name, column in values.items()}
    lines = render(number, row, decode, width)
    print("\n".join(map(errors.printable, lines)))
