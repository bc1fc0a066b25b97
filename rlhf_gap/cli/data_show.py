"""`rlhf-gap data show`: rows of a store as a person reads them."""

import argparse
import math
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlhf_gap import errors, stores
from rlhf_gap.cli import flag_types
from rlhf_gap.stores import locations
from rlhf_gap.token_ids import PAD_ID

_BETWEEN = " | "


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap data show`."""
  parser.add_argument(
    "directory", type=flag_types.storage, metavar="DIR", help="the store"
  )
  parser.add_argument(
    "--rows",
    default="0:3",
    help="which rows, such as 3,10:14 (10 to 13); by default 0:3",
  )
  parser.add_argument(
    "--vocabulary",
    type=flag_types.path,
    metavar="FILE",
    help="the SentencePiece model, if it has moved since the store was made",
  )


def run(arguments: argparse.Namespace) -> None:
  """Prints the rows asked for."""
  show(arguments.directory, arguments.rows, arguments.vocabulary)


def parse_rows(text: str) -> list[int]:
  """Returns the rows that `--rows` names: "3,10:14" is 3, 10, 11, 12, 13.

  Args:
    text: row numbers and ranges FIRST:END, END left out, joined by commas.

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
    raise errors.UserError(f"--rows={text} names no row; expected 3,10:14")
  return rows


def _wrap(text: str, width: int) -> list[str]:
  return textwrap.wrap(text, width) or [""]


def _side_by_side(blocks: Sequence[Sequence[str]], width: int) -> list[str]:
  height = max(map(len, blocks))
  filled = [[*block, *[""] * (height - len(block))] for block in blocks]
  return [
    _BETWEEN.join(f"{cell:<{width}}" for cell in line).rstrip()
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

  The prompt takes the whole width; responses stand beside one another.

  Args:
    row: its number.
    values: by column name, its value: an array of token ids or a scalar.
    decode: turns token ids into text.
    width: characters in a line.
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
  cell = width if len(texts) < 3 else (width - len(_BETWEEN)) // 2
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
    vocabulary: the SentencePiece model, if it lies elsewhere now than when the
      store was made.

  Raises:
    UserError: the model is missing, or not the one the store was made with.
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
      f"{error}; --vocabulary=PATH says where the store's vocabulary is now"
    ) from error


def _checked(
  decode: Callable[[Sequence[int]], str], path: str
) -> Callable[[Sequence[int]], str]:
  """Returns a decoder that refuses negative ids, which no vocabulary has."""

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
    rows: which rows, as `--rows` takes them.
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
    one = {name: column[i] for name, column in values.items()}
    lines = render(number, one, decode, width)
    print("\n".join(map(errors.printable, lines)))
