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
# XLA wraps them: "INTERNAL: Error dispatching computation: Out of memory ...".
_OUT_OF_MEMORY = re.compile(
  r"RESOURCE_EXHAUSTED|out of memory|failed to allocate|std::bad_alloc"
  r"|allocation of \d+ bytes failed|ran out of memory in memory space"
  r"|CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory|exceeds? the memory capacity",
  re.IGNORECASE,
)
# "Out of memory allocating N bytes", "allocation of N bytes failed",
# "Used 21.5G of 15.75G hbm", "trying to allocate 3.2GiB".
_SIZE = re.compile(
  r"allocat\w* (?:of )?(?P<size>[\d.]+ ?(?:bytes|B\b|[KMGT]i?B))"
  r"|Used (?P<used>[\d.]+[KMGT]? of [\d.]+[KMGT]?)",
  re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> str | None:
  """Describes an out-of-memory error in one line.

  Args:
    error: an error that a program raised.

  Returns:
    The line; None for any other error.
  """
  # JAX has no type for this error, so it is recognized by its text. An error
  # raised while closing what the failed computation was to fill hides it.
  seen: set[int] = set()
  cause: BaseException | None = error
  while cause is not None and id(cause) not in seen:
    if _is_out_of_memory(cause):
      return _describe_out_of_memory(cause)
    seen.add(id(cause))
    if isinstance(cause, UserError):
      return None  # it says more about the error that it was raised from
    cause = cause.__cause__ or cause.__context__
  return None


def _is_out_of_memory(error: BaseException) -> bool:
  if isinstance(error, MemoryError):
    return True
  is_of_jax = isinstance(error, RuntimeError | ValueError)
  return is_of_jax and _OUT_OF_MEMORY.search(str(error)) is not None


def _describe_out_of_memory(error: BaseException) -> str:
  text = str(error) or "MemoryError"
  size = _SIZE.search(text)
  asked = f"; {size['size'] or size['used']} were asked for" if size else ""
  return (
    f"a device's memory is full ({text.splitlines()[0][:200]}){asked}; use a"
    " smaller BATCH_SIZE (--batch_size of a command), more NUM_MICROBATCHES or"
    " REMAT_POLICY='full'; `rlhf-gap plan` predicts what a run needs"
  )
