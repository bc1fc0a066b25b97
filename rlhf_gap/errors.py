"""What a user did wrong, said so that they can put it right."""


class UserError(Exception):
  """A mistake of the user's; the command line prints it and exits with 2.

  The message is one line: what was found, what was expected, and the likely
  cause or the remedy. It is raised before anything is written.
  """


PEER_FAILED = 3
"""Exit code of a run's process that ends because another died or hangs.

All of them started again, the run goes on.
"""


def out_of_memory(error: BaseException) -> str | None:
  """Says in one line that a device's memory was not enough.

  Args:
    error: that a program raised.

  Returns:
    The line; None for any other error.
  """
  # By its text: JAX has no type for it, and need not be imported here.
  text = str(error)
  if "RESOURCE_EXHAUSTED" not in text or not isinstance(error, RuntimeError):
    return None
  return (
    f"a device's memory is full ({text.splitlines()[0][:200]}); `rlhf-gap plan`"
    " says beforehand what a run needs; a smaller BATCH_SIZE, more"
    " NUM_MICROBATCHES or REMAT_POLICY='full' need less"
  )
