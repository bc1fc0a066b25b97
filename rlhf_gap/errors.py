"""Errors that end a command with one clear line instead of a traceback."""

import re


def printable(text: str) -> str:
  r"""Escapes control characters, so that a name cannot drive the terminal.

  >>> printable("a\x1b[31m\nb")
  'a\\x1b[31m\\nb'

  Args:
    text: anything, such as a file name or a key read from a file.

  Returns:
    `text` on one line; newlines, escapes and lone surrogates are written as
    Python would write them in a string literal.
  """
  return "".join(
    character if character.isprintable() else repr(character)[1:-1]
    for character in text
  )


class UserError(Exception):
  """A user's mistake: the command line prints the message and exits with 2.

  The message is one printable line: what was found, what was expected, and the
  likely cause or remedy. Raise it before anything is written.
  """

  def __init__(self, message: str):
    super().__init__(printable(message))


PEER_FAILED = 3
"""Exit code of a run's process that ends because another died or hangs.

All of them started again, the run goes on.
"""


# How XLA, its allocators and the C++ library say that memory is short.
_OUT_OF_MEMORY = re.compile(
  r"RESOURCE_EXHAUSTED|out of memory|failed to allocate|std::bad_alloc"
  r"|allocation of \d+ bytes failed",
  re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> str | None:
  """Says in one line that a device's memory was not enough.

  Args:
    error: that a program raised.

  Returns:
    The line; None for any other error.
  """
  # By its text: JAX has no type for it, and need not be imported here.
  text = str(error)
  if isinstance(error, MemoryError):
    text = text or "MemoryError"
  elif not (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(text)):
    return None
  return (
    f"a device's memory is full ({text.splitlines()[0][:200]}); `rlhf-gap plan`"
    " says beforehand what a run needs; a smaller BATCH_SIZE, more"
    " NUM_MICROBATCHES or REMAT_POLICY='full' need less"
  )
