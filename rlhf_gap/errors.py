"""Errors that end a command with one clear line instead of a traceback."""

import difflib
import re
from collections.abc import Iterable


def printable(text: str) -> str:
  r"""Escapes control characters, so that a name cannot drive the terminal.

  >>> printable("a\x1b[31m\nb")
  'a\\x1b[31m\\nb'

  Args:
    text: any text, such as a file name or a key read from a file.

  Returns:
    `text` on one line. Newlines, escapes and lone surrogates are written as in
    a Python string literal.
  """
  return "".join(
    character if character.isprintable() else repr(character)[1:-1]
    for character in text
  )


def did_you_mean(word: str, known: Iterable[str]) -> str:
  """Returns "; did you mean X?" for the known name closest to `word`.

  Args:
    word: a mistyped name.
    known: the names that exist.

  Returns:
    The suggestion; "" if no name is similar.
  """
  matches = difflib.get_close_matches(word, sorted(set(known)), n=1)
  return f"; did you mean {matches[0]}?" if matches else ""


class UserError(Exception):
  """A user's mistake: the command line prints the message and exits with 2.

  The message is one printable line that says what was found, what was expected,
  and the likely cause or remedy. Raise it before anything is written.
  """

  def __init__(self, message: str):
    super().__init__(printable(message))


PEER_FAILED = 3
"""Exit code of a process that ends because another one died or hangs.

Restart all processes of the run to resume it.
"""


# Messages of XLA, its allocators and the C++ library for a failed allocation.
_OUT_OF_MEMORY = re.compile(
  r"RESOURCE_EXHAUSTED|out of memory|failed to allocate|std::bad_alloc"
  r"|allocation of \d+ bytes failed",
  re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> str | None:
  """Describes an out-of-memory error in one line.

  Args:
    error: an error that a program raised.

  Returns:
    The line; None for any other error.
  """
  # JAX has no type for this error, so it is recognized by its text.
  text = str(error)
  if isinstance(error, MemoryError):
    text = text or "MemoryError"
  elif not (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(text)):
    return None
  return (
    f"a device's memory is full ({text.splitlines()[0][:200]}); use a smaller"
    " BATCH_SIZE, more NUM_MICROBATCHES or REMAT_POLICY='full'; `rlhf-gap plan`"
    " predicts what a run needs"
  )
