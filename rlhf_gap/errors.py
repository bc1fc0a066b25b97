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
