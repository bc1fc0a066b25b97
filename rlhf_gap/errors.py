"""What a user did wrong, said so that they can put it right."""


class UserError(Exception):
  """A mistake of the user's; the command line prints it and exits with 2.

  The message is one line: what was found, what was expected, and the likely
  cause or the remedy. It is raised before anything is written.
  """
